import numpy as np
import pytest
from PIL import Image

from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.visualization.grid import EMPTY, GAP, MASK, draw_grid
from cdcd_jax.visualization.samples import (
    draw_reconstructions,
    draw_samples,
    draw_trajectory,
    save_image,
)

CODEC = PixelCodec(vocab_size=5, grid=(2, 2))


def test_the_file_is_a_png_of_the_expected_size(tmp_path):
    image = draw_grid(np.zeros((2, 3, 8, 8)), cell_size=50)
    path = save_image(image, tmp_path / "new" / "grid.png")
    with Image.open(path) as read:
        assert read.format == "PNG"
        assert read.size == (3 * (48 + GAP) + GAP, 2 * (48 + GAP) + GAP)  # 50 // 8 * 8 = 48


def test_pixels_are_enlarged_without_smoothing():
    images = np.array([[[[0.0, 0.5], [1.0, 2.0]]]])
    drawn = np.asarray(draw_grid(images, cell_size=8))[GAP : GAP + 8, GAP : GAP + 8, 0]
    assert np.array_equal(drawn, np.kron([[0, 128], [255, 255]], np.ones((4, 4))))


def test_colours_are_kept_and_large_images_are_not_made_smaller():
    images = np.zeros((1, 2, 64, 80, 3))
    images[0, 0] = [1.0, 0.0, 0.5]
    images[0, 1] = np.nan
    drawn = np.asarray(draw_grid(images))
    assert drawn.shape == (GAP + 67, GAP + 2 * 83, 3)
    assert drawn[GAP + 30, GAP + 30].tolist() == [255, 0, 128]
    assert drawn[GAP + 30, GAP + 83 + 30].tolist() == list(EMPTY)


def test_reconstructions_stand_below_their_images():
    """Three images in two columns: two pairs of rows, the last place empty."""
    originals = np.broadcast_to(np.array([0.0, 0.2, 0.4])[:, None, None, None], (3, 8, 8, 3))
    image = draw_reconstructions(originals, originals + 0.5, num_columns=2, cell_size=8)
    left = image.width - 2 * 11
    cells = np.asarray(image)[GAP + 4 :: 11, left + 4 :: 11, 0]
    assert cells.tolist() == [[0, 51], [128, 178], [102, EMPTY[0]], [230, EMPTY[0]]]
    with pytest.raises(ValueError, match="0 images in 2 columns"):
        draw_reconstructions(originals[:0], originals[:0], num_columns=2)


def test_rows_are_named_after_their_classes():
    tokens, labels = np.zeros((2, 4), int), np.array([0, 1])
    options = {"decode_fn": CODEC.decode, "cell_size": 10}
    plain = draw_samples(tokens, labels, **options)
    long = "a name of more letters than fit"
    named = draw_samples(tokens, labels, class_names=["a", long], **options)
    short = draw_samples(tokens, labels, class_names=["a", long[:10]], **options)
    assert plain.width < short.width < named.width
    twice = draw_samples(tokens, labels, class_names=["a", long * 2], **options)
    assert twice.width == named.width


def test_labels_and_caption_take_room_and_are_drawn():
    images = np.zeros((2, 1, 4, 4))
    plain = draw_grid(images)
    labelled = draw_grid(
        images, row_labels=["cat", "dog"], column_labels=["7"], caption="truncation 0.86"
    )
    assert labelled.width > plain.width
    assert labelled.height > plain.height
    margin = np.asarray(labelled)[-plain.height :, : labelled.width - plain.width]
    assert (margin < 100).any()  # ink of a row label


def test_samples_are_sorted_into_a_row_for_each_class():
    """Class 1 has a single white sample, class 0 two black ones; the gap shows as empty."""
    tokens = np.array([[0] * 4, [4] * 4, [0] * 4])
    image = draw_samples(tokens, np.array([0, 1, 0]), decode_fn=CODEC.decode, cell_size=10)
    pixels = np.asarray(image)
    left, top = image.width - 2 * (10 + GAP), GAP
    cells = [
        [pixels[top + row * 13 + 5, left + column * 13 + 5].tolist() for column in range(2)]
        for row in range(2)
    ]
    assert cells == [[[0] * 3, [0] * 3], [[255] * 3, list(EMPTY)]]


def test_a_trajectory_goes_from_masks_to_the_sample():
    trajectory = np.full((9, 2, 4), 5)
    trajectory[-1] = 4
    trajectory[4, :, 0] = 0
    image = draw_trajectory(
        trajectory,
        np.array([3, 8]),
        decode_fn=CODEC.decode,
        grid=(2, 2),
        mask_id=5,
        num_frames=3,
        cell_size=10,
    )
    pixels = np.asarray(image)[-13:, -39:]  # the last row's three frames: 0, 4 and 8 steps
    assert pixels[2, 2].tolist() == list(MASK)
    assert pixels[2, 15].tolist() == [0, 0, 0]
    assert pixels[8, 21].tolist() == list(MASK)
    assert pixels[2, 28].tolist() == [255, 255, 255]


def test_more_frames_than_steps_shows_them_all_once():
    trajectory = np.zeros((3, 1, 4), int)
    options = {"decode_fn": CODEC.decode, "grid": (2, 2), "mask_id": 5}
    many = draw_trajectory(trajectory, np.array([0]), num_frames=50, **options)
    three = draw_trajectory(trajectory, np.array([0]), num_frames=3, **options)
    assert many.size == three.size


def test_saving_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "grid.png"
    for level in (0.0, 1.0):
        save_image(draw_grid(np.full((1, 1, 2, 2), level), cell_size=4), path)
    assert [file.name for file in tmp_path.iterdir()] == ["grid.png"]
    with Image.open(path) as read:
        assert read.getpixel((GAP, GAP)) == (255, 255, 255)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = save_image(draw_grid(np.zeros((1, 1, 2, 2))), tmp_path / "grid.png")
    before = path.read_bytes()
    image = draw_grid(np.ones((1, 1, 2, 2)))

    def half_a_save(part, format):
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(image, "save", half_a_save)
    with pytest.raises(OSError, match="No space left"):
        save_image(image, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="2 rows need 2 row labels, got 1"):
        draw_grid(np.zeros((2, 1, 2, 2)), row_labels=["a"])
    with pytest.raises(ValueError, match=r"grey or RGB, got the shape \(1, 1, 2, 2, 4\)"):
        draw_grid(np.zeros((1, 1, 2, 2, 4)))
    with pytest.raises(ValueError, match="0 samples in 10 columns"):
        draw_samples(np.zeros((0, 4), int), np.zeros(0, int), decode_fn=CODEC.decode)
    with pytest.raises(ValueError, match=r"must end in \.png"):
        save_image(draw_grid(np.zeros((1, 1, 2, 2))), tmp_path / "grid.jpg")
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        draw_trajectory(
            np.zeros((1, 1, 4), int),
            np.array([0]),
            decode_fn=CODEC.decode,
            grid=(2, 2),
            mask_id=5,
        )
