"""COCO: the official layout in miniature, and what is wrong with other files."""

import pytest

from cdcd_jax.data.images.coco import load_coco
from cdcd_jax.data.images.sources import Source
from tests.support.official_layouts import COCO_CAPTIONS as CAPTIONS
from tests.support.official_layouts import COCO_IMAGES as IMAGES
from tests.support.official_layouts import write_coco


@pytest.mark.parametrize("place", ["train2014", "images/train2014", "train2014/train2014"])
def test_images_come_with_their_captions(tmp_path, place):
    write_coco(tmp_path, place=place)
    source = load_coco(tmp_path, "train2014")
    assert isinstance(source, Source)
    assert (len(source), source.class_names) == (2, ())
    assert source[0] == ("COCO_4.jpg", 0, b"COCO_4.jpg", ("Two cats",))
    assert source[1] == ("COCO_9.jpg", 1, b"COCO_9.jpg", ("A dog.", "An animal."))
    assert list(source.listed_names) == ["COCO_9.jpg", "COCO_4.jpg", "COCO_9.jpg"]


def test_the_fingerprint_covers_the_captions(tmp_path):
    write_coco(tmp_path)
    before = load_coco(tmp_path).fingerprint
    write_coco(tmp_path, captions=[*CAPTIONS, {"image_id": 9, "caption": "B"}])
    assert load_coco(tmp_path).fingerprint != before
    assert len(load_coco(tmp_path)) == 2


def test_images_without_a_caption_are_left_out_and_counted(tmp_path, capsys):
    write_coco(tmp_path, captions=CAPTIONS[:1])
    source = load_coco(tmp_path)
    assert [source[k].name for k in range(len(source))] == ["COCO_9.jpg"]
    assert "Left out 1 images of " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, 'json has no list "images", so it is not a file of COCO captions'),
        ({"images": [{"id": 1}]}, r"images\[0\]: this must be an object with file_name and id"),
        ({"images": [*IMAGES, IMAGES[0]]}, r"images\[2\]: image 9 is listed twice"),
        ({"images": [*IMAGES, IMAGES[0] | {"id": 1}]}, r"lists COCO_9\.jpg twice"),
        ({"images": [{"id": "9", "file_name": "a"}]}, r"images\[0\]: an id must be a number"),
        (
            {"captions": [{"image_id": 5, "caption": "a"}]},
            r'annotations\[0\]: a caption is of image 5, which "images" lacks',
        ),
        (
            {"captions": [{"image_id": 9, "caption": " \n"}]},
            r"annotations\[0\]: a caption is empty",
        ),
        (
            {"captions": [{"image_id": 9, "caption": None}]},
            r"annotations\[0\]: a caption must be a text, not None",
        ),
        (
            {"captions": [{"image_id": 9, "caption": "a\ud800"}]},
            r"captions_\w+\.json: this is not JSON \(a text holds half a character",
        ),
    ],
)
def test_a_bad_entry_is_named(tmp_path, changes, message):
    write_coco(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_coco(tmp_path)


def test_a_bad_file_is_named(tmp_path):
    path = write_coco(tmp_path)
    with pytest.raises(ValueError, match='no split "train" of COCO, only train2014'):
        load_coco(tmp_path, "train")
    with pytest.raises(ValueError, match=r"there is no .*captions_val2014\.json; unpack ann"):
        load_coco(tmp_path, "val2014")
    (tmp_path / "train2014" / "COCO_4.jpg").unlink()
    message = r"train2014 lacks 1 of the 2 images that \S*train2014\.json names, COCO_4\.jpg fir"
    with pytest.raises(ValueError, match=message):
        load_coco(tmp_path)
    (tmp_path / "train2014" / "COCO_9.jpg").unlink()
    (tmp_path / "train2014").rmdir()
    with pytest.raises(ValueError, match=r"no folder train2014 with images; unpack train2014\.z"):
        load_coco(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:40])
    with pytest.raises(
        ValueError, match=r"json, line \d+, column \d+: this is not JSON .* cut off"
    ):
        load_coco(tmp_path)
    path.write_bytes(content.replace(b"A dog", b"A \xff"))
    with pytest.raises(ValueError, match=r"json, line \d+: byte \d+ is not UTF-8"):
        load_coco(tmp_path)
