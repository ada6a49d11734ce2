"""Texts as conditions, from the section ``condition``: tokens, and who reads them."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.build.sections import make_section
from cdcd_jax.conditioning.condition import Condition, text_condition
from cdcd_jax.conditioning.vocabulary import CaptionTokenizer, learn_vocabulary
from cdcd_jax.data.captioned import Captions

KINDS = ("text", "clip")
"""What ``condition.kind`` may be for texts: a small transformer that is trained with the denoiser,
or CLIP's frozen text tower."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Hold what turns texts into conditions.

    Attributes:
        tokenize: Texts -> tokens [batch length].
        count: Texts -> how many tokens each has, before any is cut.
        length: Tokens that are read.
        embed: What a batch of tokens becomes before the model sees it: the features of a frozen
            tower, or the same tokens where the model reads them itself.
        condition: What the model makes of that.
        cond_dim: Features that the denoiser attends to.
        fingerprint: What the tokens mean; a run cannot go on with others.
    """

    tokenize: Callable[[Sequence[str]], np.ndarray]
    count: Callable[[Sequence[str]], np.ndarray]
    length: int
    embed: Callable[[Any], Any]
    condition: Condition
    cond_dim: int
    fingerprint: str


def load_texts(config: Any, captions: Captions, folder: Path | None) -> Texts:
    """Make the condition on texts of a configuration.

    Args:
        config: The whole configuration.
        captions: The training set's, to learn the vocabulary from where there is none yet.
        folder: Where the vocabulary is kept, beside the tokens; None keeps it nowhere.

    Returns:
        The condition on texts.

    Raises:
        ValueError: If a value is wrong, or a file is missing or damaged.
    """
    options = {key: value for key, value in config.condition.items() if key != "dropout"}
    make = _learned if options.pop("kind") == "text" else _clip
    return make_section(config, "condition", make, captions, folder, **options)


def _learned(
    captions: Captions,
    folder: Path | None,
    *,
    vocab_size: int,
    length: int,
    **options: Any,
) -> Texts:
    texts = (text for texts in captions.texts for text in texts)
    if folder is None:
        vocabulary = learn_vocabulary(texts, vocab_size=vocab_size)
    else:
        vocabulary = _kept_vocabulary(folder / f"vocabulary-{vocab_size}.json", texts, vocab_size)
    tokenizer = CaptionTokenizer(vocabulary, length=length)
    condition = text_condition(
        vocab_size=vocab_size, length=length, empty=tokenizer([""])[0], **options
    )
    return Texts(
        tokenize=tokenizer,
        count=tokenizer.count,
        length=length,
        embed=lambda tokens: tokens,
        condition=condition,
        cond_dim=options["width"],
        fingerprint=hashlib.sha256(vocabulary.encode()).hexdigest(),
    )


def _kept_vocabulary(path: Path, texts: Iterable[str], vocab_size: int) -> str:
    """Read the vocabulary that all runs on these tokens share, or learn and keep it."""
    if not path.exists():
        vocabulary = learn_vocabulary(texts, vocab_size=vocab_size)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(vocabulary, encoding="utf-8")
        part.replace(path)
    return path.read_text(encoding="utf-8")


def _clip(
    captions: Captions,
    folder: Path | None,
    *,
    weights: str | None,
    merges: str | None,
    null: str,
    compute_dtype: str,
) -> Texts:
    for name, path in {"weights": weights, "merges": merges}.items():
        if path is None:
            raise ValueError(
                f"{name} is not given; name CLIP's "
                + ("ViT-B/32 file" if name == "weights" else "bpe_simple_vocab_16e6.txt.gz")
                + f", --config.condition.{name}=FILE (docs/data.md says where it comes from)"
            )
    assert weights is not None
    assert merges is not None
    raise NotImplementedError
