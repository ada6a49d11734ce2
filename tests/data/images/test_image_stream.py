"""The stream of images for a codec: the same for any restart and any number of processes."""

import io

import numpy as np
import pytest
from PIL import Image

from cdcd_jax.data.images.decoding import ImageError
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.data.images.stream import load_images, make_image_iterator


def encoded(number):
    """An image of 12 x 8 pixels that differ, its number in the blue channel."""
    down, across = np.mgrid[:8, :12]
    blue = np.full_like(down, number)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([down, across, blue], -1).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


SOURCE = ImageBytes("toy", [encoded(number) for number in range(6)], [0, 0, 1, 1, 2, 2], "abc")
OPTIONS = {"image_size": 8, "batch_size": 4, "seed": 3}


def take(count, **options):
    iterator = make_image_iterator(SOURCE, **OPTIONS | options)
    return np.stack([next(iterator)["images"] for _ in range(count)])


def test_an_epoch_has_every_image_and_batches_follow_from_the_seed():
    batches = take(6)
    assert batches.dtype == np.uint8
    assert batches.shape == (6, 4, 8, 8, 3)
    numbers = batches[:, :, 0, 0, 2].ravel()
    assert all(sorted(epoch) == list(range(6)) for epoch in numbers.reshape(4, 6))
    assert len({tuple(epoch) for epoch in numbers.reshape(4, 6)}) > 1
    np.testing.assert_array_equal(batches, take(6, num_threads=0))
    assert (take(6, seed=4) != batches).any()


def test_crops_and_flips_are_random_by_default():
    lefts = {(row[0, 1] < row[-1, 1], min(row[0, 1], row[-1, 1])) for row in
             take(20)[:, :, 0].reshape(-1, 8, 3)}  # fmt: skip
    assert len(lefts) == 10  # five places, both ways round
    central = take(20, crop="center", flip=False)
    assert set(central[:, :, 0, 0, 1].ravel().tolist()) == {2}


def test_it_goes_on_where_it_was():
    iterator = make_image_iterator(SOURCE, **OPTIONS)
    next(iterator)
    state = iterator.get_state()
    expected = [next(iterator)["images"] for _ in range(3)]
    again = make_image_iterator(SOURCE, **OPTIONS)
    again.set_state(state)
    np.testing.assert_array_equal(expected, [next(again)["images"] for _ in range(3)])


def test_two_processes_read_the_batch_of_one():
    halves = [take(3, process_index=index, num_processes=2) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), take(3))


def test_images_are_read_by_number_with_their_labels():
    images, labels = load_images(SOURCE, [5, 0], image_size=8)
    assert images[:, 0, 0].tolist() == [[0, 2, 5], [0, 2, 0]]
    assert labels.tolist() == [2, 0]


def test_what_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="batch_size = 3 must be a multiple of the 2 processes"):
        make_image_iterator(SOURCE, **OPTIONS | {"batch_size": 3, "num_processes": 2})
    with pytest.raises(ValueError, match="no images"):
        make_image_iterator(ImageBytes("none", [], [], "a"), **OPTIONS)
    broken = ImageBytes("broken", [encoded(0)[:50]] * 4, [0] * 4, "a")
    with pytest.raises(ImageError, match="cannot be decoded"):
        next(make_image_iterator(broken, **OPTIONS))
