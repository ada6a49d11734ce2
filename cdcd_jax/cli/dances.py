"""The dance in the flags of the command line."""

from pathlib import Path
from typing import NamedTuple

from cdcd_jax.conditioning.conditioning import Conditioning
from cdcd_jax.dance_to_music import DanceInput
from cdcd_jax.data.dance.dance_files import load_video
from cdcd_jax.data.dance.motion import find_joints, load_motion
from cdcd_jax.visualization.video import check_video


class DanceRequest(NamedTuple):
    """A request for music, from the flags of the command line.

    Attributes:
        motion: File of the dance.
        seconds: How much of it; all if None.
        genre: Name of a genre, for models conditioned on one.
        video: File of its video's features, for models conditioned on them.
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


def read_dance(conditioning: Conditioning, request: DanceRequest) -> DanceInput:
    """Read a dance and check that a model can be conditioned on it.

    Args:
        conditioning: What the model is conditioned on.
        request: The request.

    Returns:
        The dance.

    Raises:
        ValueError: If a file is missing or damaged, of other features or too short, what the model
            needs is not given, or a film is wanted that cannot be written.
    """
    if request.denoise < 0:
        raise ValueError(f"denoise = {request.denoise} must be at least 0")
    dance = conditioning.read_dance(
        motion=load_motion(request.motion),
        genre=request.genre,
        video=load_video(request.video) if request.video else None,
        seconds=request.seconds,
        source=str(request.motion),
        video_source=str(request.video),
    )
    if request.video_out is not None and find_joints(dance.motion[:1]) is None:
        raise ValueError("video_out: this motion holds no positions to draw; leave it out")
    if request.video_out is not None:
        check_video(request.video_out)
    return dance
