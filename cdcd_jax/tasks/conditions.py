"""Conditions, from the section ``condition``: classes, texts, dances, nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from cdcd_jax.conditioning.classes import ClassConditioning
from cdcd_jax.conditioning.condition import class_condition, no_condition, text_condition
from cdcd_jax.conditioning.conditioning import Conditioning
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.conditioning.dance_format import DanceFormat
from cdcd_jax.conditioning.texts import TextConditioning, Texts
from cdcd_jax.dance_to_music import DanceConditioning
from cdcd_jax.data.batch import Examples, TokenExamples
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.images.captioned import CaptionedExamples, Captions, number_captions
from cdcd_jax.evaluation.requests import SampleRequests
from cdcd_jax.io import is_first_host
from cdcd_jax.registry import CONDITIONS, register
from cdcd_jax.settings.keys import Keys, argument_keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.music import load_dances, motion_statistics
from cdcd_jax.tasks.music_codecs import find_window
from cdcd_jax.tasks.texts import load_texts
from cdcd_jax.tasks.token_data import TokenData
from cdcd_jax.training.step import Batch

DANCE_PARTS = ("motion", "video", "genre")
"""Keys of the section ``condition`` that say which parts of a dance a model is conditioned on."""

CAPTIONS_AT_ONCE = 8192
"""Captions that are tokenised between two looks at the clock."""


@dataclass(frozen=True, kw_only=True)
class ConditionedData:
    """A condition, with the examples of an experiment.

    Attributes:
        conditioning: What it is.
        train: The training set with its conditions.
        test: The held-out set with its conditions.
        test_texts: Held-out texts by the numbers of ``requests`` or of the test examples.
        requests: The conditions of the held-out texts, where they are more than the test
            examples: with ``eval.all_captions``, all captions of each.
    """

    conditioning: Conditioning
    train: Examples
    test: Examples
    test_texts: tuple[str, ...] = ()
    requests: SampleRequests | None = None

    def preprocess(self, batch: Batch) -> Batch:
        """Turn the conditions of a batch on its devices into what the model takes."""
        return {**batch, "cond": self.conditioning.embed(batch["cond"])}


class ConditionKind:
    """A kind of condition: an entry of the table ``CONDITIONS``.

    The methods here are those of a condition on classes; a subclass needs ``load`` and ``keys``.

    Attributes:
        needs: What the data must have: ``"classes"``, ``"captions"`` or ``"dances"``.
        keys: Keys of the section ``condition``; ``kind`` and ``dropout`` are among them.
    """

    needs: ClassVar[str] = "classes"
    keys: Keys = Keys.of("kind", "dropout")

    def load(self, config: Any, facts: Mapping[str, Any], folder: Path) -> Conditioning:
        """Make the conditioning of a model without its data.

        Args:
            config: The whole configuration.
            facts: What the model folder says of the data: ``class_names``, ``test_texts`` and, of
                dances, ``dance``.
            folder: The model folder.
        """
        raise NotImplementedError

    def make(
        self, config: Any, data: TokenData, folder: Path | None, texts: Texts | None = None
    ) -> ConditionedData:
        """Make the condition of a configuration, and the examples with it.

        Args:
            config: The whole configuration.
            data: The tokens.
            folder: Where what is learned from all captions is kept; None keeps it nowhere.
            texts: What reads captions, if it is not to be made of the section ``condition``.

        Raises:
            ValueError: If a value is wrong, the data have no such conditions, or a file is missing.
        """
        facts = {"class_names": data.class_names, "test_texts": ()}
        conditioning = make_section(config, "condition", self.load, config, facts, folder or Path())
        return ConditionedData(conditioning=conditioning, train=data.train, test=data.test)


def load_condition(
    config: Any, data: TokenData, folder: Path | None, *, texts: Texts | None = None
) -> ConditionedData:
    """Make the condition of a configuration, see ``ConditionKind.make``."""
    kind: ConditionKind = CONDITIONS.find(config.condition.kind, "condition.kind")
    return kind.make(config, data, folder, texts)


class ClassKind(ConditionKind):
    """A condition on classes, or none."""

    def load(self, config: Any, facts: Mapping[str, Any], folder: Path) -> Conditioning:
        """Condition on as many classes as there are names."""
        kind, dropout = config.condition.kind, config.condition.dropout
        return condition_on_classes(tuple(facts["class_names"]), kind=kind, dropout=dropout)


def condition_on_classes(
    class_names: tuple[str, ...], *, kind: str, dropout: float
) -> ClassConditioning:
    """Condition a model on its classes, or on nothing where ``kind`` is ``"none"``."""
    if kind == "none":
        return ClassConditioning(
            condition=no_condition(), denoiser={"condition": "none"}, class_names=class_names
        )
    known = len(class_names) + (dropout > 0)  # no class is one more class
    return ClassConditioning(
        condition=class_condition(len(class_names)),
        denoiser={"condition": "class", "num_classes": known},
        class_names=class_names,
    )


class TextKind(ConditionKind):
    """A condition on captions that a network reads.

    Args:
        keys: Keys of the section ``condition``.
    """

    needs = "captions"

    def __init__(self, keys: Keys):
        self.keys = keys

    def load(self, config: Any, facts: Mapping[str, Any], folder: Path) -> Conditioning:
        """Condition on texts, with the vocabulary or the tower in the folder."""
        texts = load_texts(config, Captions([], np.zeros(0, np.int64)), folder)
        return condition_on_texts(texts, tuple(facts["test_texts"]))

    def make(
        self, config: Any, data: TokenData, folder: Path | None, texts: Texts | None = None
    ) -> ConditionedData:
        """Condition on texts, and ask for samples by the captions of the test set."""
        if data.train_captions is None or data.test_captions is None:
            raise ValueError(
                f'condition.kind = "{config.condition.kind}" needs captions, and the tokens of '
                f'data.name = "{config.data.name}" have none; "class" goes by their classes'
            )
        texts = texts or load_texts(config, data.train_captions, folder)
        train, _ = _with_captions(data.train, data.train_captions, texts)
        test, flat = _with_captions(data.test, data.test_captions, texts)
        test_texts, requests = tuple(flat[number] for number in test.caption_of), None
        if config.eval.get("all_captions", False):
            test_texts, requests = tuple(flat), SampleRequests(test.texts, test.caption_of)
        return ConditionedData(
            conditioning=condition_on_texts(texts, test_texts),
            test_texts=test_texts,
            train=train,
            test=test,
            requests=requests,
        )


def condition_on_texts(texts: Texts, test_texts: tuple[str, ...]) -> TextConditioning:
    """Condition a model on texts."""
    return TextConditioning(
        condition=texts.condition,
        denoiser={"condition": "cross", "cond_dim": texts.cond_dim},
        texts=texts,
        test_texts=test_texts,
    )


def condition_on_dances(config: Any, dance: DanceFormat) -> DanceConditioning:
    """Condition a model on dances of a format, as the section ``condition`` says."""
    options = {key: value for key, value in config.condition.items() if key not in DANCE_PARTS}
    null = "learned" if options.pop("dropout") else None
    del options["kind"]
    return make_section(
        config, "condition", make_dance_condition, dance, config.data.seconds, null, **options
    )


def make_dance_condition(
    dance: DanceFormat,
    seconds: float,
    null: str | None,
    *,
    encoder: str,
    width: int,
    genre_width: int,
    group: int,
    num_layers: int,
    num_heads: int,
    hidden: int,
    channels: tuple[int, ...],
    compute_dtype: str,
) -> DanceConditioning:
    """Condition a model on dances; each encoder has sizes of its own."""
    moves: dict[str, Any] | None = None
    if "motion" in dance.parts:
        moves = {"num_features": dance.num_features, "frames": dance.frames}
        if encoder == "temporal":
            moves |= {"fps": dance.fps, "group": group, "num_layers": num_layers}
            moves |= {"mean": dance.mean, "std": dance.std, "num_heads": num_heads}
            moves |= {"compute_dtype": compute_dtype}
        else:
            moves |= {"hidden": hidden, "channels": channels, "out": width}
    video = "video" in dance.parts
    condition = dance_condition(
        encoder=encoder,
        motion=moves,
        num_genres=len(dance.genre_names) if "genre" in dance.parts else 0,
        video_features=dance.video_features if video else None,
        video_steps=(dance.video_steps or 1) if video else 1,
        seconds=seconds,
        width=width,
        genre_width=genre_width,
        null=null,
    )
    denoiser: dict[str, Any] = {"condition": "cross", "cond_dim": width}
    if encoder == "temporal":
        denoiser["seconds"] = dance.samples / SAMPLE_RATE
    return DanceConditioning(condition=condition, denoiser=denoiser, dance=dance)


class DanceKind(ConditionKind):
    """A condition on dances."""

    needs = "dances"
    keys = argument_keys(make_dance_condition, given=("dance", "seconds", "null")).and_needed(
        "kind", "dropout", *DANCE_PARTS
    )

    def load(self, config: Any, facts: Mapping[str, Any], folder: Path) -> Conditioning:
        """Condition on dances of the format of the training set."""
        return condition_on_dances(config, DanceFormat.from_json(facts["dance"]))

    def make(
        self, config: Any, data: TokenData, folder: Path | None, texts: Texts | None = None
    ) -> ConditionedData:
        """Condition on the parts of dances that are wanted, or all that there are."""
        dance = make_section(config, "condition", _describe_dances, config, data)
        train, test = (_with_parts(examples, dance.parts) for examples in (data.train, data.test))
        conditioning = condition_on_dances(config, dance)
        return ConditionedData(conditioning=conditioning, train=train, test=test)


def _describe_dances(config: Any, data: TokenData) -> DanceFormat:
    """Describe the dances of an experiment; a part that is None is taken where they have it."""
    cond, window = data.train.cond, find_window(config)
    parts = {name: config.condition[name] for name in DANCE_PARTS}
    parts = {name: name in cond if part is None else part for name, part in parts.items()}
    for name, is_wanted in parts.items():
        if is_wanted and name not in cond:
            raise ValueError(
                f'{name} = True, but the dances of "{config.data.name}" have no {name}'
            )
    fps, edges = data.fps, ()
    if fps is None:
        dances = load_dances(config, "train")
        fps, edges = dances.fps, dances.edges
    mean, std = None, None
    if parts["motion"] and config.condition.encoder == "temporal":
        mean, std = motion_statistics(cond["motion"])
    _, frames, num_features = cond["motion"].shape
    return DanceFormat(
        parts=tuple(name for name, is_wanted in parts.items() if is_wanted),
        seconds=config.data.seconds,
        samples=window.samples,
        fps=fps,
        frames=frames,
        num_features=num_features,
        video_features=cond["video"].shape[2] if parts["video"] else 0,
        video_steps=cond["video"].shape[1] if parts["video"] else 1,
        genre_names=data.class_names,
        edges=edges,
        mean=mean,
        std=std,
    )


def _with_parts(examples: Examples, parts: Sequence[str]) -> Examples:
    """Keep some parts of the dances of examples."""
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
    return CaptionedExamples(examples, np.concatenate(tokens), first, captions.image_of), flat


for name in ("class", "none"):
    register("condition", name, ClassKind())
register(
    "condition",
    "text",
    TextKind(argument_keys(text_condition, given=("empty",)).and_needed("kind", "dropout")),
)
register(
    "condition",
    "clip",
    TextKind(Keys.of("kind", "dropout", "weights", "merges", "null", "compute_dtype", strict=True)),
)
register("condition", "dance", DanceKind())
