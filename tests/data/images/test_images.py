import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from cdcd_jax.data.images.decoding import (
    ImageError,
    _check_pixels,
    crop_image,
    decode_image,
    image_rng,
)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def ramp(height, width):
    """Return a smooth RGB image whose channels tell rows, columns and neither."""
    rows, columns = np.mgrid[:height, :width]
    channels = [rows * 255 // max(height - 1, 1), columns * 255 // max(width - 1, 1), 0 * rows + 80]
    return np.stack(channels, axis=-1).astype(np.uint8)


def solid(mode, value):
    return Image.new(mode, (4, 3), value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(solid("RGB", (10, 20, 30))), (10, 20, 30)),
        (encode(solid("L", 7)), (7, 7, 7)),
        (encode(solid("1", 1)), (255, 255, 255)),
        (encode(solid("LA", (100, 0))), (255, 255, 255)),
        (encode(solid("LA", (100, 255))), (100, 100, 100)),
        (encode(solid("RGBA", (200, 0, 0, 0))), (255, 255, 255)),
        (encode(solid("RGBA", (200, 0, 100, 51))), (244, 204, 224)),  # a fifth, over white
        (encode(solid("I;16", 65535)), (255, 255, 255)),
        (encode(solid("I;16", 0x8000)), (128, 128, 128)),
        (encode(solid("I;16", 257 * 42), "TIFF"), (42, 42, 42)),
        (encode(solid("CMYK", (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
        (encode(solid("CMYK", (0, 0, 0, 255)), "TIFF"), (0, 0, 0)),
        (encode(solid("RGB", (10, 20, 30)).quantize(4)), (10, 20, 30)),
        (encode(solid("RGB", (1, 2, 3)).quantize(4), transparency=0), (255, 255, 255)),
        (encode(solid("RGB", (1, 2, 3)), transparency=(1, 2, 3)), (255, 255, 255)),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)
def test_every_mode_becomes_rgb(data, expected):
    image = decode_image(data)
    assert (image.shape, image.dtype) == ((3, 4, 3), np.uint8)
    assert np.abs(image.astype(int) - expected).max() <= 1


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    data = encode(Image.fromarray(ramp(20, 40)), "PNG", exif=exif)
    assert np.array_equal(decode_image(data), np.rot90(ramp(20, 40), -1))


@pytest.mark.parametrize("orientation", range(10))
def test_every_exif_orientation_is_that_of_pillow(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(ramp(20, 40)), "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode_image(data), upright)


def exif_tag(number, kind, value):
    return struct.pack(">HHI4s", number, kind, 1, value)


def test_exif_that_cannot_be_written_back_turns_an_image_all_the_same():
    tags = [exif_tag(0x0100, 2, b"x\0\0\0"), exif_tag(0x0112, 3, b"\0\6\0\0")]
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\2" + b"".join(tags) + bytes(4)
    data = encode(Image.fromarray(ramp(20, 40)), "JPEG", exif=exif)
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert decode_image(data).shape == (40, 20, 3)


def test_exif_that_cannot_be_read_leaves_an_image_as_it_is():
    data = encode(Image.fromarray(ramp(20, 40)), "JPEG", exif=b"Exif\0\0garbage!!!!")
    assert decode_image(data).shape == (20, 40, 3)


def test_a_page_scanned_in_black_and_white_is_read():
    page = Image.new("1", (4960, 7016), 1)
    page.paste(0, (0, 0, 2479, 3507))
    image = decode_image(encode(page, "TIFF", compression="group4"))
    assert image.shape == (7016, 4960, 3)
    assert image[::3507, ::2479, 0].tolist() == [[0, 255, 255], [255] * 3, [255] * 3]


def test_the_limit_of_pixels_is_ours(monkeypatch):
    _check_pixels((16_320, 12_240), 30_000_000)  # of a telephone, which Pillow refuses
    for size, num_bytes in (((16_000, 16_000), 2**28), ((9000, 9000), 100_000)):
        with pytest.raises(ImageError, match="not a photograph"):
            _check_pixels(size, num_bytes)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_image(encode(Image.fromarray(ramp(8, 8)))).shape == (8, 8, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("lost", [2, 10, 300])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_image_is_named(kind, lost):
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    if kind == "PNG":
        lost += 20  # checksums and end mark: all pixels are there without them
    with pytest.raises(ImageError, match=r"cat/7\.jpg cannot be decoded \(\d+ bytes\)"):
        decode_image(data[:-lost], name="cat/7.jpg")


@pytest.mark.parametrize(
    "data", [b"", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 90]
)
def test_what_is_no_image_is_named(data):
    with pytest.raises(ImageError, match=r"a\.png cannot be decoded"):
        decode_image(data, name="a.png")


def test_pixels_of_unknown_range_are_refused():
    with pytest.raises(ImageError, match=r"a\.tif cannot be read: .* unknown range"):
        decode_image(encode(solid("F", 0.5), "TIFF"), name="a.tif")


def resized(image, size):
    """Resize as the published code does: shorter side to size, longer side's length cut down."""
    height, width = image.shape[:2]
    if width < height:
        new = (size, int(height * size / width))
    else:
        new = (int(width * size / height), size)
    return np.array(Image.fromarray(image).resize(new)).astype(int)


@pytest.mark.parametrize("shape", [(50, 33), (33, 50), (40, 40), (9, 14), (16, 500)])
def test_the_central_crop_is_that_of_the_resized_image(shape):
    image = ramp(*shape)
    whole = resized(image, 16)
    top, left = ((length - 16) // 2 for length in whole.shape[:2])
    square = crop_image(image, size=16)
    assert np.abs(square - whole[top : top + 16, left : left + 16]).max() <= 1


@pytest.mark.parametrize("shape", [(50, 33), (33, 50)])
def test_random_crops_are_windows_of_the_resized_image_and_reach_both_ends(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    whole = resized(image, 16)
    spare = max(whole.shape[:2]) - 16
    windows = [
        whole[k : k + 16] if shape[0] > shape[1] else whole[:, k : k + 16] for k in range(spare + 1)
    ]
    found = set()
    for view in range(100):
        square = crop_image(image, size=16, crop="random", rng=image_rng(0, 0, view))
        distance = [np.abs(square - window).max() for window in windows]
        assert min(distance) <= 1
        found.add(int(np.argmin(distance)))
    assert found == set(range(spare + 1))


def test_the_crop_follows_from_seed_index_and_view():
    image = np.random.default_rng(0).integers(0, 256, (20, 999, 3), np.uint8)
    for kind in ("random", "dalle"):

        def crop(*numbers, kind=kind):
            return crop_image(image, size=16, crop=kind, rng=image_rng(*numbers)).tobytes()

        assert crop(1, 2, 3) == crop(1, 2, 3)
        assert len({crop(1, 2, 3), crop(0, 2, 3), crop(1, 0, 3), crop(1, 2, 0)}) == 4


def published_training_crop(image, size, rng):
    """Compute ``DalleTransformerPreprocessor``, resizing all of the square, from the same draws."""
    height, width = image.shape[:2]
    side = min(height, width)
    first = [3 * (height - side) // 8, 3 * (width - side) // 8]
    last = [max(first[0] + 1, 5 * (height - side) // 8), max(first[1] + 1, 5 * (width - side) // 8)]
    top, left = rng.integers(first, last)
    square = Image.fromarray(image).crop((left, top, left + side, top + side))
    largest = max(min(side, round(9 / 8 * size)), size)
    resized = int(rng.integers(size, largest + 1))
    y, x = rng.integers(0, [resized - size + 1] * 2)
    return np.array(square.resize((resized, resized)))[y : y + size, x : x + size].astype(int)


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (40, 40), (33, 50), (20, 70)])
def test_dalles_crop_is_the_published_one(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for view in range(30):
        square = crop_image(image, size=32, crop="dalle", rng=image_rng(0, 0, view))
        expected = published_training_crop(image, 32, image_rng(0, 0, view))
        assert np.abs(square - expected).max() <= 1


def test_dalles_crop_of_a_photograph_has_the_published_places_and_sizes():
    """640 x 480: squares of 480 start at 60..99 and are resized to 256..288."""
    across = np.arange(640.0)
    # The three channels follow the column with slope 1, one after another.
    image = np.stack([np.clip(across - start, 0, 255) for start in (0, 200, 400)], -1)
    image = np.broadcast_to(image.astype(np.uint8), (480, 640, 3)).copy()
    lefts, sides = [], []
    for view in range(400):
        row = crop_image(image, size=256, crop="dalle", rng=image_rng(0, 0, view))[0].astype(float)
        first, last = row[0, 0], 400 + row[-1, 2]
        sides.append((last - first) * 256 / 255)
        lefts.append(first + 0.5 - sides[-1] / 512)
    assert 59 <= min(lefts) < 66
    assert 135 < max(lefts) <= 153.5
    assert 425.5 <= min(sides) < 430
    assert 477 < max(sides) <= 481.5
    resized = np.arange(256, 289)
    assert np.mean(sides) == pytest.approx(np.mean(480 * 256 / resized), abs=2.5)
    wanted = 79.5 + np.mean((resized - 256) / 2 * 480 / resized)
    assert np.mean(lefts) == pytest.approx(wanted, abs=3)
    assert np.mean(np.array(lefts) > 100) == pytest.approx(0.36, abs=0.1)


def test_half_of_the_views_are_mirrored():
    image = ramp(16, 16)
    squares = [crop_image(image, size=16, rng=image_rng(0, 0, v), flip=True) for v in range(200)]
    mirrored = [np.array_equal(square, image[:, ::-1]) for square in squares]
    plain = [np.array_equal(square, image) for square in squares]
    assert sum(mirrored) + sum(plain) == 200
    assert 70 < sum(mirrored) < 130


def test_a_crop_of_no_size_or_without_its_randomness_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        crop_image(ramp(4, 4), size=0)
    with pytest.raises(ValueError, match='crop = "center", flip = True need rng'):
        crop_image(ramp(4, 4), size=4, flip=True)
    with pytest.raises(ValueError, match='crop = "dalle", flip = False need rng'):
        crop_image(ramp(4, 4), size=4, crop="dalle")
