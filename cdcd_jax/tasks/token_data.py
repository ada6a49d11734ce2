"""The tokens that an experiment works on: digits' pixels, or prepared pictures or music."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.data.batch import Examples, TokenExamples, check_tokens
from cdcd_jax.data.dance.examples import MusicExamples, ShuffledWaveforms
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.images.caption_files import CaptionedPictures
from cdcd_jax.data.images.captioned import Captions
from cdcd_jax.data.negative_lists import load_negatives, read_entries
from cdcd_jax.data.negatives import Negatives
from cdcd_jax.data.shards.splits import check_splits
from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.data.toy import digits
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codecs import codec_shape, load_codec
from cdcd_jax.tasks.images import Places, check_classes, find_places, load_source, open_tokens
from cdcd_jax.tasks.music import SOUND, is_music, load_dances, load_segments
from cdcd_jax.tasks.preparation import check_prepare, plan_waveforms


@dataclass(frozen=True, kw_only=True)
class TokenData:
    """Hold tokens and what is known of them.

    Attributes:
        codec: Between tokens and pictures.
        train: The training set.
        test: The held-out set.
        class_names: Name of each class.
        fingerprint: What the tokens depend on; empty where the configuration says it all.
        train_captions: The training set's captions, if pictures have some.
        test_captions: The held-out set's.
        others: Where inter negatives are drawn from, if a file says so.
        own: Where intra negatives are drawn from, if they were made before encoding.
        fps: Frames of motion per second, where no dances are at hand that say it.
    """

    codec: Codec
    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    fingerprint: str = ""
    train_captions: Captions | None = None
    test_captions: Captions | None = None
    others: Negatives | None = None
    own: Negatives | None = None
    fps: float | None = None


def load_data(config: Any, places: Places | None) -> TokenData:
    """Load the tokens of a configuration, and their codec.

    Args:
        config: The whole configuration.
        places: From ``find_places``.

    Returns:
        The tokens.

    Raises:
        ValueError: If something is missing, damaged, or does not fit.
    """
    if places is None:
        codec = load_codec(config, None)
        return make_section(config, "data", _digits, config.data.name, codec)
    if config.data.name == SOUND:
        raise ValueError(
            'data.name = "sound" is for a codec alone, with --mode=codec: nothing says what such '
            "music is to be generated from"
        )
    codec = load_codec(config, places)
    train, test = (
        open_tokens(config, places, split, codec.fingerprint) for split in ("train", "test")
    )
    remark = make_section(config, "data", check_splits, train, test)
    if remark and is_first_host():
        print(remark)
    if is_music(config):
        return make_section(config, "data", _music, config, codec, train, test)
    make_section(config, "data", check_classes, train.class_names, test.class_names)
    return TokenData(
        codec=codec,
        train=train,
        test=test,
        class_names=train.class_names,
        fingerprint=train.plan.digest,
        train_captions=_captions(train),
        test_captions=_captions(test),
        others=make_section(config, "data", _listed_negatives, config, train),
    )


def load_test_dances(
    config: Any, workdir: Path, generator: Generator
) -> tuple[Segments, MusicExamples]:
    """Open the test set of a run on dances, with the pieces that it was made of.

    Args:
        config: The whole configuration.
        workdir: Folder of the run.
        generator: The run's model.

    Returns:
        The pieces, and their tokens with the parts that the model is conditioned on.

    Raises:
        ValueError: If they are not there; the sentence says that a dance can be given instead.
    """
    places, dance = find_places(config, workdir), generator.conditioning.dance
    codec: Any = generator.codec
    assert places is not None
    assert dance is not None
    try:
        test = open_tokens(config, places, "test", codec.fingerprint)
        return load_segments(config, "test"), MusicExamples(test, dance.parts)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{error}; the test dances are not at hand, add --motion=FILE to sample for another"
        ) from error


def dry_run_data(config: Any) -> TokenData:
    """Stand in for tokens that do not exist yet: random ones, two of each class or so."""
    if config.codec.name == "pixels":
        return load_data(config, None)
    check_prepare(config)
    if is_music(config):
        return _dry_run_music(config)
    train, test = load_source(config, "train"), load_source(config, "test")
    _check_listed(config)
    make_section(config, "data", check_classes, train.class_names, test.class_names)
    labels = two_of_each(len(train.class_names))
    captions = train[0].captions
    told = Captions([captions] * len(labels), np.arange(len(labels))) if captions else None
    return random_tokens(config, labels, labels, train.class_names, told)


def _check_listed(config: Any) -> None:
    if config.data.negatives is None:
        return
    path = Path(config.data.negatives)
    if not path.is_file():
        raise ValueError(f"data.negatives = {path} is no file")
    make_section(config, "data", read_entries, path)


def two_of_each(num_classes: int) -> np.ndarray:
    """Label two examples of each class, or of two where there are no classes."""
    return np.tile(np.arange(num_classes or 2, dtype=np.int32), 2)


def random_tokens(
    config: Any,
    cond: Any,
    group: np.ndarray,
    class_names: tuple[str, ...],
    captions: Captions | None = None,
    **options: Any,
) -> TokenData:
    """Stand in for tokens with some that mean nothing, of the codec's shape.

    Args:
        config: The whole configuration; the section ``codec`` is read here.
        cond: What the examples are generated from.
        group: Group of each example.
        class_names: Names of the classes, if there are any.
        captions: Captions of the examples, if they have any.
        **options: More of ``TokenData``.

    Returns:
        The same examples for training and test.
    """
    vocab_size, grid = codec_shape(config)
    shape = (len(group), math.prod(grid))
    tokens = np.random.default_rng(0).integers(0, vocab_size, shape, dtype=np.int32)
    examples = TokenExamples(tokens=tokens, cond=cond, group=group)
    return TokenData(
        codec=PixelCodec(vocab_size=vocab_size, grid=grid),
        train=examples,
        test=examples,
        class_names=class_names,
        train_captions=captions,
        test_captions=captions,
        **options,
    )


def _music(config: Any, codec: Codec, train: TokenShards, test: TokenShards) -> TokenData:
    check_classes(train.class_names, test.class_names)
    heard = MusicExamples(train)
    _check_intra(config.data.intra)
    others = None
    if config.data.negatives is not None:
        pieces = train.picture_names
        others = load_negatives(
            config.data.negatives,
            # A piece that begins with its dance has the dance's name, as in the published file.
            [name.removesuffix("@0.0s") for name in pieces],
            np.arange(len(heard)) // heard.waveforms.views,
            heard.group,
            listed_names=load_dances(config, "train").names,
        )
    return TokenData(
        codec=codec,
        train=heard,
        test=MusicExamples(test),
        class_names=train.class_names,
        fingerprint=train.plan.digest,
        others=others,
        own=ShuffledWaveforms(heard) if config.data.intra == "waveform" else None,
    )


def _check_intra(intra: str, num_shuffles: int | None = None) -> None:
    """Check where intra negatives come from, and how many there will be if that is known."""
    if intra not in ("tokens", "waveform"):
        raise ValueError(f'intra = "{intra}" must be one of "tokens", "waveform"')
    if intra == "waveform" and num_shuffles == 0:
        raise ValueError('intra = "waveform" needs prepare.shuffles of 1 or more; it is 0')


def _dry_run_music(config: Any) -> TokenData:
    """Stand in for prepared music: random tokens, and dances that stand still."""
    shuffles = plan_waveforms(config).shuffles
    make_section(config, "data", _check_intra, config.data.intra, shuffles)
    sources = [load_segments(config, split) for split in ("train", "test")]
    _check_listed(config)
    make_section(config, "data", check_classes, *(source.genre_names for source in sources))
    source = sources[0]
    genres = two_of_each(len(source.genre_names))
    cond: dict[str, np.ndarray] = {
        "motion": np.zeros((len(genres), source.frames, source.num_features), np.float32)
    }
    if source.dances.video_features is not None:
        shape = (len(genres), source.video_steps, source.dances.video_features)
        cond["video"] = np.zeros(shape, np.float32)
    if source.genre_names:
        cond["genre"] = genres
    return random_tokens(config, cond, genres, source.genre_names)


def _listed_negatives(config: Any, train: TokenShards) -> Negatives | None:
    if config.data.negatives is None:
        return None
    source = load_source(config, "train")
    return load_negatives(
        config.data.negatives,
        train.picture_names,
        train.picture_of,
        train.group,
        listed_names=source.listed_names if isinstance(source, CaptionedPictures) else None,
    )


def _captions(shards: TokenShards) -> Captions | None:
    return Captions(shards.captions, shards.picture_of) if shards.captions else None


def _digits(name: str, codec: PixelCodec) -> TokenData:
    if name != "digits":
        raise ValueError(f'name = "{name}" is no data set of pixels; there is "digits"')
    if codec.grid != digits.GRID:
        raise ValueError(
            f"the digits have {digits.GRID} pixels, so codec.grid = {codec.grid} must be that"
        )
    train, test = digits.load_digits("train"), digits.load_digits("test")
    name = f"tokens of the digits with codec.vocab_size = {codec.vocab_size}"
    for examples in (train, test):
        check_tokens(examples.tokens, vocab_size=codec.vocab_size, name=name)
    names = tuple(str(digit) for digit in range(digits.NUM_CLASSES))
    return TokenData(codec=codec, train=train, test=test, class_names=names)
