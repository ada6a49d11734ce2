import json
import shutil

import numpy as np
import pytest
from scipy.io import savemat

from cdcd_jax.data.images.imagenet import load_imagenet

WNIDS = ("n01440764", "n01443537", "n02085620")


def make_imagenet(root, *, flat=True):
    for wnid in WNIDS:
        (root / "train" / wnid).mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_1.JPEG").write_bytes(wnid.encode())
    for number, wnid in enumerate([WNIDS[2], WNIDS[0], WNIDS[2], WNIDS[1]], start=1):
        folder = root / "val" if flat else root / "val" / wnid
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(b"")
    return root


def write_devkit(folder):
    """Write the kit's two files: numbers in another order than the wnids', inner nodes after."""
    folder.mkdir(parents=True)
    # Image 1 is of class number 1, n02085620, and so on.
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n3\n1\n2\n")
    rows = [(1, WNIDS[2], "chihuahua", 0), (2, WNIDS[1], "goldfish", 0), (3, WNIDS[0], "tench", 0)]
    rows.append((4, "n00000001", "entity", 3))
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array(rows, dtype=fields)[:, None]
    savemat(folder / "meta.mat", {"synsets": synsets})


def write_solution(path, wnids=(WNIDS[2], WNIDS[0], WNIDS[2], WNIDS[1])):
    rows = [f"ILSVRC2012_val_{k:08d},{wnid} 1 2 3 4 \n" for k, wnid in enumerate(wnids, start=1)]
    path.write_text("ImageId,PredictionString\n" + "".join(reversed(rows)))


def labels_of(source):
    return [source[index].label for index in range(len(source))]


def test_training_classes_are_numbered_in_the_order_of_wnids(tmp_path):
    source = load_imagenet(make_imagenet(tmp_path), "train")
    assert source.class_names == WNIDS
    assert labels_of(source) == [0, 1, 2]
    assert source[1] == (f"{WNIDS[1]}/{WNIDS[1]}_1.JPEG", 1, WNIDS[1].encode(), ())


def test_flat_validation_images_by_the_development_kit(tmp_path):
    make_imagenet(tmp_path)
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12/data")
    assert labels_of(load_imagenet(tmp_path, "val")) == [2, 0, 2, 1]


def test_flat_validation_images_by_the_kaggle_file(tmp_path):
    make_imagenet(tmp_path)
    write_solution(tmp_path / "elsewhere.csv")
    source = load_imagenet(tmp_path, "val", val_labels=tmp_path / "elsewhere.csv")
    assert labels_of(source) == [2, 0, 2, 1]
    assert source[0].name == "ILSVRC2012_val_00000001.JPEG"


def test_validation_images_in_wnid_folders(tmp_path):
    source = load_imagenet(make_imagenet(tmp_path, flat=False), "val")
    assert labels_of(source) == [0, 1, 2, 2]


def test_names_come_from_the_class_index(tmp_path):
    make_imagenet(tmp_path)
    names = ["tench", "goldfish", "Mexican_hairless"]
    index = {str(k): [wnid, names[k]] for k, wnid in enumerate(WNIDS)}
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps(index))
    expected = ("tench", "goldfish", "Mexican hairless")
    assert load_imagenet(tmp_path).class_names == expected
    assert load_imagenet(tmp_path, class_index=path).class_names == expected
    path.write_text(json.dumps({"0": index["1"], "1": index["0"], "2": index["2"]}))
    with pytest.raises(ValueError, match="does not number its classes in the order of their wnids"):
        load_imagenet(tmp_path)
    path.write_text(json.dumps({"0": index["0"]}))
    with pytest.raises(ValueError, match=f"differ in class {WNIDS[1]}"):
        load_imagenet(tmp_path)
    path.write_text("[]}")
    with pytest.raises(ValueError, match=r"imagenet_class_index\.json is not a class index"):
        load_imagenet(tmp_path)


