"""What is edited: data with their tokens, and what of both may change."""

import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LOUDEST = 4.0
"""Of sound as floats, whose full scale is 1; a loud recording may reach beyond that."""


class Original(NamedTuple):
    """Data that are edited.

    Attributes:
        data: [batch ...] images or sounds, as the codec decodes them.
        changed: [...] which pixels or samples may change, the same in all.
        tokens: [batch tokens].
        free: [tokens] which of them are generated anew.
    """

    data: Float[np.ndarray, "batch *shape"]
    changed: Bool[np.ndarray, "..."]
    tokens: Int[np.ndarray, "batch tokens"]
    free: Bool[np.ndarray, " tokens"]

    def rows(self, mask_id: int, *, noised: bool) -> dict[str, np.ndarray]:
        """Return what sampling takes of it: known tokens, and those to start from if noised."""
        known = np.where(self.free, mask_id, self.tokens).astype(np.int32)
        return {"known": known} | ({"start": self.tokens} if noised else {})

    def paste(self, made: np.ndarray) -> np.ndarray:
        """Put what may not change back into samples, which are of the originals in turn."""
        rows = np.resize(np.arange(len(self.data)), len(made))
        changed = self.changed.reshape(
            *self.changed.shape, *[1] * (self.data[0].ndim - self.changed.ndim)
        )
        return np.where(changed, made, self.data[rows])


def fit_images(
    data: Any, mask: Any, shape: tuple[int, ...]
) -> tuple[np.ndarray, Bool[np.ndarray, "height width"]]:
    """Bring images and their mask to the size of a codec.

    Args:
        data: One image or a batch: arrays [height width] or [height width 3] with floats 0..1 or
            bytes, or PIL images, which are converted.
        mask: See ``read_mask``.
        shape: Of an image of the codec's.

    Returns:
        Images [batch *shape], as they were given or resized to floats, and which pixels are masked.

    Raises:
        ValueError: If they are no such images, or the mask is not of them.
    """
    images = _to_array(data, coloured=len(shape) == 3)
    if len(shape) == 2 and images.ndim == 3 and images.shape[2] in (3, 4) and shape[1] > 4:
        raise ValueError(
            f"data has the shape {images.shape}, as an image in colour, and the model's are grey: "
            "give [height width], or a PIL image, which is converted"
        )
    images = images[None] if images.ndim == len(shape) else images
    if images.ndim != len(shape) + 1 or images.shape[3:] != shape[2:] or not images.size:
        wanted = "[height width 3]" if len(shape) == 3 else "[height width]"
        raise ValueError(
            f"data must be one image {wanted} or a batch, got the shape {images.shape}"
        )
    (height, width), size = images.shape[1:3], (shape[0], shape[1])
    masked = read_mask(mask, (height, width))
    if (height, width) == size:
        return images, masked
    warnings.warn(
        f"data: {height} x {width} pixels are resized to the model's {size[0]} x {size[1]}",
        stacklevel=4,
    )
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    resized = np.stack([_resize(image / scale, size) for image in images])
    # A pixel is masked where any is that it stands for.
    return resized, _resize(masked, size, box=True) > 0


