"""A dance with its music as a video: a figure of lines, written by imageio-ffmpeg."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Real
from PIL import Image, ImageDraw

from cdcd_jax.data.dance.audio import SAMPLE_RATE, save_wav
from cdcd_jax.io import atomic_write
from cdcd_jax.visualization.grid import INK, PAPER

SIZE = 480
"""Pixels of each side of a video."""

MARGIN, JOINT_RADIUS, BONE_WIDTH = 24, 4, 4


def save_dance_video(
    path: str | os.PathLike,
    joints: Real[np.ndarray, "frames joints dim"],
    edges: Sequence[tuple[int, int]],
    audio: Float[np.ndarray, " samples"],
    *,
    fps: float,
    sample_rate: int = SAMPLE_RATE,
    axes: tuple[int, int] = (0, 1),
    size: int = SIZE,
) -> Path:
    """Write a video of a dance and its music, atomically.

    Args:
        path: Where; the name must end in ``.mp4``.
        joints: Positions, in any unit; a joint of NaN is not drawn.
        edges: Pairs of joints to connect.
        audio: Mono, values -1..1.
        fps: Frames a second.
        sample_rate: Of the sound, in Hz.
        axes: Which of the dimensions goes to the right and which upwards.
        size: Pixels of each side, even.

    Returns:
        The path. The image is H.264, the sound AAC.

    Raises:
        ValueError: If imageio-ffmpeg is missing or ffmpeg fails, the name does not end in ``.mp4``,
            or there is nothing to draw or to hear.
    """
    path = Path(path)
    if size < 2 * MARGIN + 2 or size % 2:
        raise ValueError(f"the size of a video must be even and at least 50 pixels, got {size}")
    frames = draw_figures(joints, edges, axes=axes, size=size)
    check_video(path)
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as part:
        sound = Path(folder) / "music.wav"
        save_wav(sound, audio, sample_rate=sample_rate)
        _encode(part.absolute(), sound, frames, fps=fps, size=size, path=path)
    return path


def check_video(path: Path) -> None:
    """Find out whether a video can be written, which is better known before there is one.

    Args:
        path: Where it will be.

    Raises:
        ValueError: If the name does not end in ``.mp4``, or imageio-ffmpeg is not installed.
    """
    if path.suffix != ".mp4":
        raise ValueError(f'videos are written as MP4: the name of "{path}" must end in .mp4')
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f'{path} cannot be written ({error}); pip install "cdcd_jax[video]", or leave '
            "--video_out out"
        ) from error


def draw_figures(
    joints: Real[np.ndarray, "frames joints dim"],
    edges: Sequence[tuple[int, int]],
    *,
    axes: tuple[int, int] = (0, 1),
    size: int = SIZE,
) -> Iterator[Image.Image]:
    """Draw a figure of lines for each frame, all at one scale, so that it stays in the image.

    Args:
        joints: Positions, in any unit; a joint of NaN is not drawn.
        edges: Pairs of joints to connect.
        axes: Which of the dimensions goes to the right and which upwards.
        size: Pixels of each side.

    Returns:
        RGB images, drawn as they are requested.

    Raises:
        ValueError: If there is no joint to draw.
    """
    flat = joints[..., list(axes)].astype(np.float64)
    finite = flat[np.isfinite(flat).all(axis=-1)]
    if len(finite) == 0:
        raise ValueError("a video needs a dance with at least one frame and one joint in it")
    low, high = finite.min(axis=0), finite.max(axis=0)
    scale = (size - 2 * MARGIN) / max(float((high - low).max()), 1e-9)
    centred = (flat - (low + high) / 2) * scale
    pixels = centred * np.array([1.0, -1.0]) + size / 2
    return (_draw_figure(points, edges, size) for points in pixels)


def _draw_figure(points: np.ndarray, edges: Sequence[tuple[int, int]], size: int) -> Image.Image:
    canvas = Image.new("RGB", (size, size), PAPER)
    pen = ImageDraw.Draw(canvas)
    known = np.asarray(np.isfinite(points).all(axis=-1))
    for first, second in edges:
        if known[first] and known[second]:
            pen.line([tuple(points[first]), tuple(points[second])], INK, BONE_WIDTH)
    for x, y in points[known]:
        pen.ellipse([x - JOINT_RADIUS, y - JOINT_RADIUS, x + JOINT_RADIUS, y + JOINT_RADIUS], INK)
    return canvas


def _encode(
    part: Path, sound: Path, frames: Iterator[Image.Image], *, fps: float, size: int, path: Path
) -> None:
    """Write frames and sound to a part of the path, and read all frames again.

    The library ignores ffmpeg's exit code, so a full disk shows in the file only.
    """
    import imageio_ffmpeg

    rate: Any = fps  # declared as an int, and written with two decimals
    video = imageio_ffmpeg.write_frames(
        str(part), (size, size), fps=rate, codec="libx264", quality=6, macro_block_size=2,
        audio_path=str(sound), audio_codec="aac", ffmpeg_log_level="error",
        # The temporary name has no suffix that gives the format.
        output_params=["-movflags", "+faststart", "-f", "mp4"],
    )  # fmt: skip
    count = 0
    try:
        with closing(video):
            video.send(None)
            for frame in frames:
                video.send(frame.tobytes())
                count += 1
        found, _ = imageio_ffmpeg.count_frames_and_secs(str(part))
    except (OSError, RuntimeError) as error:
        found, reason = None, error
    else:
        reason = None
    if found != count:
        raise ValueError(f"{path} cannot be written: ffmpeg failed, see above") from reason
