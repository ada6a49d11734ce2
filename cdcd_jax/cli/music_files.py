"""Music for a dance, written as sound, spectrogram and film."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.cli.dances import DanceRequest, read_dance
from cdcd_jax.cli.drawing import describe, name_after_file
from cdcd_jax.data.dance.audio import save_wav
from cdcd_jax.data.dance.motion import find_joints
from cdcd_jax.evaluation.metrics.audio.noise_reduction import reduce_noise
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.tasks.music_grid import find_beats, spectrogram_width
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.samples import save_image
from cdcd_jax.visualization.spectrograms import draw_spectrogram
from cdcd_jax.visualization.video import save_dance_video


def write_music(
    generator: Generator,
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
        generator: What the music is made with.
        request: The request.
        path: The WAV file; several takes are numbered.
        seed: Seed of the music.
        num_samples: Number of takes.
        **options: Of ``generator.sample``.

    Returns:
        What this host has written. The spectrogram of ``a.wav`` is ``a.wav.png``; that it cannot
        be drawn or written costs a warning.

    Raises:
        ValueError: See ``read_dance``, or a film cannot be made.
        CheckpointError: If the sound cannot be written.
    """
    dance = read_dance(generator.conditioning, request)
    if request.seconds is not None and request.seconds > dance.seconds:
        print(
            f"{request.motion} lasts {dance.seconds:.2f} s, less than the {request.seconds:g} s "
            "requested: so does the music"
        )
    tokens = generator.sample(dance, num_samples=num_samples, seed=seed, output="tokens", **options)
    if not is_first_host():
        return []
    codec: Any = generator.codec  # of sound
    joints = find_joints(dance.frames)
    beats = find_beats(dance)
    written: list[Path] = []
    for take, row in enumerate(tokens):
        audio = codec.decode_long(row)
        if request.denoise:
            audio = reduce_noise(audio, strength=request.denoise)
        several = f"-{take}" if num_samples > 1 else ""
        file = path.with_name(f"{path.stem}{several}.wav")
        with writing(file.parent):
            save_wav(file, audio)
        written.append(file)
        if request.video_out is not None and joints is not None:
            film = request.video_out.with_stem(request.video_out.stem + several)
            save_dance_video(film, joints, dance.format.edges, audio, fps=dance.format.fps)
            written.append(film)
        written += _try_to_draw(file, audio, beats)
    return written


def _try_to_draw(sound: Path, audio: np.ndarray, beats: np.ndarray) -> list[Path]:
    """Write the spectrogram of a sound that is saved, which no failure of it may cost."""
    path = sound.with_name(f"{sound.name}.png")  # never the name of another program's image
    try:
        width = spectrogram_width(audio)
        image = draw_spectrogram(audio, dance_beats=beats, title=sound.stem, width=width)
        return [save_image(image, path)]
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        print(f"Warning: {path} is left out ({reason[:200]}); {sound} is saved", file=sys.stderr)
        return []


def name_music(request: DanceRequest, seed: int, **sampling: Any) -> str:
    """Name a sound after its request, so that no other overwrites it.

    >>> name_music(DanceRequest(Path("/a/jump.pkl"), genre="house"), 0, num_steps=8, truncation=0.8)
    'jump-755a24-house-seed0-num_steps8-truncation0.8.wav'
    """
    more = {"seconds": request.seconds, "denoise": request.denoise or None}
    return "-".join([*name_dance(request), describe(seed, **more, **sampling)]) + ".wav"


def name_dance(request: DanceRequest) -> list[str]:
    """Name what music is made for: the motion, the genre and the video."""
    videos = [name_after_file(request.video)] if request.video else []
    return [name_after_file(request.motion), *filter(None, [request.genre]), *videos]
