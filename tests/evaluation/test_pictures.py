import numpy as np
import pytest
from PIL import Image

from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.evaluation.pictures import (
    EMPTY,
    GAP,
    MASK,
    draw_grid,
    draw_samples,
    draw_trajectory,
    save_picture,
)

CODEC = PixelCodec(vocab_size=5, grid=(2, 2))


def test_the_file_is_a_png_of_the_expected_size(tmp_path):
    picture = draw_grid(np.zeros((2, 3, 8, 8)), cell_size=50)
    path = save_picture(picture, tmp_path / "new" / "grid.png")
    with Image.open(path) as read:
        assert read.format == "PNG"
        assert read.size == (3 * (48 + GAP) + GAP, 2 * (48 + GAP) + GAP)  # 50 // 8 * 8 = 48


def test_pixels_are_enlarged_without_smoothing():
    images = np.array([[[[0.0, 0.5], [1.0, 2.0]]]])
    drawn = np.asarray(draw_grid(images, cell_size=8))[GAP : GAP + 8, GAP : GAP + 8, 0]
    assert np.array_equal(drawn, np.kron([[0, 128], [255, 255]], np.ones((4, 4))))


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
    picture = draw_samples(tokens, np.array([0, 1, 0]), decode_fn=CODEC.decode, cell_size=10)
    pixels = np.asarray(picture)
    left, top = picture.width - 2 * (10 + GAP), GAP
    cells = [
        [pixels[top + row * 13 + 5, left + column * 13 + 5].tolist() for column in range(2)]
        for row in range(2)
    ]
    assert cells == [[[0] * 3, [0] * 3], [[255] * 3, list(EMPTY)]]


def test_a_trajectory_goes_from_masks_to_the_sample():
    trajectory = np.full((9, 2, 4), 5)
    trajectory[-1] = 4
    trajectory[4, :, 0] = 0
    picture = draw_trajectory(
        trajectory,
        np.array([3, 8]),
        decode_fn=CODEC.decode,
        grid=(2, 2),
        mask_id=5,
        num_frames=3,
        cell_size=10,
    )
    pixels = np.asarray(picture)[-13:, -39:]  # the last row's three frames: 0, 4 and 8 steps
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
        save_picture(draw_grid(np.full((1, 1, 2, 2), level), cell_size=4), path)
    assert [file.name for file in tmp_path.iterdir()] == ["grid.png"]
    with Image.open(path) as read:
        assert read.getpixel((GAP, GAP)) == (255, 255, 255)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = save_picture(draw_grid(np.zeros((1, 1, 2, 2))), tmp_path / "grid.png")
    before = path.read_bytes()
    picture = draw_grid(np.ones((1, 1, 2, 2)))

    def half_a_save(part, format):
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(picture, "save", half_a_save)
    with pytest.raises(OSError, match="No space left"):
        save_picture(picture, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="2 rows need 2 row labels, got 1"):
        draw_grid(np.zeros((2, 1, 2, 2)), row_labels=["a"])
    with pytest.raises(ValueError, match="0 samples in 10 columns"):
        draw_samples(np.zeros((0, 4), int), np.zeros(0, int), decode_fn=CODEC.decode)
    with pytest.raises(ValueError, match=r"must end in \.png"):
        save_picture(draw_grid(np.zeros((1, 1, 2, 2))), tmp_path / "grid.jpg")
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        draw_trajectory(
            np.zeros((1, 1, 4), int),
            np.array([0]),
            decode_fn=CODEC.decode,
            grid=(2, 2),
            mask_id=5,
        )
