"""What music for a dance is made with, and what is asked for: a model, a dance, a genre."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cdcd_jax.build.experiment import Experiment
from cdcd_jax.data.audio import SAMPLE_RATE
from cdcd_jax.data.dance_files import load_video
from cdcd_jax.data.motion import load_motion
from cdcd_jax.data.segments import cut_video
from cdcd_jax.evaluation.video import check_video
from cdcd_jax.typing import Params


class Player(NamedTuple):
    """What music for dances is made with: a model trained here, or a published one.

    Attributes:
        sample_fn: ``sample_fn(params, key, cond, known=, **options) -> tokens`` [takes length],
            where ``cond`` is a dict with a row for each take.
        codec: Between tokens and sound.
        mask_id: What stands for a token that is not known yet.
        parts: What the model is told, of ``"motion"``, ``"video"`` and ``"genre"``.
        seconds: How long a window is.
        samples: Its samples of sound.
        frames: Its frames of motion.
        fps: Frames of motion per second.
        num_features: Of a frame.
        video_features: Of a step of the video; 0 for a model that is told none.
        video_fn: ``video_fn(video, start, share) -> [steps features]``, what a window is told of
            the whole dance's video; where it begins and how long it is, as shares of the dance.
        genre_names: By their numbers; empty for a model that knows none.
        joints_fn: ``joints_fn(motion) -> [frames joints 3]``, or None if it holds no positions.
        edges: Pairs of joints to draw.
    """

    sample_fn: Callable[..., jax.Array]
    codec: Any
    mask_id: int
    parts: tuple[str, ...]
    seconds: float
    samples: int
    frames: int
    fps: float
    num_features: int
    video_features: int
    video_fn: Callable[[np.ndarray, float, float], np.ndarray]
    genre_names: tuple[str, ...]
    joints_fn: Callable[[np.ndarray], np.ndarray | None]
    edges: tuple[tuple[int, int], ...]


class DanceRequest(NamedTuple):
    """What music is asked for on the command line.

    Attributes:
        motion: File of the dance.
        seconds: How much of it; all if None.
        genre: Name of a genre, for models that are told one.
        video: File of its video's features, for models that are told them.
        audio_out: The WAV file; beside the run's samples if None.
        video_out: A film of the dance with the music; none if None.
        denoise: How much noise is taken out, 0 for none.
    """

    motion: Path
    seconds: float | None = None
    genre: str | None = None
    video: Path | None = None
    audio_out: Path | None = None
    video_out: Path | None = None
    denoise: float = 0.0


class Choreography(NamedTuple):
    """A dance as the model is told it, whole.

    Attributes:
        motion: [frames features].
        parts: What the model is told besides, the same in every window, or cut by its time.
        seconds: How much music there will be.
    """

    motion: np.ndarray
    parts: dict[str, np.ndarray]
    seconds: float


def find_player(experiment: Experiment) -> Player:
    """Take out of an experiment what music for dances is made with.

    Args:
        experiment: What was trained.

    Returns:
        The player.

    Raises:
        ValueError: If it is not on music.
    """
    segments, told = experiment.segments, experiment.told
    if segments is None:
        raise ValueError("motion: this is no model of dances; leave it out")

    def sample_fn(params: Params, key: jax.Array, cond: Any, **options: Any) -> jax.Array:
        return experiment.sample_fn(params, key, told.embed(cond), **options)

    return Player(
        sample_fn=sample_fn,
        codec=experiment.data.codec,
        mask_id=experiment.schedule.mask_id,
        parts=tuple(told.test.cond),
        seconds=segments.seconds,
        samples=segments.samples,
        frames=segments.frames,
        fps=segments.dances.fps,
        num_features=segments.num_features,
        video_features=told.test.cond["video"].shape[2] if "video" in told.test.cond else 0,
        video_fn=partial(cut_video, steps=segments.video_steps),
        genre_names=segments.genre_names,
        joints_fn=segments.dances.joints,
        edges=segments.dances.edges,
    )


def read_dance(player: Player, request: DanceRequest) -> Choreography:
    """Read a dance and check that the model can be told it.

    Args:
        player: What the music is made with.
        request: What is asked for.

    Returns:
        The dance.

    Raises:
        ValueError: If a file is missing or damaged, of other features or too short, what the model
            needs is not given, or a film is wanted that cannot be written.
    """
    if request.denoise < 0:
        raise ValueError(f"denoise = {request.denoise} must be at least 0")
    motion = load_motion(request.motion)
    if motion.shape[1] != player.num_features:
        raise ValueError(
            f"{request.motion} has {motion.shape[1]} features a frame, and the model was trained "
            f"on {player.num_features}"
        )
    bad = np.flatnonzero(~np.isfinite(motion).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{request.motion} holds a value that is no finite number in frame {bad[0]}"
        )
    lasting = len(motion) / player.fps
    seconds = lasting if request.seconds is None else min(request.seconds, lasting)
    if len(motion) < player.frames or seconds * SAMPLE_RATE < player.samples:
        raise ValueError(
            f"{request.motion} and seconds leave {seconds:.2f} s, and the model makes music of at "
            f"least {player.seconds:g} s; give a longer dance"
        )
    if request.video_out is not None and player.joints_fn(motion[:1]) is None:
        raise ValueError("video_out: this motion holds no positions to draw; leave it out")
    if request.video_out is not None:
        check_video(request.video_out)
    return Choreography(motion, _other_parts(player, request), seconds)


def _other_parts(player: Player, request: DanceRequest) -> dict[str, np.ndarray]:
    names = player.genre_names
    needed = {
        "genre": f"--genre, one of {', '.join(names)}",
        "video": f"--video=FILE.npy, [steps {player.video_features}] features of the dance's video",
    }
    for name, given in {"genre": request.genre, "video": request.video}.items():
        if given is not None and name not in player.parts:
            raise ValueError(f"{name}: the model was trained without it; leave it out")
        if given is None and name in player.parts:
            raise ValueError(
                f"{name} is not given, and the model was trained with it and knows nothing that "
                f"could stand in its place; add {needed[name]}"
            )
    parts: dict[str, np.ndarray] = {}
    if request.genre is not None:
        parts["genre"] = np.array(_find_genre(request.genre, names), np.int32)
    if request.video is not None:
        parts["video"] = load_video(request.video)
        if parts["video"].shape[1] != player.video_features:
            raise ValueError(
                f"{request.video} has {parts['video'].shape[1]} features a step, and the model was "
                f"trained on {player.video_features}"
            )
    return parts


def _find_genre(genre: str, names: tuple[str, ...]) -> int:
    if genre in names:
        return names.index(genre)
    if genre.isdecimal() and int(genre) < len(names):
        return int(genre)
    raise ValueError(
        f'genre = "{genre}" must be one of {", ".join(names)}, or its number, 0..{len(names) - 1}'
    )
