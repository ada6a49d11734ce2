"""The preparation of tokens, from the sections ``data``, ``codec`` and ``prepare``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.codecs.audio_codec import AudioCodec
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.patches import PatchCodec
from cdcd_jax.codecs.spectra import SpectrumCodec
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.dance.views import WaveformPlan
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.shards.prepare_options import check_crops, check_options
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codecs import load_codec
from cdcd_jax.tasks.images import Places, check_classes, find_places, load_source
from cdcd_jax.tasks.memory import check_needs, preparation_needs
from cdcd_jax.tasks.music import load_segments
from cdcd_jax.tasks.music_codecs import find_window


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Hold what the preparation of tokens needs.

    Attributes:
        codec: Turns pictures into tokens.
        sources: The pictures of each split.
        places: Where the tokens go.
        image_size: Height and width of the pictures that are encoded.
        options: Of ``prepare``, by split.
    """

    codec: ImageCodec | PatchCodec
    sources: dict[str, Source]
    places: Places
    image_size: int
    options: dict[str, dict[str, Any]]


def build_preparation(config: Any, workdir: Path) -> Preparation:
    """Make the preparation of a configuration.

    The test pictures are seen once, by their centre; views, crops and flips are for training.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/pictures.py`` makes it.
        workdir: Folder of the run, where a codec and tokens lie that have no place of their own.

    Returns:
        The preparation.

    Raises:
        ValueError: If there is nothing to prepare, or pictures or codec are missing.
    """
    places = find_places(config, workdir)
    if places is None:
        raise ValueError(f'data.name = "{config.data.name}" has nothing to prepare')
    check_needs(preparation_needs(config))
    sources = {split: load_source(config, split) for split in ("train", "test")}
    names = [source.class_names for source in sources.values()]
    make_section(config, "data", check_classes, *names)
    options = check_prepare(config)
    centred = {"views": 1, "crop": "center", "flip": False}
    codec = load_codec(config, places)
    assert isinstance(codec, (ImageCodec, PatchCodec))
    return Preparation(
        codec=codec,
        sources=sources,
        places=places,
        image_size=config.codec.image_size,
        options={"train": options, "test": options | centred},
    )


@dataclass(frozen=True, kw_only=True)
class MusicPreparation:
    """Hold what the preparation of music needs.

    Attributes:
        codec: Turns pieces of music into tokens.
        segments: The pieces of each split.
        places: Where the tokens go.
        plans: How the pieces of each split are varied.
        seed: Seed of loudness and disorder.
        shard_size: Pieces in a shard.
        options: Of ``prepare_views``.
    """

    codec: AudioCodec | SpectrumCodec
    segments: dict[str, Segments]
    places: Places
    plans: dict[str, WaveformPlan]
    seed: int
    shard_size: int
    options: dict[str, Any]


def build_music_preparation(config: Any, workdir: Path) -> MusicPreparation:
    """Make the preparation of music for dances.

    The test music is as it is: louder and quieter views and disorder are for training.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/music.py`` makes it.
        workdir: Folder of the run, where a codec and tokens lie that have no place of their own.

    Returns:
        The preparation.

    Raises:
        ValueError: If a value is wrong, or dances or codec are missing.
    """
    places = find_places(config, workdir)
    assert places is not None  # the section ``codec`` of music has a folder
    check_needs(preparation_needs(config))
    segments = {split: load_segments(config, split) for split in ("train", "test")}
    names = [pieces.genre_names for pieces in segments.values()]
    make_section(config, "data", check_classes, *names)
    options, train = check_prepare(config), plan_waveforms(config)
    codec = load_codec(config, places)
    assert isinstance(codec, (AudioCodec, SpectrumCodec))
    return MusicPreparation(
        codec=codec,
        segments=segments,
        places=places,
        plans={
            "train": train,
            "test": train._replace(stride=config.data.test_stride, views=1, shuffles=0),
        },
        seed=config.prepare.seed,
        shard_size=config.prepare.shard_size,
        options={name: options[name] for name in ("batch_size", "on_bad")},
    )


def check_prepare(config: Any) -> dict[str, Any]:
    """Check the section ``prepare``, but for what only music has; return it.

    Raises:
        ValueError: If a value is wrong.
    """
    section = config.prepare.to_dict()

    def check(function: Callable[..., None], *names: str) -> None:
        make_section(config, "prepare", function, **{name: section[name] for name in names})

    check(check_options, "views", "seed", "shard_size", "batch_size", "on_bad")
    if "crop" in section:
        check(check_crops, "views", "crop", "flip")
    return section


def plan_waveforms(config: Any) -> WaveformPlan:
    """Say how the pieces of training music are varied.

    Raises:
        ValueError: If a value is wrong.
    """
    section = config.prepare
    plan = WaveformPlan(
        seconds=find_window(config).seconds,
        stride=config.data.stride,
        views=section.views,
        shuffles=section.shuffles,
        num_chunks=section.num_chunks,
        quietest=section.quietest,
    )
    make_section(config, "prepare", plan.check)
    return plan