def make_kaggle(root):
    """Write the tree of Kaggle's archive, its lists at the top, and what macOS leaves in it."""
    make_imagenet(root / "ILSVRC/Data/CLS-LOC")
    for clutter in ("train/__MACOSX", "train/.DS_Store"):
        (root / "ILSVRC/Data/CLS-LOC" / clutter).mkdir()
    (root / f"ILSVRC/Data/CLS-LOC/train/{WNIDS[0]}/._{WNIDS[0]}_1.JPEG").write_bytes(b"")
    write_solution(root / "LOC_val_solution.csv")
    words = ("tench, Tinca tinca", "goldfish, Carassius auratus", "Mexican hairless")
    lines = [f"{wnid} {word}\n" for wnid, word in zip(WNIDS, words, strict=True)]
    (root / "LOC_synset_mapping.txt").write_text("".join(lines))
    return root


@pytest.mark.parametrize("given", ["", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
def test_kaggles_tree_from_any_of_its_folders(tmp_path, given):
    make_kaggle(tmp_path)
    train, val = (load_imagenet(tmp_path / given, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ("tench", "goldfish", "Mexican hairless")
    assert (labels_of(train), labels_of(val)) == ([0, 1, 2], [2, 0, 2, 1])


def test_kaggles_list_of_classes_must_be_of_the_folders(tmp_path):
    make_kaggle(tmp_path)
    path = tmp_path / "LOC_synset_mapping.txt"
    path.write_text(f"{WNIDS[0]} tench\n")
    with pytest.raises(ValueError, match=rf"mapping\.txt and the folders of .* {WNIDS[1]}"):
        load_imagenet(tmp_path)
    path.write_text("tench\n")
    with pytest.raises(ValueError, match=r"mapping\.txt: each line must be such as .* not \'tench"):
        load_imagenet(tmp_path)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("given", ["", "val"])
def test_validation_images_alone(tmp_path, flat, given):
    """They are enough for an evaluation; the classes are those of the list or of the folders."""
    make_imagenet(tmp_path, flat=flat)
    shutil.rmtree(tmp_path / "train")
    if flat:
        write_solution(tmp_path / "LOC_val_solution.csv")
    source = load_imagenet(tmp_path / given, "val")
    assert sorted(labels_of(source)) == [0, 1, 2, 2]
    assert source.class_names == WNIDS
    with pytest.raises(ValueError, match=r'has no folder train, only val; .* the split "val"'):
        load_imagenet(tmp_path, "train")


def test_names_that_say_their_class(tmp_path):
    """As Hugging Face's archives have them, all images of a split in one folder."""
    names = {
        "train": [f"{wnid}_{k}_{wnid}.JPEG" for k, wnid in enumerate((*WNIDS, WNIDS[0]))],
        "val": [f"ILSVRC2012_val_{k:08d}_{wnid}.JPEG" for k, wnid in enumerate(WNIDS[1:], 1)],
    }
    for split, listed in names.items():
        (tmp_path / split).mkdir()
        for name in listed:
            (tmp_path / split / name).write_bytes(b"")
    train, val = (load_imagenet(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == WNIDS
    assert [train[k].name for k in range(4)] == sorted(names["train"])
    assert (labels_of(train), labels_of(val)) == ([0, 0, 1, 2], [1, 2])
    # The folder of the images itself; the training images beside it number the classes.
    assert labels_of(load_imagenet(tmp_path / "val", "val")) == [1, 2]
    with pytest.raises(ValueError, match=r"has neither val/ nor ILSVRC/Data/CLS-LOC/val/"):
        load_imagenet(tmp_path / "train", "val")


def test_what_is_missing_is_named_with_the_way_out(tmp_path):
    make_imagenet(tmp_path)
    with pytest.raises(ValueError, match="lie flat, so their classes are needed: put LOC_val"):
        load_imagenet(tmp_path, "val")
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12/data")
    (tmp_path / "ILSVRC2012_devkit_t12/data/meta.mat").unlink()
    with pytest.raises(ValueError, match=r"meta\.mat is missing"):
        load_imagenet(tmp_path, "val")
    with pytest.raises(ValueError, match=r"nowhere\.csv cannot be read: No such file"):
        load_imagenet(tmp_path, "val", val_labels=tmp_path / "nowhere.csv")
    write_solution(tmp_path / "short.csv", WNIDS)
    with pytest.raises(ValueError, match=r"_00000004\.JPEG is not listed, by .*short\.csv"):
        load_imagenet(tmp_path, "val", val_labels=tmp_path / "short.csv")
    write_solution(tmp_path / "other.csv", ("n09999999",) * 4)
    with pytest.raises(ValueError, match="is of class n09999999, which has no training folder"):
        load_imagenet(tmp_path, "val", val_labels=tmp_path / "other.csv")
    with pytest.raises(ValueError, match='no split "test" of ImageNet'):
        load_imagenet(tmp_path, "test")
    with pytest.raises(ValueError, match="there is no folder"):
        load_imagenet(tmp_path / "nowhere")


def test_loose_images_beside_class_folders_are_named(tmp_path):
    root = make_imagenet(tmp_path, flat=False) / "val"
    (root / WNIDS[0] / "ILSVRC2012_val_00000002.JPEG").rename(root / "loose.JPEG")
    (root / WNIDS[0]).rmdir()
    with pytest.raises(ValueError, match=rf"val holds folders, {WNIDS[1]} .* loose\.JPEG first, 1"):
        load_imagenet(tmp_path, "val")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (f"ILSVRC2012_val_00000001,{WNIDS[1]} 1 2 3 4", "line 6: .*00000001 is of class n01443537"),
        ("ILSVRC2012_val_00000005", "line 6: 'ILSVRC2012_val_00000005' has no class .*cut off"),
        ("ILSVRC2012_val_00000005,n0144", "line 6: .* has no class .*cut off"),
        ("\0\0\0", "line 6: .* has no class .*damaged"),
        (f'ILSVRC2012_val_00000005,"{"n" * 140_000}"', "line 6: field larger than field limit"),
    ],
)
def test_a_damaged_solution_is_named_with_its_line(tmp_path, more, message):
    make_imagenet(tmp_path)
    write_solution(tmp_path / "LOC_val_solution.csv")
    with (tmp_path / "LOC_val_solution.csv").open("a") as file:
        file.write(more)
    with pytest.raises(ValueError, match=rf"LOC_val_solution\.csv, {message}"):
        load_imagenet(tmp_path, "val")


def test_a_mapping_that_lists_a_class_twice_is_refused(tmp_path):
    path = make_kaggle(tmp_path) / "LOC_synset_mapping.txt"
    path.write_text(path.read_text() + f"{WNIDS[0]} goldfinch\n")
    with pytest.raises(ValueError, match=rf"mapping\.txt, line 4: {WNIDS[0]} is listed twice"):
        load_imagenet(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage" * 10,
        b"<html>" + b" " * 400,
        b"MATLAB 7.3 MAT-file" + b" " * 105 + b"\0\2IM" + b"\0" * 200,
        {"x": np.ones(3)},
        {"synsets": np.ones(3)},
        300,
    ],
)
def test_a_damaged_or_other_meta_is_named(tmp_path, content):
    make_imagenet(tmp_path)
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12/data")
    meta = tmp_path / "ILSVRC2012_devkit_t12/data/meta.mat"
    if isinstance(content, dict):
        savemat(meta, content)
    else:
        meta.write_bytes(content if isinstance(content, bytes) else meta.read_bytes()[:content])
    with pytest.raises(ValueError, match=r"meta\.mat is not a meta\.mat of the development kit"):
        load_imagenet(tmp_path, "val")
