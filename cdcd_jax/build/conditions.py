"""What the examples are generated from, from the section ``condition``: classes, texts, nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.build.sections import make_section
from cdcd_jax.build.texts import KINDS, Texts, load_texts
from cdcd_jax.build.token_data import TokenData
from cdcd_jax.conditioning.condition import Condition, class_condition, no_condition
from cdcd_jax.data.batch import Examples
from cdcd_jax.data.captioned import CaptionedExamples, Captions, number_captions
from cdcd_jax.training.step import Batch


@dataclass(frozen=True, kw_only=True)
class Told:
    """Hold what a denoiser is told about the examples.

    Attributes:
        condition: The kind of condition, as pure functions.
        denoiser: Options of ``make_denoiser`` that follow from it.
        train: The training set with its conditions.
        test: The held-out set with its conditions.
        class_names: The classes that a sample may be asked for; empty with texts.
        texts: What turns texts into conditions, if these are texts.
        test_texts: The text that each test example's condition is, if it is one.
    """

    condition: Condition
    denoiser: dict[str, Any]
    train: Examples
    test: Examples
    class_names: tuple[str, ...] = ()
    texts: Texts | None = None
    test_texts: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes that a sample may be asked for."""
        return len(self.class_names)

    def embed(self, cond: Any) -> Any:
        """Turn conditions of examples into what the model takes."""
        return cond if self.texts is None else self.texts.embed(cond)

    def see(self, batch: Batch) -> Batch:
        """Turn the conditions of a batch on its devices into what the model takes."""
        return {**batch, "cond": self.embed(batch["cond"])}


def load_condition(config: Any, data: TokenData, folder: Path | None) -> Told:
    """Make the condition of a configuration, and the examples with it.

    Args:
        config: The whole configuration.
        data: The tokens.
        folder: Where what is learned from all captions is kept; None keeps it nowhere.

    Returns:
        What the denoiser is told.

    Raises:
        ValueError: If a value is wrong, the data have no such conditions, or a file is missing.
    """
    if config.condition.kind in KINDS:
        return _told_texts(config, data, folder)
    return make_section(config, "condition", _told_classes, data, **config.condition)


def _told_classes(data: TokenData, *, kind: str, dropout: float) -> Told:
    if kind not in ("class", "none"):
        raise ValueError(f'kind = "{kind}" is not known; there are "class", "none", "text", "clip"')
    if not data.class_names:
        raise ValueError(
            f'kind = "{kind}" needs classes, and these pictures have none; "text" or '
            '"clip" go by their captions'
        )
    count = len(data.class_names)
    both = {"train": data.train, "test": data.test, "class_names": data.class_names}
    if kind == "none":
        return Told(condition=no_condition(), denoiser={"condition": "none"}, **both)
    known = count + (dropout > 0)  # no class is one more class
    return Told(
        condition=class_condition(count),
        denoiser={"condition": "class", "num_classes": known},
        **both,
    )


def _told_texts(config: Any, data: TokenData, folder: Path | None) -> Told:
    if data.train_captions is None or data.test_captions is None:
        raise ValueError(
            f'condition.kind = "{config.condition.kind}" needs captions, and the tokens of '
            f'data.name = "{config.data.name}" have none; "class" goes by their classes'
        )
    texts = load_texts(config, data.train_captions, folder)
    train, _ = _with_captions(data.train, data.train_captions, texts)
    test, flat = _with_captions(data.test, data.test_captions, texts)
    return Told(
        condition=texts.condition,
        denoiser={"condition": "cross", "cond_dim": texts.cond_dim},
        train=train,
        test=test,
        texts=texts,
        test_texts=tuple(flat[number] for number in test.caption_of),
    )


def _with_captions(
    examples: Examples, captions: Captions, texts: Texts
) -> tuple[CaptionedExamples, list[str]]:
    flat, first = number_captions(captions.texts)
    return CaptionedExamples(examples, texts.tokenize(flat), first, captions.picture_of), flat