def read_mask(mask: Any, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Return which pixels of an image may change.

    Args:
        mask: Booleans [height width]; a PIL image, in which any colour but black is masked, and so
            is what is transparent; a box (top, left, height, width) in pixels; or None for all.
        size: Height and width of the image.

    Raises:
        ValueError: If it is of another kind or size, or the box is empty or leaves the image.

    >>> read_mask((0, 1, 1, 2), (2, 3)).astype(int).tolist()
    [[0, 1, 1], [0, 0, 0]]
    """
    if mask is None:
        return np.ones(size, bool)
    if hasattr(mask, "convert"):
        levels = np.asarray(mask.convert("RGBA"))
        mask = levels[..., :3].any(axis=-1) | (levels[..., 3] < 255)
    array = mask if isinstance(mask, np.ndarray) else np.asarray(mask, object)
    if array.shape == (4,) and all(isinstance(each, int | np.integer) for each in array.tolist()):
        return _read_box(tuple(array.tolist()), size)
    array = np.asarray(mask) if hasattr(mask, "shape") else array
    if array.dtype != bool or array.shape != size:
        raise ValueError(
            f"mask must be booleans of the image's {size[0]} x {size[1]} pixels, or a box (top, "
            f"left, height, width), got {array.dtype} of shape {array.shape}"
        )
    return array


def _read_box(box: tuple[int, ...], size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    top, left, height, width = box
    if min(height, width) < 1:
        raise ValueError(f"mask = {box} is an empty box; its height and width must be at least 1")
    if min(top, left) < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(
            f"mask = {box} is a box (top, left, height, width) that leaves the image of "
            f"{size[0]} x {size[1]} pixels"
        )
    masked = np.zeros(size, bool)
    masked[top : top + height, left : left + width] = True
    return masked


def free_tokens(
    masked: Bool[np.ndarray, "..."], grid: tuple[int, ...]
) -> Bool[np.ndarray, " tokens"]:
    """Return which tokens stand for any masked pixel or sample.

    >>> free_tokens(np.array([[False, False, False, True]]), (1, 2)).tolist()
    [False, True]
    """
    free = np.zeros(grid, bool)
    places = [
        np.arange(length) * cells // length
        for length, cells in zip(masked.shape, grid, strict=True)
    ]
    np.logical_or.at(free, np.ix_(*places), masked)
    return free.reshape(-1)


def fit_sounds(
    data: Any, mask: Any, samples: int, sample_rate: int, *, seconds: float | None = None
) -> tuple[Float[np.ndarray, "batch samples"], Bool[np.ndarray, " samples"]]:
    """Bring sounds and their mask to the length of what is generated.

    Args:
        data: One sound [samples] or a batch, mono; what is missing at the end may change.
        mask: Booleans [samples] of the sound; seconds (start, end), or several such spans; or None
            for all.
        samples: Length of what is generated.
        sample_rate: Samples per second.
        seconds: Where spans end at the latest; where what is generated ends if None.

    Returns:
        Sounds [batch samples], silent where they had ended, and which samples may change.

    Raises:
        ValueError: If they are no such sounds, or the mask is not of them.

    >>> fit_sounds(np.ones(3, np.float32), (0, 0.1), 4, 10)[1].tolist()
    [True, False, False, True]
    """
    sounds = np.atleast_2d(np.asarray(data))
    if not np.issubdtype(sounds.dtype, np.floating):
        raise ValueError(f"data must be sound as floats -1..1, got {sounds.dtype}")
    if sounds.size and np.max(np.abs(sounds)) > LOUDEST:
        raise ValueError(
            f"data must be sound as floats -1..1, but it reaches {np.max(np.abs(sounds)):g}"
        )
    if sounds.ndim != 2 or not sounds.size:
        shape = np.shape(data)
        raise ValueError(f"data must be one sound [samples] or a batch, got the shape {shape}")
    given = sounds.shape[1]
    changed = np.arange(samples) >= given
    array = np.asarray(mask if hasattr(mask, "shape") else np.asarray(mask, object))
    if mask is None:
        changed[:] = True
    elif array.shape[-1:] == (2,) and array.ndim <= 2 and array.size and array.dtype != bool:
        last = samples / sample_rate if seconds is None else seconds
        for span in array.reshape(-1, 2).tolist():
            start, end = _read_span(span, last)
            first, stop = round(start * sample_rate), round(end * sample_rate)
            if first == stop:
                raise ValueError(f"mask = {tuple(span)} is shorter than a sample of the sound")
            changed[first:stop] = True
    elif array.dtype == bool and array.shape == (given,):
        changed[:given] |= array[:samples]
    else:
        raise ValueError(
            f"mask must be booleans of the sound's {given} samples, or seconds (start, end), got "
            f"{array.dtype} of shape {array.shape}"
        )
    if given > samples:
        warnings.warn(
            f"data: {given / sample_rate:.3f} s of sound are cut to the "
            f"{samples / sample_rate:.3f} s of the dance",
            stacklevel=4,
        )
    kept = sounds[:, :samples].astype(np.float32)
    return np.pad(kept, ((0, 0), (0, samples - kept.shape[1]))), changed


def _read_span(span: list[Any], seconds: float) -> tuple[float, float]:
    numbers = all(isinstance(time, Real) and not isinstance(time, bool) for time in span)
    start, end = (float(time) for time in span) if numbers else (0.0, -1.0)
    if not 0.0 <= start < end <= seconds + 0.01:
        raise ValueError(
            f"mask = {tuple(span)} must be seconds (start, end), 0 <= start < end <= "
            f"{seconds:.2f}, where the music ends"
        )
    return start, end


def begin_at(
    strength: Any, options: Mapping[str, Any], total: int
) -> tuple[int | None, dict[str, Any]]:
    """Return the step that variations begin at, with options of the way from there.

    Args:
        strength: Share of the steps that data are noised by, in (0, 1].
        options: Of sampling, complete.
        total: T.

    Returns:
        The step, None where sampling begins with noise alone; and the options, of whose steps the
        same share is taken.

    Raises:
        ValueError: If the strength is out of its range.

    >>> begin_at(0.25, {"num_steps": 10, "times": "uniform"}, 100)
    (25, {'num_steps': 2, 'times': 'uniform'})
    """
    number = not isinstance(strength, bool) and isinstance(strength, Real)
    share = float(strength) if number else 0.0
    if not 0.0 < share <= 1.0:
        raise ValueError(
            f"strength = {strength!r} must be in (0, 1]; 1 begins what is masked from noise alone"
        )
    if share == 1.0:
        return None, dict(options)
    start = max(1, round(share * total))
    times = options.get("times", "uniform")
    if not isinstance(times, str):
        given = (start, *(step for step in np.asarray(times).tolist() if step < start))
        return start, {**options, "times": given, "num_steps": None}
    count = options.get("num_steps") or total
    return start, {**options, "num_steps": max(1, round(count * start / total))}


def _to_array(data: Any, *, coloured: bool) -> np.ndarray:
    """Turn PIL images into bytes of the codec's colours; arrays stay."""
    several = [*data] if isinstance(data, list | tuple) else [data]
    if several and all(hasattr(image, "convert") for image in several):
        for image in several:
            if image.mode.startswith(("I", "F")):
                raise ValueError(
                    f"data: a PIL image of mode {image.mode} has no known range; give bytes, or an "
                    "array of floats 0..1"
                )
        arrays = [np.asarray(image.convert("RGB" if coloured else "L")) for image in several]
        if len({array.shape for array in arrays}) > 1:
            raise ValueError("data: the images of a batch must be of one size")
        return np.stack(arrays)
    try:
        return np.asarray(data)
    except ValueError as error:
        raise ValueError("data: the images of a batch must be of one size") from error


def _resize(image: np.ndarray, size: tuple[int, int], *, box: bool = False) -> np.ndarray:
    """Resize an image, channel by channel, bicubic or by the mean of each box."""
    from PIL import Image

    channels = image.reshape(*image.shape[:2], -1).astype(np.float32)
    filters = Image.Resampling.BOX if box else Image.Resampling.BICUBIC
    resized = [
        np.asarray(Image.fromarray(channels[..., k]).resize((size[1], size[0]), filters))
        for k in range(channels.shape[-1])
    ]
    return np.clip(np.stack(resized, axis=-1).reshape(*size, *image.shape[2:]), 0.0, 1.0)
