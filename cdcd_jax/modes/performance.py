"""Music for a whole dance: windows that overlap, each going on from the one before."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from cdcd_jax.data.audio import SAMPLE_RATE, save_wav
from cdcd_jax.evaluation.beats import kinematic_beats
from cdcd_jax.evaluation.noise_reduction import reduce_noise
from cdcd_jax.evaluation.pictures import save_picture
from cdcd_jax.evaluation.spectrograms import draw_spectrogram
from cdcd_jax.evaluation.video import save_dance_video
from cdcd_jax.files import is_first_host
from cdcd_jax.modes.dances import Choreography, DanceRequest, Player, read_dance
from cdcd_jax.modes.drawing import describe, name_after_file
from cdcd_jax.training.checkpoint_folder import writing
from cdcd_jax.typing import Params

PIXELS_PER_SECOND = 120
MAX_WIDTH = 20_000
"""Pixels of the spectrogram of long music, of which a second gets fewer."""


def accompany(
    player: Player,
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
        player: What the music is made with.
        params: Its parameters.
        dance: From ``read_dance``.
        seed: Seed of the music.
        num_takes: How many times it is made, all different.
        **options: Of ``player.sample_fn``.

    Returns:
        Tokens of each take.
    """
    length = player.codec.grid[1]
    per_token = player.samples / length / SAMPLE_RATE
    total = int(dance.seconds / per_token)
    starts = [*range(0, total - length, length - length // 2), total - length]
    tokens = np.full((num_takes, total), player.mask_id, np.int32)
    for number, start in enumerate(
        tqdm(starts, desc="music", unit="window", disable=not is_first_host())
    ):
        key = jax.random.fold_in(jax.random.key(seed), number)
        told = _window(player, dance, start * per_token)
        cond = {name: np.repeat(part[None], num_takes, axis=0) for name, part in told.items()}
        known = jnp.asarray(tokens[:, start : start + length])
        made = player.sample_fn(params, key, cond, known=known, **options)
        tokens[:, start : start + length] = np.asarray(made)
    return tokens


def _window(player: Player, dance: Choreography, start: float) -> dict[str, np.ndarray]:
    """Cut out what the model is told of a window."""
    told = dict(dance.parts)
    if "motion" in player.parts:
        first = min(round(start * player.fps), len(dance.motion) - player.frames)
        told["motion"] = dance.motion[first : first + player.frames]
    if "video" in player.parts:
        lasting = len(dance.motion) / player.fps
        told["video"] = player.video_fn(told["video"], start / lasting, player.seconds / lasting)
    return told


def perform(
    player: Player,
    params: Params,
    request: DanceRequest,
    path: Path,
    seed: int,
    *,
    num_samples: int = 1,
    **options: Any,
) -> list[Path]:
    """Make music for a dance and write it: sound, spectrogram and, if wanted, a film.

    All hosts make it together, and the first writes.

    Args:
        player: What the music is made with.
        params: Its parameters.
        request: What is asked for.
        path: The WAV file; several takes are numbered.
        seed: Seed of the music.
        num_samples: Number of takes.
        **options: Of ``player.sample_fn``.

    Returns:
        What this host has written. The spectrogram of ``a.wav`` is ``a.wav.png``; that it cannot
        be drawn or written costs a warning.

    Raises:
        ValueError: See ``read_dance``, or a film cannot be made.
        CheckpointError: If the sound cannot be written.
    """
    dance = read_dance(player, request)
    if request.seconds is not None and request.seconds > dance.seconds:
        print(
            f"{request.motion} lasts {dance.seconds:.2f} s, less than the {request.seconds:g} s "
            "asked for: so does the music"
        )
    tokens = accompany(player, params, dance, seed, num_takes=num_samples, **options)
    if not is_first_host():
        return []
    frames = dance.motion[: round(dance.seconds * player.fps)]
    joints = player.joints_fn(frames)
    beats = kinematic_beats(frames if joints is None else joints, fps=player.fps)
    written: list[Path] = []
    for take, row in enumerate(tokens):
        audio = player.codec.decode_long(row)
        if request.denoise:
            audio = reduce_noise(audio, strength=request.denoise)
        several = f"-{take}" if num_samples > 1 else ""
        file = path.with_name(f"{path.stem}{several}.wav")
        with writing(file.parent):
            save_wav(file, audio)
        written.append(file)
        if request.video_out is not None and joints is not None:
            film = request.video_out.with_stem(request.video_out.stem + several)
            save_dance_video(film, joints, player.edges, audio, fps=player.fps)
            written.append(film)
        written += _try_to_draw(file, audio, beats[beats < dance.seconds])
    return written


def _try_to_draw(sound: Path, audio: np.ndarray, beats: np.ndarray) -> list[Path]:
    """Write the spectrogram of a sound that is saved, which no failure of it may cost."""
    path = sound.with_name(f"{sound.name}.png")  # never the name of a picture of somebody else's
    width = max(1, min(int(audio.size / SAMPLE_RATE * PIXELS_PER_SECOND), MAX_WIDTH))
    try:
        picture = draw_spectrogram(audio, dance_beats=beats, title=sound.stem, width=width)
        return [save_picture(picture, path)]
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        print(f"Warning: {path} is left out ({reason[:200]}); {sound} is saved", file=sys.stderr)
        return []


def name_music(request: DanceRequest, seed: int, **sampling: Any) -> str:
    """Name a sound after what was asked for, so that no other overwrites it.

    >>> name_music(DanceRequest(Path("/a/jump.pkl"), genre="house"), 0, num_steps=8, truncation=0.8)
    'jump-755a24-house-seed0-num_steps8-truncation0.8.wav'
    """
    videos = [name_after_file(request.video)] if request.video else []
    asked = [name_after_file(request.motion), *filter(None, [request.genre]), *videos]
    more = {"seconds": request.seconds, "denoise": request.denoise or None}
    return "-".join([*asked, describe(seed, **more, **sampling)]) + ".wav"
