"""Music for a whole dance: windows that overlap, each going on from the one before."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from cdcd_jax.build.experiment import Experiment
from cdcd_jax.data.audio import SAMPLE_RATE, save_wav
from cdcd_jax.data.motion import load_motion
from cdcd_jax.data.segments import Segments
from cdcd_jax.evaluation.beats import kinematic_beats
from cdcd_jax.evaluation.noise_reduction import reduce_noise
from cdcd_jax.evaluation.pictures import save_picture
from cdcd_jax.evaluation.spectrograms import draw_spectrogram
from cdcd_jax.evaluation.video import save_dance_video
from cdcd_jax.training.checkpoints import writing
from cdcd_jax.typing import Params

PIXELS_PER_SECOND = 120


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


def read_dance(experiment: Experiment, request: DanceRequest) -> Choreography:
    """Read a dance and check that the model can be told it.

    Args:
        experiment: What was trained, on music.
        request: What is asked for.

    Returns:
        The dance.

    Raises:
        ValueError: If a file is missing or damaged, of other features or too short, or what the
            model needs is not given.
    """
    segments = experiment.segments
    if segments is None:
        raise ValueError("motion: this is no model of dances; leave it out")
    if request.denoise < 0:
        raise ValueError(f"denoise = {request.denoise} must be at least 0")
    motion = load_motion(request.motion)
    if motion.shape[1] != segments.num_features:
        raise ValueError(
            f"{request.motion} has {motion.shape[1]} features a frame, and the model was trained "
            f"on {segments.num_features}"
        )
    bad = np.flatnonzero(~np.isfinite(motion).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{request.motion} holds a value that is no finite number in frame {bad[0]}"
        )
    lasting = len(motion) / segments.dances.fps
    seconds = lasting if request.seconds is None else min(request.seconds, lasting)
    if len(motion) < segments.frames or seconds * SAMPLE_RATE < segments.samples:
        raise ValueError(
            f"{request.motion} and seconds leave {seconds:.2f} s, and the model makes music of at "
            f"least {segments.seconds:g} s; give a longer dance"
        )
    return Choreography(motion, _other_parts(experiment, segments, request), seconds)


def _other_parts(
    experiment: Experiment, segments: Segments, request: DanceRequest
) -> dict[str, np.ndarray]:
    told, names = experiment.told.test.cond, segments.genre_names
    parts: dict[str, np.ndarray] = {}
    for name, given in {"genre": request.genre, "video": request.video}.items():
        if given is not None and name not in told:
            raise ValueError(f"{name}: the model was trained without it; leave it out")
        if given is None and name in told:
            raise ValueError(
                f"{name} is not given, and the model was trained with it; add --{name}"
            )
    if request.genre is not None:
        if request.genre not in names:
            raise ValueError(f'genre = "{request.genre}" must be one of {", ".join(names)}')
        parts["genre"] = np.array(names.index(request.genre), np.int32)
    if request.video is not None:
        parts["video"] = load_motion(request.video)
        if parts["video"].shape[1] != told["video"].shape[2]:
            raise ValueError(
                f"{request.video} has {parts['video'].shape[1]} features, not "
                f"{told['video'].shape[2]}"
            )
    return parts


def accompany(
    experiment: Experiment,
    params: Params,
    dance: Choreography,
    seed: int,
    *,
    num_takes: int = 1,
    **options: Any,
) -> Int[np.ndarray, "takes tokens"]:
    """Generate the tokens of a whole dance's music.

    A window is as long as the model's samples. The next one begins in its middle, is told that part
    of the dance, and keeps the tokens that are already there; the last one ends with the dance.

    Args:
        experiment: What was trained, on music.
        params: Its parameters.
        dance: From ``read_dance``.
        seed: Seed of the music.
        num_takes: How many times it is made, all different.
        **options: Of ``experiment.sample_fn``.

    Returns:
        Tokens of each take.
    """
    segments, codec = experiment.segments, experiment.data.codec
    assert segments is not None
    length, per_token = codec.grid[1], segments.samples / codec.grid[1] / SAMPLE_RATE
    total = int(dance.seconds / per_token)
    starts = [*range(0, total - length, length - length // 2), total - length]
    mask_id = experiment.schedule.mask_id
    tokens = np.full((num_takes, total), mask_id, np.int32)
    for number, start in enumerate(tqdm(starts, desc="music", unit="window")):
        key = jax.random.fold_in(jax.random.key(seed), number)
        told = _window(dance, segments, start * per_token)
        cond = {name: np.repeat(part[None], num_takes, axis=0) for name, part in told.items()}
        known = jnp.asarray(tokens[:, start : start + length])
        made = experiment.sample_fn(
            params, key, experiment.told.embed(cond), known=known, **options
        )
        tokens[:, start : start + length] = np.asarray(made)
    return tokens


def _window(dance: Choreography, segments: Segments, start: float) -> dict[str, np.ndarray]:
    """Cut out what the model is told of a window."""
    fps, frames = segments.dances.fps, segments.frames
    first = min(round(start * fps), len(dance.motion) - frames)
    told = {"motion": dance.motion[first : first + frames]} | dance.parts
    if "video" in dance.parts:
        video, lasting = dance.parts["video"], len(dance.motion) / fps
        steps = (np.arange(segments.video_steps) + 0.5) / segments.video_steps
        places = (start + segments.seconds * steps) / lasting * len(video)
        told["video"] = video[np.clip(places.astype(int), 0, len(video) - 1)]
    return told


def perform(
    experiment: Experiment,
    params: Params,
    request: DanceRequest,
    path: Path,
    seed: int,
    *,
    num_samples: int = 1,
    **options: Any,
) -> list[Path]:
    """Make music for a dance and write it: sound, spectrogram and, if wanted, a film.

    Args:
        experiment: What was trained, on music.
        params: Its parameters.
        request: What is asked for.
        path: The WAV file; several takes are numbered.
        seed: Seed of the music.
        num_samples: Number of takes.
        **options: Of ``experiment.sample_fn``.

    Returns:
        What was written.
    """
    segments = experiment.segments
    assert segments is not None
    dance, dances = read_dance(experiment, request), segments.dances
    tokens = accompany(experiment, params, dance, seed, num_takes=num_samples, **options)
    frames = dance.motion[: round(dance.seconds * dances.fps)]
    joints = dances.joints(frames)
    beats = kinematic_beats(frames if joints is None else joints, fps=dances.fps)
    if request.video_out is not None and joints is None:
        raise ValueError("video_out: this motion holds no positions to draw; leave it out")
    written: list[Path] = []
    for take, row in enumerate(tokens):
        audio = experiment.data.codec.decode_long(row)
        if request.denoise:
            audio = reduce_noise(audio, strength=request.denoise)
        several = f"-{take}" if num_samples > 1 else ""
        file = path.with_name(f"{path.stem}{several}.wav")
        width = int(dance.seconds * PIXELS_PER_SECOND)
        picture = draw_spectrogram(
            audio, dance_beats=beats[beats < dance.seconds], title=file.stem, width=width
        )
        with writing(file.parent):
            save_wav(file, audio)
            written += [file, save_picture(picture, file.with_suffix(".png"))]
        if request.video_out is not None:
            film = request.video_out.with_stem(request.video_out.stem + several)
            save_dance_video(film, joints, dances.edges, audio, fps=dances.fps)
            written.append(film)
    return written
