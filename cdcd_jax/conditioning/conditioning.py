"""The base class of what a model is conditioned on, without any examples.

Classes are in ``classes.py``, texts in ``texts.py``, dances in ``dance_to_music.py``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from cdcd_jax.conditioning.condition import Condition
from cdcd_jax.editing import Original, fit_images, free_tokens

MAX_ROWS = 16
"""Classes or texts in an image of samples; more could not be looked at."""

DrawFn = Callable[..., Any]
"""``draw(key, cond, known=, start=) -> tokens`` [samples length], for a row of ``cond`` each."""


class Rows(NamedTuple):
    """The rows of an image of samples.

    Attributes:
        names: What each row is called: a class or a text.
        cond: [rows ...] conditions.
    """

    names: tuple[str, ...]
    cond: Any


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What a model is conditioned on, the base of a class for each kind.

    A subclass gives ``encode``, ``describe`` and ``rows``. Its samples are images unless it
    says otherwise.

    Attributes:
        condition: The kind of condition, as pure functions.
        denoiser: Options of ``make_denoiser`` that follow from it.
        noun: What the model is conditioned on, in the plural.
        flag: The flag of the command line that gives one.
        by_example: Whether each example has a condition of its own, where others have classes.
    """

    condition: Condition
    denoiser: dict[str, Any]
    noun: ClassVar[str]
    flag: ClassVar[str]
    by_example: ClassVar[bool] = False

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 where there are none."""
        return 0

    @property
    def fingerprint(self) -> str:
        """What encoded conditions mean, as a run cannot continue with others; empty if nothing."""
        return ""

    @property
    def has_default(self) -> bool:
        """Whether samples can be drawn without a request."""
        return True

    def describe(self) -> str:
        """Say in two words what is generated."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return what a model of this kind needs to know of its data, as JSON types."""
        return {"class_names": [], "test_texts": []}

    def encode(self, request: Any) -> Any:
        """Turn a request into conditions.

        Args:
            request: One or several; None for all classes, or all held-out texts, in turn.

        Returns:
            [requests ...] a row for each: an array, or several by name.

        Raises:
            ValueError: If the model cannot be conditioned on it.
        """
        raise NotImplementedError

    def encode_for(self, request: Any, num_samples: int | None) -> Any:
        """Turn a request into conditions that samples can be drawn for.

        Raises:
            ValueError: If there are fewer samples than requests, besides what ``encode`` refuses.
        """
        cond = self.encode(request)
        if request is not None and num_samples is not None and num_samples < _count(cond):
            raise ValueError(
                f"num_samples = {num_samples} must be at least {_count(cond)}, one for each request"
            )
        return cond

    def embed(self, cond: Any) -> Any:
        """Turn encoded conditions into what the model takes."""
        return cond

    def encode_each(self, request: Any, count: int) -> Any:
        """Turn one request for each of some examples, or one for all, into conditions.

        Raises:
            ValueError: If there are more or fewer.
        """
        if request is None:
            raise ValueError("request: none is given; give one for each example, or for all")
        cond = self.encode(request)
        given = _count(cond)
        if given not in (1, count):
            raise ValueError(f"request: {given} are given for {count} examples; give one for each")
        return deal(cond, count)

    def rows(self, request: Any, num_samples: int) -> Rows:
        """Choose the rows of an image of samples, without a request at most ``MAX_ROWS``."""
        raise NotImplementedError

    def generate(
        self,
        draw: DrawFn,
        request: Any,
        *,
        num_samples: int | None,
        seed: int,
        length: int,
        mask_id: int,
        given: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> np.ndarray:
        """Draw the tokens of samples.

        Args:
            draw: Draws a sample for each condition.
            request: As for ``encode``.
            num_samples: How many, dealt out to the requests in turn; one for each if None.
            seed: Seed of the samples.
            length: Tokens that ``draw`` makes of a sample.
            mask_id: The mask.
            given: Tokens ``known`` and ``start`` [originals tokens] of what is edited, dealt out
                to the samples in turn; without ``num_samples`` there is at least one of each.

        Returns:
            Tokens [samples tokens].

        Raises:
            ValueError: If the model cannot be conditioned on the request, or there are fewer
                samples than requests.
        """
        del length
        cond = self.encode_for(request, num_samples)
        count = num_samples or max(_count(rows) for rows in (cond, *given.values()))
        rows = {name: deal(tokens, count) for name, tokens in given.items()}
        if "known" in rows and np.all(rows["known"] == mask_id):
            del rows["known"]  # the same samples bit for bit, by the program that draws them
        return np.asarray(draw(jax.random.key(seed), deal(cond, count), **rows))

    def read_dance(self, **parts: Any) -> Any:
        """Check a dance; only a model of dances takes one."""
        raise ValueError(f"motion: this is a model of {self.noun}; give --{self.flag} instead")

    def require_images(self, what: str) -> None:
        """Raise a ValueError unless samples are images, which ``what`` is for."""

    def prepare(self, data: np.ndarray) -> np.ndarray:
        """Turn a user's data into what a codec encodes.

        Args:
            data: Images [batch height width 3] or [batch height width], floats 0..1 or bytes.

        Raises:
            ValueError: If a value is not finite or outside of its range.
        """
        images = scale_images(data)
        if images.ndim == 4:  # codecs of RGB images take bytes
            return np.round(255.0 * images).astype(np.uint8)
        return images

    def read_original(self, codec: Any, data: Any, mask: Any, request: Any = None) -> Original:
        """Turn data that are edited into tokens.

        Args:
            codec: What encodes them.
            data: One image or a batch, see ``editing.fit_images``.
            mask: What may change, see ``editing.read_mask``.
            request: As for ``generate``, where the length follows from it.

        Raises:
            ValueError: If they are no images, or the mask is not of them.
        """
        del request
        blank = codec.decode(np.zeros((1, math.prod(codec.grid)), np.int32))
        images, changed = fit_images(data, mask, np.shape(blank)[1:])
        images = scale_images(images)
        tokens = np.asarray(codec.encode(self.prepare(images)))
        return Original(images, changed, tokens, free_tokens(changed, codec.grid))

    def present(
        self,
        codec: Any,
        tokens: np.ndarray,
        *,
        as_pil: bool = False,
        original: Original | None = None,
    ) -> Any:
        """Turn the tokens of ``generate`` into data by a codec, or into PIL images.

        What an original keeps is pasted back.
        """
        images = np.asarray(codec.decode(tokens))
        if original is not None:
            images = original.paste(images)
        if not as_pil:
            return images
        from PIL import Image

        levels = np.round(255 * np.clip(images, 0.0, 1.0)).astype(np.uint8)
        return [Image.fromarray(image) for image in levels]


def scale_images(data: np.ndarray) -> np.ndarray:
    """Return images as float32 in 0..1, or raise a ValueError if they are none."""
    images = check_data(data) / np.float32(255 if data.dtype == np.uint8 else 1)
    low, high = float(images.min()), float(images.max())
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"data holds values {low:g}..{high:g}; images have 0..1, or bytes")
    return images


def check_data(data: np.ndarray) -> np.ndarray:
    """Return data as float32, or raise a ValueError if they are no batch of finite numbers."""
    if data.dtype.kind not in "fiub" or data.ndim < 2 or not data.size:
        raise ValueError(
            f"data must be a batch of images or sounds, got {data.dtype} of shape {data.shape}; "
            "a single one needs a first axis, data[None]"
        )
    array = data.astype(np.float32)
    if not np.isfinite([array.min(), array.max()]).all():
        raise ValueError("data holds a value that is not finite")
    return array


def _count(cond: Any) -> int:
    return len(jax.tree.leaves(cond)[0])


def deal(cond: Any, count: int) -> Any:
    """Take rows in turn until there are enough."""
    rows = np.resize(np.arange(_count(cond)), count)
    return jax.tree.map(lambda array: array[rows], cond)
