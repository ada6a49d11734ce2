"""Examples with one or several captions, of which each epoch draws one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, Integer

from cdcd_jax.data.batch import Examples


class Captions(NamedTuple):
    """The captions of a set of examples.

    Attributes:
        texts: Those of each image.
        image_of: [examples] the image that an example is a view of.
    """

    texts: Sequence[Sequence[str]]
    image_of: Int[np.ndarray, " examples"]


class CaptionedExamples:
    """Tokens of images, with the tokens of their captions as conditions.

    Args:
        examples: The images' tokens and groups; their own conditions are not used.
        texts: [captions text_length] int32 tokens of all captions, those of an image together.
        first: [images+1] where each image's captions begin, and the end.
        image_of: [examples] the image that an example is a view of.

    Raises:
        ValueError: If an image has no caption, or the arrays do not fit together.

    Attributes:
        texts: As given.
        caption_of: [examples] the caption that ``cond`` holds, for what must be the same each time:
            the captions of an image in turn, over its views or, with one view, over the images.
    """

    def __init__(
        self,
        examples: Examples,
        texts: Int32[np.ndarray, "captions text_length"],
        first: Int[np.ndarray, " images_and_end"],
        image_of: Int[np.ndarray, " examples"],
    ):
        if first[-1] != len(texts) or len(image_of) != len(examples):
            raise ValueError(
                f"{len(texts)} captions and {len(examples)} examples do not fit the "
                f"{first[-1]} captions and {len(image_of)} examples that are numbered"
            )
        counts = np.diff(first)
        if (counts < 1).any():
            raise ValueError(f"image {int(np.argmin(counts))} has no caption")
        self._examples, self.texts = examples, texts
        self._first, self._count = first[image_of], counts[image_of]
        self.caption_of = self._first + np.arange(len(examples)) % self._count

    @property
    def cond(self) -> Int32[np.ndarray, "examples text_length"]:
        """The caption that each example always has."""
        return self.texts[self.caption_of]

    @property
    def group(self) -> np.ndarray:
        """Groups of the images."""
        return self._examples.group

    @property
    def length(self) -> int:
        """Number of token positions of every example."""
        return self._examples.length

    def __len__(self) -> int:
        """Count the examples."""
        return len(self._examples)

    def draw_cond(
        self, indices: np.ndarray, rng: np.random.Generator, /
    ) -> Int32[np.ndarray, "batch text_length"]:
        """Draw a caption for each of some examples, each of its captions equally often.

        >>> from cdcd_jax.data.batch import TokenExamples
        >>> number = np.arange(2)
        >>> tokens = TokenExamples(tokens=number[:, None], cond=number, group=number)
        >>> texts, first = np.array([[7], [8], [9]], np.int32), np.array([0, 1, 3])
        >>> examples = CaptionedExamples(tokens, texts, first, number)
        >>> drawn = examples.draw_cond(np.repeat(number, 50), np.random.default_rng(0))
        >>> np.unique(drawn[:50]).tolist(), np.unique(drawn[50:]).tolist()
        ([7], [8, 9])
        """
        return self.texts[self._first[indices] + rng.integers(0, self._count[indices])]

    def take(self, indices: Integer[np.ndarray, "..."], /) -> np.ndarray:
        """Read the tokens of some examples' images."""
        return self._examples.take(indices)


def number_captions(captions: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Join the captions of all images in one list.

    Returns:
        The list, and [images+1] where each image's begin, and the end.

    >>> number_captions([["a"], ["b", "c"]])[1].tolist()
    [0, 1, 3]
    """
    flat = [text for texts in captions for text in texts]
    return flat, np.cumsum([0, *map(len, captions)])
