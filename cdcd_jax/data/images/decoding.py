"""Decoding of images to uint8 RGB squares, with the published crop among others.

Images are resized with Pillow's bicubic filter.
"""

import io
import threading
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

Crop: TypeAlias = Literal["center", "random", "dalle"]
"""How a square is cut out of an image; see ``crop_image``."""

CROPS: tuple[Crop, ...] = get_args(Crop)


FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is decoded, whatever a file's name; Pillow would run Ghostscript for PostScript."""

MAX_PIXELS = 250_000_000
"""Of an image, which take 1.75 GB while it is decoded; telephones make 200 million."""

FREE_PIXELS, PIXELS_PER_BYTE = 2**26, 100
"""What an image may unpack to: this many pixels, or so many for each byte. A photograph has less
than 20 for each, a page scanned in black and white 200, and a bomb of one colour 1000."""

STRIP_PIXELS = 2**22
"""Pixels that are converted at a time."""

PILLOW_LIMIT = threading.Lock()
"""Held while Pillow's own limit, 179 million pixels, is away."""

ORIENTATION = 0x0112
"""Number of the EXIF tag that says how the camera was turned."""


class ImageError(ValueError):
    """An error that names an image that cannot be decoded."""


def decode_image(data: bytes, *, name: str = "image") -> UInt8[np.ndarray, "height width 3"]:
    """Decode an image of any common format and mode to RGB.

    Transparent images are laid over white, 16-bit grey is reduced to its 8 high bits (rounded),
    and a camera's EXIF orientation is applied.

    Args:
        data: The encoded image, e.g. the bytes of a JPEG or PNG file.
        name: What the image is called in the message.

    Returns:
        RGB values 0..255, at least one pixel high and wide.

    Raises:
        ImageError: If the data is truncated, damaged, or not an image.

    Note:
        The published code ignores the orientation, so it sees some photographs lying on their side.

    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2), 9).save(file, "PNG")
    >>> decode_image(file.getvalue())[0].tolist()
    [[9, 9, 9], [9, 9, 9], [9, 9, 9]]
    """
    try:
        pixels, orientation = _decode(data)
        return np.ascontiguousarray(_turn(pixels, orientation))
    except ImageError as error:
        raise ImageError(f"{name} cannot be read: {error}") from error
    except Exception as error:
        # Pillow's readers raise whatever their parsing meets: OSError, SyntaxError, ValueError ...
        reason = "it is not an image in a known format"
        if not isinstance(error, Image.UnidentifiedImageError):
            reason = str(error) or type(error).__name__
        raise ImageError(f"{name} cannot be decoded ({len(data)} bytes): {reason}") from error


def image_rng(seed: int, index: int, view: int) -> np.random.Generator:
    """Return the random generator of one view of one image.

    Args:
        seed: Seed of the preparation, >= 0.
        index: The image's number in its source, >= 0.
        view: Which crop of the image, >= 0.

    Returns:
        A generator that follows from the three numbers alone.

    >>> bool(image_rng(0, 5, 1).random() == image_rng(0, 5, 1).random())
    True
    """
    return np.random.default_rng([seed, index, view])


