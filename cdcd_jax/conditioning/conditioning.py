"""Facts about a condition that need no examples: classes, texts, dances or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cdcd_jax.conditioning.condition import Condition


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A text encoder with its tokenizer.

    Attributes:
        tokenize: Texts -> tokens [batch length].
        count: Texts -> how many tokens each has, before any is cut.
        length: Tokens that are read.
        embed: What a batch of tokens becomes before the model takes it: the features of a frozen
            encoder, or the same tokens where the model reads them itself.
        condition: What the model makes of that.
        cond_dim: Features that the denoiser attends to.
        fingerprint: What the tokens mean; a run cannot continue with others.
    """

    tokenize: Callable[[Sequence[str]], np.ndarray]
    count: Callable[[Sequence[str]], np.ndarray]
    length: int
    embed: Callable[[Any], Any]
    condition: Condition
    cond_dim: int
    fingerprint: str


class DanceFormat(NamedTuple):
    """Sizes and rates of the dances that a model makes music for.

    Attributes:
        parts: What the model is conditioned on, of ``"motion"``, ``"video"`` and ``"genre"``.
        seconds: Length of a window.
        samples: Samples of sound in a window.
        fps: Frames of motion per second.
        frames: Frames of motion in a window.
        num_features: Of a frame.
        video_features: Of a step of the video; 0 where there is no video.
        video_steps: Steps of the video in a window, the nearest ones; None for one step, the mean
            over the window.
        genre_names: By their numbers; empty where there are no genres.
        edges: Pairs of joints to draw; empty where features are not positions.
        mean: [features] mean of the motion over the training set; None where it is not used.
        std: [features] standard deviation of it.
    """

    parts: tuple[str, ...]
    seconds: float
    samples: int
    fps: float
    frames: int
    num_features: int
    video_features: int = 0
    video_steps: int | None = 1
    genre_names: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    mean: np.ndarray | None = None
    std: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What a model is conditioned on.

    Attributes:
        condition: The kind of condition, as pure functions.
        denoiser: Options of ``make_denoiser`` that follow from it.
        class_names: Names of the classes; empty for a model of texts or dances.
        texts: What turns texts into conditions, if these are texts.
        test_texts: Held-out texts, for samples that no text is given for.
        dance: Sizes of dances, if these are dances.
    """

    condition: Condition
    denoiser: dict[str, Any]
    class_names: tuple[str, ...] = ()
    texts: Texts | None = None
    test_texts: tuple[str, ...] = ()
    dance: DanceFormat | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def embed(self, cond: Any) -> Any:
        """Turn conditions of examples into what the model takes."""
        return cond if self.texts is None else self.texts.embed(cond)
