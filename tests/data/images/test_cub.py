"""CUB: the official layout and the literature's in miniature, both splits, bad files."""

import shutil

import pytest

from cdcd_jax.data.images.cub import load_cub
from tests.support.official_layouts import CUB_NAMES as NAMES
from tests.support.official_layouts import write_cub
from tests.support.official_layouts import write_cub_list as write_pickle


@pytest.fixture
def root(tmp_path):
    write_cub(tmp_path)
    return tmp_path


def names_of(source):
    return [source[index].name.removesuffix(".jpg") for index in range(len(source))]


def test_the_official_split(root):
    train, test = load_cub(root, "train"), load_cub(root / "CUB_200_2011" / "..", "test")
    assert (names_of(train), names_of(test)) == ([NAMES[0], NAMES[2]], [NAMES[1]])
    assert train.class_names == test.class_names == ("Black footed Albatross", "Laysan Albatross")
    assert train[1].label == 1
    assert train[1].captions == ("the bird c", "a bird with wings")
    assert train[1].data.startswith(b"the bird c")


@pytest.mark.parametrize(
    "place",
    ["text_c10", "text/text", "CUB_200_2011/text", "cvpr2016_cub/text_c10", "birds/text"],
)
def test_captions_may_lie_elsewhere(root, place):
    (root / "text").rename(root / "moved")
    (root / place).parent.mkdir(exist_ok=True)
    (root / "moved").rename(root / place)
    assert load_cub(root).captions[0] == ("the bird a", "a bird with wings")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_split_by_species_keeps_the_order_of_its_list(root, protocol):
    write_pickle(root / "CUB_200_2011", "train", [NAMES[1], NAMES[0]], protocol)
    # As Python 2 wrote it.
    path = write_pickle(root, "test", [])
    path.write_bytes(f"(lp0\nS'{NAMES[2]}'\np1\na.".encode())
    train, test = load_cub(root, "train_classes"), load_cub(root, "test_classes")
    assert names_of(train) == [NAMES[1], NAMES[0]] == [n[:-4] for n in train.listed_names]
    assert names_of(test) == [NAMES[2]]
    assert train.class_names == test.class_names
    assert test[0].label == 1


def test_files_that_were_written_on_other_systems(root):
    """Names with a carriage return, captions with old Macs' line ends, and macOS's clutter."""
    write_pickle(root / "cvpr2016_cub", "train", [f"{name}\r" for name in NAMES[:2]])
    (root / "text" / f"{NAMES[0]}.txt").write_bytes(b"a red bird\ra  blue one\r\ra third\r")
    for place in ("CUB_200_2011/images/__MACOSX", "text/__MACOSX"):
        (root / place).mkdir()
    (root / "CUB_200_2011/images/001.Black_footed_Albatross/._a.jpg").write_bytes(b"")
    source = load_cub(root, "train_classes")
    assert names_of(source) == list(NAMES[:2])
    assert source.class_names == ("Black footed Albatross", "Laysan Albatross")
    assert source.captions[0] == ("a red bird", "a blue one", "a third")
    listing = root / "CUB_200_2011" / "images.txt"
    listing.write_bytes(listing.read_bytes().replace(b"\n", b"\r"))
    assert len(load_cub(root, "train")) == 2


class Harmful:
    def __reduce__(self):
        return print, ("executed",)


def test_a_pickle_is_never_executed(root, capsys):
    write_pickle(root, "train", [Harmful()])
    with pytest.raises(ValueError, match=r"is not a pickled list of names: .*imports \S*\.print"):
        load_cub(root, "train_classes")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a": 1}, "must hold a list of names, not dict"),
        ([3], "must hold names of images, not 3"),
        ([NAMES[0], NAMES[0]], r"lists .*a\.jpg twice"),
        (
            [NAMES[0], "x/y", "z"],
            r"images lacks 2 of the 3 .*pickle names, x/y\.jpg first",
        ),
    ],
)
def test_a_bad_list_of_names_is_refused(root, names, message):
    write_pickle(root, "train", names)
    with pytest.raises(ValueError, match=message):
        load_cub(root, "train_classes")


def test_what_is_wrong_is_named(root):
    folder = root / "CUB_200_2011"
    with pytest.raises(ValueError, match='no split "val" of CUB'):
        load_cub(root, "val")
    with pytest.raises(ValueError, match=r"there is no folder \S*nowhere/images; give the folder"):
        load_cub(root / "nowhere")
    with pytest.raises(ValueError, match=r"has no train/filenames\.pickle, which the authors"):
        load_cub(root, "train_classes")
    path = write_pickle(root, "train", list(NAMES))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="is not a pickled list of names"):
        load_cub(root, "train_classes")
    text = root / "text" / f"{NAMES[2]}.txt"
    text.write_bytes(b"fine\nA b\xe9rd\n")
    with pytest.raises(ValueError, match=r"c\.txt, line 2: byte 8 is not UTF-8"):
        load_cub(root)
    text.write_text("fine\n\ufffd\n")
    with pytest.raises(ValueError, match=r"c\.txt has a caption without a readable sign"):
        load_cub(root)
    text.write_text(" \n")
    with pytest.raises(ValueError, match=r"c\.txt holds no caption"):
        load_cub(root)
    text.unlink()
    with pytest.raises(ValueError, match=r"1 of 2 images have no captions, \S*c\.txt first"):
        load_cub(root)
    shutil.rmtree(root / "text")
    with pytest.raises(ValueError, match="has no text or text_c10 or text/text, which"):
        load_cub(root)
    (folder / "train_test_split.txt").write_text("1 1\n2 0\n")
    with pytest.raises(ValueError, match=r"must say 1 \(train\) or 0 \(test\)"):
        load_cub(root)
    (folder / "train_test_split.txt").write_text("1 1\n1 0\n")
    with pytest.raises(ValueError, match=r"split\.txt, line 2: this must be a new number"):
        load_cub(root)
