import numpy as np
import pytest

from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.sources import ImageBytes, Source, load_folder
from cdcd_jax.data.toy.digit_images import load_digit_images
from cdcd_jax.data.toy.digits import load_digits


def make_files(folder, *names):
    """Write files that hold their own names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def contents(source):
    return [source[index][:3] for index in range(len(source))]


def test_a_folder_per_class(tmp_path):
    make_files(tmp_path, "dog/2.jpg", "dog/10.PNG", "cat/a.jpeg", "cat/notes.txt", "cat/.b.jpg")
    make_files(tmp_path, ".git/x.jpg", "readme.md")
    source = load_folder(tmp_path)
    assert isinstance(source, Source)
    assert source.class_names == ("cat", "dog")
    assert contents(source) == [
        ("cat/a.jpeg", 0, b"cat/a.jpeg"),
        ("dog/10.PNG", 1, b"dog/10.PNG"),
        ("dog/2.jpg", 1, b"dog/2.jpg"),
    ]


def test_splits_share_the_classes_of_train(tmp_path):
    make_files(tmp_path, "train/a/0.jpg", "train/b/0.jpg", "train/c/0.jpg", "val/c/1.jpg")
    validation = load_folder(tmp_path, "val")
    assert validation.class_names == ("a", "b", "c")
    assert contents(validation) == [("c/1.jpg", 2, b"val/c/1.jpg")]
    assert len(load_folder(tmp_path, "train")) == 3
    with pytest.raises(ValueError, match=r"no split \"test\", only \['train', 'val'\]"):
        load_folder(tmp_path, "test")


def test_a_single_class_or_image_is_a_source(tmp_path):
    make_files(tmp_path, "only/0.jpg")
    assert len(load_folder(tmp_path)) == 1


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        ([], "train", "there is no folder .*images"),
        (["0.jpg"], "train", "has no sub-folders; put each class's images in one"),
        (["a/0.jpg", "b/notes.txt"], "train", r"images/b holds no images .*every class"),
        (["a/0.jpg"], "val", r"no split \"val\", only \['train'\]"),
        (["train/a/0.jpg", "val/b/0.jpg"], "val", 'class "b" that the training images lack'),
        (["train/a/0.jpg", "val/a/0.txt"], "val", "val/a holds no images"),
    ],
)
def test_a_bad_folder_gets_a_sentence(tmp_path, files, split, message):
    make_files(tmp_path, *(f"images/{name}" for name in files))
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path / "images", split)


def test_an_image_that_went_away_is_named(tmp_path):
    make_files(tmp_path, "a/0.jpg")
    source = load_folder(tmp_path)
    (tmp_path / "a/0.jpg").unlink()
    with pytest.raises(ValueError, match=r"a/0\.jpg cannot be read: No such file"):
        source[0]


def test_the_fingerprint_follows_names_labels_and_classes(tmp_path):
    make_files(tmp_path, "a/0.jpg", "b/0.jpg")
    before = load_folder(tmp_path).fingerprint
    assert load_folder(tmp_path).fingerprint == before
    make_files(tmp_path, "b/1.jpg")
    assert load_folder(tmp_path).fingerprint != before
    images = [b"x", b"y"]
    sources = [
        ImageBytes("s", images, [0, 1], ["a", "b"]),
        ImageBytes("s", images, [1, 0], ["a", "b"]),
        ImageBytes("s", images, [0, 1], ["a", "c"]),
        ImageBytes("s", [b"x", b"z"], [0, 1], ["a", "b"]),
    ]
    assert len({source.fingerprint for source in sources}) == 4


def test_digits_as_images_are_the_digits():
    source = load_digit_images("test", size=32)
    digits = load_digits("test")
    assert (len(source), len(source.class_names)) == (382, 10)
    for index in (0, 200):
        image = source[index]
        pixels = decode_image(image.data).astype(int)
        assert pixels.shape == (32, 32, 3)
        assert np.array_equal(pixels[..., 0], pixels[..., 2])
        assert image.label == digits.cond[index]
        blocks = pixels[..., 0].reshape(8, 4, 8, 4).mean(axis=(1, 3)).ravel()
        assert np.corrcoef(blocks, digits.tokens[index])[0, 1] > 0.97
    with pytest.raises(ValueError, match="size must be at least 8, got 4"):
        load_digit_images("test", size=4)
