"""What is generated from, by the section ``condition``: classes, texts, dances, nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cdcd_jax.build.music import find_window, is_music, load_dances, motion_statistics
from cdcd_jax.build.sections import make_section
from cdcd_jax.build.texts import KINDS, Texts, load_texts
from cdcd_jax.build.token_data import TokenData
from cdcd_jax.conditioning.condition import Condition, class_condition, no_condition
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.data.batch import Examples, TokenExamples
from cdcd_jax.data.captioned import CaptionedExamples, Captions, number_captions
from cdcd_jax.data.music_examples import MusicExamples
from cdcd_jax.evaluation.requests import SampleRequests
from cdcd_jax.files import is_first_host
from cdcd_jax.training.step import Batch

CAPTIONS_AT_ONCE = 8192
"""Captions that are tokenised between two looks at the clock."""


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
        test_texts: The texts that samples of an evaluation are drawn for, if there are any: each
            test example's condition or, with ``eval.all_captions``, all captions.
        requests: Their conditions, where they are more than the test examples.
        by_example: Whether a sample is asked for by the condition of an example, not by a class.
    """

    condition: Condition
    denoiser: dict[str, Any]
    train: Examples
    test: Examples
    class_names: tuple[str, ...] = ()
    texts: Texts | None = None
    test_texts: tuple[str, ...] = ()
    requests: SampleRequests | None = None
    by_example: bool = False

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


def load_condition(
    config: Any, data: TokenData, folder: Path | None, *, texts: Texts | None = None
) -> Told:
    """Make the condition of a configuration, and the examples with it.

    Args:
        config: The whole configuration.
        data: The tokens.
        folder: Where what is learned from all captions is kept; None keeps it nowhere.
        texts: What reads captions, if it is not to be made of the section ``condition``.

    Returns:
        What the denoiser is told.

    Raises:
        ValueError: If a value is wrong, the data have no such conditions, or a file is missing.
    """
    if config.condition.kind == "dance":
        return _told_dances(config, data)
    if config.condition.kind in KINDS:
        return _told_texts(config, data, folder, texts)
    kind, dropout = config.condition.kind, config.condition.dropout
    return make_section(config, "condition", _told_classes, data, kind=kind, dropout=dropout)


def _told_classes(data: TokenData, *, kind: str, dropout: float) -> Told:
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


def _told_texts(config: Any, data: TokenData, folder: Path | None, texts: Texts | None) -> Told:
    if data.train_captions is None or data.test_captions is None:
        other = '"dance" goes by motion' if is_music(config) else '"class" goes by their classes'
        raise ValueError(
            f'condition.kind = "{config.condition.kind}" needs captions, and the tokens of '
            f'data.name = "{config.data.name}" have none; {other}'
        )
    texts = texts or load_texts(config, data.train_captions, folder)
    train, _ = _with_captions(data.train, data.train_captions, texts)
    test, flat = _with_captions(data.test, data.test_captions, texts)
    test_texts, requests = tuple(flat[number] for number in test.caption_of), None
    if config.eval.get("all_captions", False):
        test_texts, requests = tuple(flat), SampleRequests(test.texts, test.caption_of)
    return Told(
        condition=texts.condition,
        denoiser={"condition": "cross", "cond_dim": texts.cond_dim},
        train=train,
        test=test,
        texts=texts,
        test_texts=test_texts,
        requests=requests,
        by_example=True,
    )


def _told_dances(config: Any, data: TokenData) -> Told:
    options = {key: value for key, value in config.condition.items() if key != "dropout"}
    del options["kind"]
    return make_section(config, "condition", make_dance_condition, config, data, **options)


def make_dance_condition(
    config: Any,
    data: TokenData,
    *,
    encoder: str,
    motion: bool,
    video: bool | None,
    genre: bool,
    width: int,
    genre_width: int,
    group: int,
    num_layers: int,
    num_heads: int,
    hidden: int,
    channels: tuple[int, ...],
    compute_dtype: str,
) -> Told:
    """Tell those parts of a dance that are wanted; each encoder has sizes of its own.

    ``video=None`` wants it where the dances have it.
    """
    window, fps = find_window(config), data.fps or load_dances(config, "train").fps
    cond = data.train.cond
    video = "video" in cond if video is None else video
    wanted = {"motion": motion, "video": video, "genre": genre}
    for name, is_wanted in wanted.items():
        if is_wanted and name not in cond:
            raise ValueError(
                f'{name} = True, but the dances of "{config.data.name}" have no {name}'
            )
    moves = None
    if motion:
        _, frames, num_features = cond["motion"].shape
        moves = {"num_features": num_features, "frames": frames}
        if encoder == "temporal":
            mean, std = motion_statistics(cond["motion"])
            moves |= {"fps": fps, "group": group, "num_layers": num_layers, "mean": mean}
            moves |= {"std": std, "num_heads": num_heads, "compute_dtype": compute_dtype}
        else:
            moves |= {"hidden": hidden, "channels": channels, "out": width}
    condition = dance_condition(
        encoder=encoder,
        motion=moves,
        num_genres=len(data.class_names) if genre else 0,
        video_features=cond["video"].shape[2] if video else None,
        video_steps=cond["video"].shape[1] if video else 1,
        seconds=config.data.seconds,
        width=width,
        genre_width=genre_width,
        null="learned" if config.condition.dropout else None,
    )
    denoiser: dict[str, Any] = {"condition": "cross", "cond_dim": width}
    if encoder == "temporal":
        denoiser["seconds"] = window.seconds
    parts = [name for name, is_wanted in wanted.items() if is_wanted]
    train, test = (_telling(examples, parts) for examples in (data.train, data.test))
    return Told(condition=condition, denoiser=denoiser, train=train, test=test, by_example=True)


def _telling(examples: Examples, parts: Sequence[str]) -> Examples:
    """Take examples that tell some parts of their dances only."""
    if isinstance(examples, MusicExamples):
        return MusicExamples(examples.shards, parts)
    cond = {name: examples.cond[name] for name in parts}
    everything = np.arange(len(examples))
    return TokenExamples(tokens=examples.take(everything), cond=cond, group=examples.group)


def _with_captions(
    examples: Examples, captions: Captions, texts: Texts
) -> tuple[CaptionedExamples, list[str]]:
    flat, first = number_captions(captions.texts)
    pieces = range(0, len(flat), CAPTIONS_AT_ONCE)
    # COCO has 414,113; the bar shows where it takes longer than two seconds.
    bar = tqdm(pieces, desc="captions", unit="piece", delay=2.0, disable=not is_first_host())
    tokens = [texts.tokenize(flat[start : start + CAPTIONS_AT_ONCE]) for start in bar]
    return CaptionedExamples(examples, np.concatenate(tokens), first, captions.picture_of), flat
