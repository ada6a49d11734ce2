"""Animated GIFs of the reverse process."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from cdcd_jax.io import atomic_write
from cdcd_jax.visualization.grid import mask_pixels
from cdcd_jax.visualization.prompts import CELL_SIZE, draw_prompts
from cdcd_jax.visualization.samples import DecodeFn

MAX_FRAMES = 60
FIGURE_SPACE = "\N{FIGURE SPACE}"
FRAME_TIME, LAST_TIME = 100, 2500
"""How long a frame is shown, and the last one, in milliseconds."""


def draw_frames(
    trajectory: Int[np.ndarray, "frames batch length"],
    names: Sequence[str],
    *,
    decode_fn: DecodeFn,
    grid: tuple[int, int],
    mask_id: int,
    num_frames: int = MAX_FRAMES,
    cell_size: int = CELL_SIZE,
) -> list[Image.Image]:
    """Draw each moment of the reverse process: all samples, with their texts or classes below.

    Args:
        trajectory: Noised tokens 0..K of every frame, all masks first, the sample last.
        names: The text or the class that each sample was made for.
        decode_fn: The codec's way back.
        grid: Rows and columns of the tokens.
        mask_id: K; these tokens are painted blue.
        num_frames: At most so many frames, evenly spaced, the first and the last among them.
        cell_size: About how many pixels the longer side of an image gets.

    Returns:
        RGB images of one size.

    Raises:
        ValueError: If fewer than two frames are requested or given, or names are missing.
    """
    total, batch, _ = trajectory.shape
    if min(num_frames, total) < 2:
        raise ValueError(f"a trajectory needs at least 2 frames, got {min(num_frames, total)}")
    if len(names) != batch:
        raise ValueError(f"{batch} samples need {batch} names, got {len(names)}")
    frames = []
    for frame in np.unique(np.linspace(0, total - 1, num_frames).round().astype(int)):
        masked = trajectory[frame] == mask_id
        # Codecs have no mask token; any token will do, because it is painted over.
        images = np.asarray(decode_fn(np.where(masked, 0, trajectory[frame])))
        image = draw_prompts(
            images,
            np.arange(batch),
            names,
            # Spaces as wide as digits, so that all frames have one size.
            caption=f"{str(frame).rjust(len(str(total - 1)), FIGURE_SPACE)} of {total - 1} steps",
            masked=mask_pixels(masked, grid, images.shape[1:3]),
            cell_size=cell_size,
        )
        frames.append(image)
    return frames


def save_gif(
    frames: Sequence[Image.Image],
    path: str | os.PathLike,
    *,
    frame_time: int = FRAME_TIME,
    last_time: int = LAST_TIME,
) -> Path:
    """Write an animated GIF that loops forever, atomically.

    Args:
        frames: Images of one size; equal ones in a row become one that is shown longer.
        path: Where; the folder is made if it is not there.
        frame_time: How long a frame is shown in milliseconds, a multiple of 10.
        last_time: The same of the last one.

    Returns:
        The path.

    Raises:
        ValueError: If there are no frames, they differ in size, or the name does not end in
            ``.gif``.
    """
    path = Path(path)
    if path.suffix != ".gif":
        raise ValueError(f'animations are written as GIF: the name of "{path}" must end in .gif')
    if len({frame.size for frame in frames}) != 1:
        raise ValueError(f"an animation needs frames of one size, got {len(frames)} frames")
    times = [frame_time] * (len(frames) - 1) + [last_time]
    with atomic_write(path) as part:
        frames[0].save(
            part, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0
        )
    return path
