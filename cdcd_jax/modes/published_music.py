"""Make music for a dance with a published checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.build.published_music import PublishedMusicModel
from cdcd_jax.data.aist import GENRES
from cdcd_jax.data.motion import EDGES, find_joints
from cdcd_jax.modes.dances import DanceRequest, Player, read_dance
from cdcd_jax.modes.drawing import name_after_file
from cdcd_jax.modes.performance import name_music, perform
from cdcd_jax.training.generation import check_sampling


def published_player(model: PublishedMusicModel) -> Player:
    """Take out of a published model what music for dances is made with.

    Frames per second follow from its shapes: its frames last as long as its tokens, but for what
    does not fill a token, and are a whole number a second (60 of AIST++, 30 of TikTok). The video
    is told as the mean over the window.

    Args:
        model: From ``load_published_music``.

    Returns:
        The player. Genres are named in the order of ``data/aist.py``, which the file does not tell;
        in a model of more or fewer genres each is called by its number.
    """
    fps = float(round(model.frames / model.seconds))
    parts = {"motion": True, "video": model.video_features, "genre": model.num_genres}
    names = tuple(GENRES.values())
    if model.num_genres != len(names):
        names = tuple(map(str, range(model.num_genres)))
    return Player(
        sample_fn=model.sample_fn,
        codec=model.codec,
        mask_id=model.schedule.mask_id,
        parts=tuple(name for name, part in parts.items() if part),
        seconds=model.frames / fps,
        samples=model.codec.samples,
        frames=model.frames,
        fps=fps,
        num_features=model.num_features,
        video_features=model.video_features or 0,
        video_fn=_mean_video,
        genre_names=names,
        joints_fn=find_joints,
        edges=EDGES.get(model.num_features, ()),
    )


def perform_published(
    model: PublishedMusicModel,
    checkpoint: Path,
    workdir: Path,
    request: DanceRequest,
    *,
    seed: int,
    num_samples: int,
    label: int | None = None,
    **options: Any,
) -> list[Path]:
    """Make music for a dance and write it.

    Args:
        model: From ``load_published_music``.
        checkpoint: Its file, after which the sound is named.
        workdir: Folder of the run, where the sound goes unless the request says where.
        request: What is asked for.
        seed: Seed of the music.
        num_samples: Number of takes.
        label: Must be None.
        **options: ``num_steps``, ``truncation``, ``top_k``, ``temperature``, ``guidance``.

    Returns:
        What was written.

    Raises:
        ValueError: If a file is missing, damaged or does not fit, the model needs what is not
            given, has no use for what is, or a value is out of range.
        CheckpointError: If a file cannot be written.
    """
    sampling = {"num_samples": num_samples, **options}
    check_sampling(model.schedule, model.model, model.num_genres, **sampling)
    player = published_player(model)
    read_dance(player, request)
    name = f"{name_after_file(checkpoint)}-{name_music(request, seed, **sampling)}"
    path = request.audio_out or workdir / "samples" / name
    return perform(player, model.params, request, path, seed, **sampling)


def _mean_video(video: np.ndarray, start: float, share: float) -> np.ndarray:
    """Average the steps whose middles lie in a window, or take the one that it lies in."""
    middles = (np.arange(len(video)) + 0.5) / len(video)
    inside = (start <= middles) & (middles < start + share)
    if not inside.any():
        inside[min(int((start + share / 2) * len(video)), len(video) - 1)] = True
    return video[inside].mean(axis=0, keepdims=True)
