"""Texts as what a model is conditioned on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
from jaxtyping import Int

from cdcd_jax.conditioning.condition import Condition
from cdcd_jax.conditioning.conditioning import MAX_ROWS, Conditioning, Rows
from cdcd_jax.spacing import evenly_spaced


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


@dataclass(frozen=True, kw_only=True)
class TextConditioning(Conditioning):
    """Texts.

    Attributes:
        texts: What turns texts into conditions.
        test_texts: Held-out texts, for samples that no text is given for.
    """

    texts: Texts
    test_texts: tuple[str, ...] = ()
    noun = "texts"
    flag = "prompt"
    by_example = True

    @property
    def fingerprint(self) -> str:
        """What the tokens of texts mean."""
        return self.texts.fingerprint

    @property
    def has_default(self) -> bool:
        """Whether there are held-out texts."""
        return bool(self.test_texts)

    def describe(self) -> str:
        """Name texts."""
        return "of texts"

    def facts(self) -> dict[str, Any]:
        """Return the held-out texts."""
        return super().facts() | {"test_texts": [*self.test_texts]}

    def encode(self, request: Any) -> Int[np.ndarray, "requests length"]:
        """Turn texts into tokens; long ones are cut."""
        return self.texts.tokenize(self._list(request))

    def encode_for(
        self, request: Any, num_samples: int | None
    ) -> Int[np.ndarray, "requests length"]:
        """Turn texts into tokens; of those that are given none is cut."""
        if request is not None:
            texts = self._list(request)
            counts = self.texts.count(texts)
            longest = int(np.argmax(counts))
            if counts[longest] > self.texts.length:
                text = texts[longest]
                shown = text if len(text) <= 40 else f"{text[:39]}…"
                raise ValueError(
                    f"request: the text {shown!r} has {counts[longest]} tokens, and the model "
                    f"reads {self.texts.length}; shorten it"
                )
        return super().encode_for(request, num_samples)

    def embed(self, cond: Any) -> Any:
        """Read texts, where the model does not do that itself."""
        return self.texts.embed(cond)

    def rows(self, request: Any, num_samples: int) -> Rows:
        """Choose held-out texts that are evenly spaced."""
        if request is None:
            chosen = evenly_spaced(len(self.test_texts), min(num_samples, MAX_ROWS))
            request = [self.test_texts[number] for number in chosen]
        return Rows(tuple(self._list(request)), self.encode(request))

    def _list(self, request: Any) -> list[str]:
        texts = [request] if isinstance(request, str) else request
        texts = self.test_texts if texts is None else texts
        if not isinstance(texts, Sequence | np.ndarray) or not len(texts):
            raise ValueError("request: this is a model of texts; give one or several")
        texts = [str(text) if isinstance(text, np.str_) else text for text in texts]
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                shown = shorten(repr(text), 60)
                raise ValueError(f"request: {shown} is not a text to be drawn; give one or several")
        return texts
