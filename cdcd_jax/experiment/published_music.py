"""A published checkpoint of dance-to-music as functions that sample: dance -> tokens -> music.

The architecture is read off the file's shapes. Sampling starts from masks only, whereas the
published code starts from the true music with a tenth of its tokens masked.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from cdcd_jax.codecs.audio_codec import AudioCodec
from cdcd_jax.codecs.jukebox import make_jukebox
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.diffusion.schedule import Schedule, mask_replace_schedule
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.distributed.shard_batch import place_whole
from cdcd_jax.experiment.published import PUBLISHED_HEADS
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.jukebox import jukebox_from_state_dict
from cdcd_jax.interop.motion import dance_from_reference
from cdcd_jax.interop.published_music import (
    PublishedMusic,
    describe_jukebox,
    read_published_music,
)
from cdcd_jax.io import is_first_host
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.training.generation import SampleFn, make_sample_fn
from cdcd_jax.training.model import Model, make_model
from cdcd_jax.typing import Params


@dataclass(frozen=True, kw_only=True)
class PublishedMusicModel:
    """Hold a published model of music that can be sampled.

    Attributes:
        codec: Between tokens and audio.
        schedule: The noise schedule.
        num_genres: Genres the model knows; 0 for TikTok's, which knows none.
        frames: Frames of a dance.
        num_features: Features of a frame.
        video_features: Features of a dance's video, as one step; None for a model without.
        seconds: How long the dance and its music are.
        params: The denoiser's and the condition's.
        model: Both as what is sampled.
        architecture: Options of the denoiser, as of ``make_denoiser``.
        dance: Options of ``dance_condition`` that the shapes tell.
        sample_fn: See ``make_sample_fn``; its condition is a dict of ``"motion"`` [batch frames
            features], ``"video"`` [batch 1 features] and ``"genre"`` [batch] int32, the last two
            where the model knows such things.
    """

    codec: AudioCodec
    schedule: Schedule
    num_genres: int
    frames: int
    num_features: int
    video_features: int | None
    seconds: float
    params: Params
    model: Model
    architecture: dict[str, Any]
    dance: dict[str, Any]
    sample_fn: SampleFn


def load_published_music(
    path: Path,
    *,
    weights: str | None = None,
    motion_frames: int | None = None,
    level: int | None = None,
    batch_size: int = 4,
    compute_dtype: str = "float32",
) -> PublishedMusicModel:
    """Load a published CDCD checkpoint of dance-to-music.

    Args:
        path: The ``.pth`` file.
        weights: ``"ema"`` for the running average, ``"model"`` for the last weights; None for the
            average where the file has one.
        motion_frames: Frames of the dances at hand, to be checked; None to take the file's.
        level: Level of the codec that the tokens belong to; None for the top, the published one.
        batch_size: Examples that the codec decodes at a time.
        compute_dtype: Of the denoiser.

    Returns:
        The model.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or of another kind, its parts do not fit each other, or the
            dances at hand have another number of frames.
    """
    found = read_published_music(path, weights=weights)
    if weights is None and not found.averaged and is_first_host():
        print(f"{path} holds no averaged weights; the last ones are taken")
    motion = found.dance["motion"]
    if motion_frames not in (None, motion["frames"]):
        raise ValueError(
            f"{path} reads dances of {motion['frames']} frames, but those at hand have "
            f"{motion_frames}; take a configuration of the checkpoint's length"
        )
    codec = _codec(found, level, batch_size)
    seconds = codec.samples / codec.sample_rate
    condition = dance_condition(**found.dance, seconds=seconds, null=None)
    architecture: dict[str, Any] = {**found.architecture, "num_heads": PUBLISHED_HEADS}
    network = make_denoiser(**architecture, compute_dtype=compute_dtype)
    num_steps, vocab_size = (architecture[name] for name in ("num_steps", "vocab_size"))
    # The music code divides the uniform share by all classes, the mask included.
    schedule = mask_replace_schedule(
        num_steps=num_steps, vocab_size=vocab_size, denominator=vocab_size + 1
    )
    model = make_model(network, condition)
    params = {
        "denoiser": denoiser_from_reference(found.denoiser, _shapes(network.init), prefix=""),
        "condition": dance_from_reference(found.condition, _shapes(condition.init)),
    }
    mesh = make_mesh()
    return PublishedMusicModel(
        codec=codec,
        schedule=schedule,
        num_genres=found.dance["num_genres"],
        frames=motion["frames"],
        num_features=motion["num_features"],
        video_features=found.dance["video_features"],
        seconds=seconds,
        params=place_whole(params, mesh),
        model=model,
        architecture=architecture,
        dance=found.dance,
        sample_fn=make_sample_fn(
            schedule, model, length=math.prod(architecture["grid"]), mesh=mesh
        ),
    )


def _codec(found: PublishedMusic, level: int | None, batch_size: int) -> AudioCodec:
    jukebox = make_jukebox(**describe_jukebox(found.codec))
    num_codes, vocab_size = jukebox.options.num_codes, found.architecture["vocab_size"]
    if num_codes != vocab_size:
        raise ValueError(
            f"the denoiser in {found.path} knows {vocab_size} codes, but its codec has {num_codes}"
        )
    return AudioCodec(
        jukebox,
        jukebox_from_state_dict(found.codec, _shapes(jukebox.init)),
        level=jukebox.options.num_levels - 1 if level is None else level,
        length=math.prod(found.architecture["grid"]),
        batch_size=batch_size,
    )


def _shapes(init: Callable[..., Params]) -> Params:
    return jax.eval_shape(init, jax.random.key(0))
