"""What scores the samples of an experiment, from the section ``eval``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.data.toy.glyphs import GlyphPictures
from cdcd_jax.evaluation.metrics.images.glyphs import make_glyph_scorers
from cdcd_jax.evaluation.metrics.images.real_images import RealPictures, evenly_spaced, raw_pictures
from cdcd_jax.evaluation.metrics.images.reference import check_reference
from cdcd_jax.evaluation.metrics.pretrained import (
    check_networks,
    make_caption_scorers,
    make_picture_scorers,
    missing_weights,
)
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.conditions import Told
from cdcd_jax.tasks.images import load_source
from cdcd_jax.tasks.miniature import NOTICE, is_synthetic
from cdcd_jax.tasks.music import is_music, load_segments
from cdcd_jax.tasks.music_scoring import music_options
from cdcd_jax.tasks.token_data import TokenData

CLASS_FILES = ("inception_weights", "resnet_weights", "reference")
CAPTION_FILES = ("inception_weights", "clip_weights", "clip_merges", "reference")
PLACES = tuple(dict.fromkeys((*CLASS_FILES, *CAPTION_FILES)))
"""Keys that are files, of which images of classes and images with captions are scored with some."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Say how samples are scored.

    Attributes:
        make_options: ``make_options() -> options of evaluate``: scorers, the codec's way back and
            real test pictures. It reads pictures and fits a judge, so it is called when there is
            something to score.
        check: Raises a ValueError if there are no real pictures to score by, or a file is damaged
            or of another network. It reads files of weights whole, in seconds, so it is called once
            before training and before an evaluation, and not to draw samples.
        unmeasured: Sentences on what is not measured, and which file would change that, or on
            scores that mean nothing.
    """

    make_options: Callable[[], dict[str, Any]]
    check: Callable[[], None] = lambda: None
    unmeasured: tuple[str, ...] = ()


def make_scoring(config: Any, data: TokenData, told: Told, workdir: Path) -> Scoring:
    """Choose the scorers: a judge of tokens for the digits, those of pictures for pictures.

    Args:
        config: The whole configuration.
        data: The tokens and their codec.
        told: What samples are asked for.
        workdir: Folder of the run, for the reference statistics if they have no place of their own.

    Returns:
        The scoring.

    Raises:
        ValueError: If a file of weights is not there.
    """
    make_section(config, "eval", _check_classifier, config, data)
    if config.data.name == "digits":
        return Scoring(make_options=dict)
    if is_music(config):
        return Scoring(
            make_options=lambda: make_section(config, "eval", music_options, config, data),
            check=lambda: make_section(config, "data", _check_pieces, config, data),
            unmeasured=_synthetic(config),
        )
    # Settings that began with images of classes may go on with captions, and the other way round.
    wanted = CLASS_FILES if told.texts is None else CAPTION_FILES
    files = {name: config.eval.get(name) for name in wanted}
    for name, path in files.items():
        if name != "reference" and path is not None and not Path(path).is_file():
            raise ValueError(f"eval.{name} = {path} is no file")
    num_classes = told.num_classes if told.texts is None else None
    given = {"num_classes": num_classes, "any_clip": is_synthetic(config)}
    reference = files["reference"]
    files["reference"] = reference or str(workdir / "inception_reference.npz")
    options = _class_options if told.texts is None else _caption_options

    def check() -> None:
        make_section(config, "eval", check_networks, files, **given)
        if reference is not None and Path(reference).exists():
            make_section(config, "eval", _check_reference, reference)
        for split, examples in (("train", data.train), ("test", data.test)):
            source = load_source(config, split)
            if isinstance(examples, TokenShards):
                make_section(config, "data", _check_source, config, examples, source)

    return Scoring(
        make_options=lambda: options(config, data, told, files),
        check=check,
        unmeasured=(
            *missing_weights(files, num_classes=num_classes),
            *_synthetic(config),
        ),
    )


def _check_classifier(config: Any, data: TokenData) -> None:
    """Raise a ValueError unless the real examples suffice to fit the classifier of classes."""
    train, name, labels = data.train, "num_real", None
    if isinstance(train, TokenShards):
        labels = train.cond[:: train.plan.views]
    elif is_music(config):
        name = "num_judged"
        labels = (
            train.shards.cond[:: train.shards.plan.views]
            if isinstance(train, MusicExamples)
            else load_segments(config, "train").groups
        )
    elif config.data.name == "digits":
        labels = train.cond
    if labels is None or not data.class_names or config.condition.kind in NO_CLASSES:
        return
    limit = config.eval[name]
    chosen = labels[evenly_spaced(len(labels), limit)]
    classes = len(np.unique(chosen))
    if classes < 2 or len(chosen) <= classes:
        raise ValueError(
            f"{name} = {limit} of {len(labels)} training examples are {len(chosen)} of {classes} "
            "classes, and the classifier that scores samples needs two classes and more examples "
            "than classes; take more"
        )


NO_CLASSES = ("text", "clip")
"""Kinds of conditions whose samples are scored by no classifier of classes."""


def _check_reference(path: str) -> None:
    try:
        check_reference(path)
    except ValueError as error:
        raise ValueError(f"reference: {error}") from error


def _synthetic(config: Any) -> tuple[str, ...]:
    return (NOTICE,) if is_synthetic(config) else ()


def _check_pieces(config: Any, data: TokenData) -> None:
    for split, examples in (("train", data.train), ("test", data.test)):
        if isinstance(examples, MusicExamples):
            _check_source(config, examples.shards, load_segments(config, split))
    if data.class_names and len(data.test) < 2:
        raise ValueError("the test dances give one piece, and scores of genres need two; give more")


def _check_source(config: Any, tokens: TokenShards, source: Source | Segments) -> None:
    """Raise a ValueError unless tokens were made of the data that their scores compare with."""
    plan = tokens.plan
    if plan.source_fingerprint != source.fingerprint:
        raise ValueError(
            f"path = {config.data.path} holds other data than the tokens in {tokens.folder} were "
            f"made of ({len(source)} of {source.name} now, {plan.num_images} of {plan.source} "
            "then); give the path that they were prepared from, or another data.tokens"
        )


def _class_options(
    config: Any, data: TokenData, told: Told, files: dict[str, Any]
) -> dict[str, Any]:
    def pictures(split: str) -> RealPictures:
        source = load_source(config, split)
        return RealPictures(source, image_size=config.codec.image_size, limit=config.eval.num_real)

    scorers = make_section(
        config,
        "eval",
        make_picture_scorers,
        pictures("train"),
        vocab_size=data.codec.vocab_size,
        num_classes=told.num_classes,
        batch_size=config.eval.batch_size,
        **files,
    )
    return {
        "scorers": scorers,
        "decode_fn": data.codec.decode,
        "raw": raw_pictures(pictures("test")),
    }


def _pictures_of_requests(told: Told, test: TokenShards) -> np.ndarray:
    """Number in the source the picture that each text of an evaluation is of."""
    if told.requests is None:
        return test.source_index
    assert test.captions is not None
    return np.repeat(test.source_index, [len(texts) for texts in test.captions])


def _caption_options(
    config: Any, data: TokenData, told: Told, files: dict[str, Any]
) -> dict[str, Any]:
    """Ask for the captions of the test pictures, which are the real ones to compare with, too."""
    source, test = load_source(config, "test"), data.test
    assert isinstance(test, TokenShards)

    def pictures(*, oversample: bool) -> RealPictures:
        return RealPictures(
            source,
            image_size=config.codec.image_size,
            limit=config.eval.num_real,
            numbers=test.source_index,
            oversample=oversample,
        )

    scorers = make_section(
        config,
        "eval",
        make_caption_scorers,
        pictures(oversample=True),
        captions=told.test_texts,
        vocab_size=data.codec.vocab_size,
        batch_size=config.eval.batch_size,
        any_clip=is_synthetic(config),
        **files,
    )
    if isinstance(source, GlyphPictures):
        train = load_source(config, "train")
        assert isinstance(train, GlyphPictures)
        scorers += make_glyph_scorers(train, source, _pictures_of_requests(told, test))
    return {
        "by_example": True,
        "scorers": scorers,
        "decode_fn": data.codec.decode,
        "raw": raw_pictures(pictures(oversample=False)),
    }