def crop_image(
    image: UInt8[np.ndarray, "height width 3"],
    *,
    size: int,
    crop: Crop = "center",
    rng: np.random.Generator | None = None,
    flip: bool = False,
) -> UInt8[np.ndarray, "size size 3"]:
    """Cut a square out of an image and resize it.

    - ``center`` and ``random``: the shorter side is resized to ``size``, the longer side's length
      is rounded down to an integer, and the central square, or one anywhere, is taken.
    - ``dalle``: a square of the shorter side's length, whose place is drawn from the middle quarter
      of what the longer side has more, is resized to a random size between ``size`` and 9/8 of it,
      and a square anywhere in it is taken. An image smaller than 9/8 ``size`` is not enlarged
      further than to ``size``. DALL-E's crop, as VQ-Diffusion's and CDCD's code have it for all
      their data sets in training.

    Args:
        image: RGB values 0..255.
        size: Height and width of the result, >= 1.
        crop: Which square is taken.
        rng: What ``random``, ``dalle`` and ``flip`` draw from.
        flip: Whether to mirror left and right with probability 1/2.

    Returns:
        RGB values 0..255.

    Raises:
        ValueError: If the size is out of range, or something is random without ``rng``.

    Note:
        Only the pixels of the square are computed, by the filter that would compute them all; the
        published code resizes everything first.

    >>> crop_image(np.zeros((30, 20, 3), np.uint8), size=8).shape
    (8, 8, 3)
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if rng is None and (flip or crop != "center"):
        raise ValueError(f'crop = "{crop}", flip = {flip} need rng: they are random')
    if crop == "dalle":
        assert rng is not None
        image = _square_near_the_middle(image, rng)
        side = len(image)
        # Not larger than the square itself, unless that is too small for a crop.
        resized = rng.integers(size, max(min(side, round(9 / 8 * size)), size) + 1)
        new_height = new_width = int(resized)
    else:
        shorter = min(image.shape[:2])
        new_height, new_width = (size * length // shorter for length in image.shape[:2])
    spare = np.array([new_height - size, new_width - size])
    top, left = spare // 2 if rng is None or crop == "center" else rng.integers(0, spare + 1)
    height, width = image.shape[:2]
    rows, columns = height / new_height, width / new_width
    # Pillow refuses a box that leaves the image by a rounding error.
    box = (
        left * columns,
        top * rows,
        min((left + size) * columns, width),
        min((top + size) * rows, height),
    )
    square = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box)
    if flip and rng is not None and rng.random() < 0.5:
        square = ImageOps.mirror(square)
    return np.array(square)


def _square_near_the_middle(
    image: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "side side 3"]:
    height, width = image.shape[:2]
    side = min(height, width)
    first = [3 * (length - side) // 8 for length in (height, width)]
    last = [max(5 * (length - side) // 8, low + 1) for length, low in
            zip((height, width), first, strict=True)]  # fmt: skip
    top, left = rng.integers(first, last)
    return image[top : top + side, left : left + side]


def _decode(data: bytes) -> tuple[UInt8[np.ndarray, "height width 3"], Any]:
    """Return an image as it is stored, and how the camera was turned, as EXIF has it."""
    with _open(data) as image:
        _check_pixels(image.size, len(data))
        image.load()
        try:
            orientation = image.getexif().get(ORIENTATION)
        except Exception:
            orientation = None  # what else a camera wrote may be damaged: the pixels are whole
        width, height = image.size
        pixels = np.empty((height, width, 3), np.uint8)
        rows = max(1, STRIP_PIXELS // width)
        for top in range(0, height, rows):
            strip = image.crop((0, top, width, min(top + rows, height)))
            pixels[top : top + rows] = np.asarray(_to_rgb(strip))
        return pixels, orientation


def _open(data: bytes) -> Image.Image:
    """Read the head of an image, whose pixels are counted by us and not by Pillow."""
    with PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _turn(
    pixels: UInt8[np.ndarray, "rows columns 3"], orientation: Any
) -> UInt8[np.ndarray, "height width 3"]:
    """Turn an image upright.

    >>> _turn(np.zeros((2, 5, 3), np.uint8), 6).shape
    (5, 2, 3)
    """
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
    return pixels


def _check_pixels(size: tuple[int, int], num_bytes: int) -> None:
    pixels = size[0] * size[1]
    if pixels > min(MAX_PIXELS, max(FREE_PIXELS, PIXELS_PER_BYTE * num_bytes)):
        raise ImageError(
            f"it has {size[0]} x {size[1]} pixels in {num_bytes:,} bytes, which is not a "
            "photograph; "
            "make it smaller"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: "I;16" of PNG and TIFF, "I" of PGM
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"its grey values {values.min()}..{values.max()} exceed 16 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError("its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
