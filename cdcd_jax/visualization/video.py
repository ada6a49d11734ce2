"""A dance with its music as a video: a figure of lines, written by ffmpeg."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

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
        The path. The image is H.264 where this ffmpeg has it, or else MPEG-4, the sound AAC.

    Raises:
        ValueError: If ffmpeg is missing or fails, the name does not end in ``.mp4``, or there is
            nothing to draw or to hear.
    """
    path = Path(path)
    if size < 2 * MARGIN + 2 or size % 2:
        raise ValueError(f"the size of a video must be even and at least 50 pixels, got {size}")
    frames = draw_figures(joints, edges, axes=axes, size=size)
    codec = check_video(path)
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as part:
        sound = Path(folder) / "music.wav"
        save_wav(sound, audio, sample_rate=sample_rate)
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size}x{size}", "-r", f"{fps:g}"]
        command = ["ffmpeg", "-y", "-loglevel", "error", *source, "-i", "pipe:0"]
        command += ["-i", f"file:{sound}", *codec, "-pix_fmt", "yuv420p", "-c:a", "aac"]
        # The temporary name has no suffix that gives the format.
        command += ["-movflags", "+faststart", "-f", "mp4", f"file:{part.absolute()}"]
        _pipe(command, frames, path)
    return path


def check_video(path: Path) -> list[str]:
    """Find out whether a video can be written, which is better known before there is one.

    Args:
        path: Where it will be.

    Returns:
        The options of ffmpeg for the best codec that it has.

    Raises:
        ValueError: If the name does not end in ``.mp4``, or ffmpeg cannot be run.
    """
    if path.suffix != ".mp4":
        raise ValueError(f'videos are written as MP4: the name of "{path}" must end in .mp4')
    return _image_codec(path)


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


def _image_codec(path: Path) -> list[str]:
    """Query ffmpeg's encoders."""
    command = ["ffmpeg", "-hide_banner", "-encoders"]
    try:
        encoders = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written because ffmpeg cannot be run ({error}); install ffmpeg, or "
            "leave --video_out out"
        ) from error
    if "libx264" in encoders:
        return ["-c:v", "libx264", "-crf", "20"]
    return ["-c:v", "mpeg4", "-q:v", "4"]


def _pipe(command: list[str], frames: Iterator[Image.Image], path: Path) -> None:
    """Run ffmpeg on frames, and end it whatever happens."""
    # What it complains of goes to a file: a full pipe would stop it forever.
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints
        )
        try:
            assert process.stdin is not None
            # A broken pipe: it has given up, and says why.
            with suppress(BrokenPipeError), process.stdin as pipe:
                for frame in frames:
                    pipe.write(frame.tobytes())
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if status:
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"status {status}"
            raise ValueError(f"{path} cannot be written: ffmpeg failed: {reason}")
