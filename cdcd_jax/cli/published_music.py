"""Make music for a dance with a published checkpoint."""

from pathlib import Path
from typing import Any

from cdcd_jax.cli.dances import DanceRequest, read_dance
from cdcd_jax.cli.drawing import name_after_file
from cdcd_jax.cli.music_files import name_music, perform
from cdcd_jax.conditioning.conditioning import Conditioning, DanceFormat
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.data.dance.aist import GENRES
from cdcd_jax.data.dance.motion import EDGES
from cdcd_jax.experiment.published_music import PublishedMusicModel
from cdcd_jax.generator import Generator
from cdcd_jax.training.generation import check_sampling, make_bound_fn


def published_generator(model: PublishedMusicModel) -> Generator:
    """Return a published model as a value.

    Frames per second follow from its shapes: its frames last as long as its tokens, but for what
    does not fill a token, and are a whole number a second (60 of AIST++, 30 of TikTok). The video
    is the mean over the window.

    Args:
        model: From ``load_published_music``.

    Returns:
        The generator. Genres are named in the order of ``data/dance/aist.py``, which the file does
        not tell; in a model of more or fewer genres each is called by its number.
    """
    fps = float(round(model.frames / model.seconds))
    parts = {"motion": True, "video": model.video_features, "genre": model.num_genres}
    names = tuple(GENRES.values())
    if model.num_genres != len(names):
        names = tuple(map(str, range(model.num_genres)))
    dance = DanceFormat(
        parts=tuple(name for name, part in parts.items() if part),
        seconds=model.frames / fps,
        samples=model.codec.samples,
        fps=fps,
        frames=model.frames,
        num_features=model.num_features,
        video_features=model.video_features or 0,
        video_steps=None,
        genre_names=names,
        edges=EDGES.get(model.num_features, ()),
    )
    condition = dance_condition(**model.dance, seconds=model.seconds, null=None)
    return Generator(
        name="published",
        schedule=model.schedule,
        model=model.model,
        params=model.params,
        codec=model.codec,
        conditioning=Conditioning(condition=condition, denoiser={}, dance=dance),
        sampling={},
        sample_fn=model.sample_fn,
        bound_fn=make_bound_fn(model.schedule, model.model),
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
    generator = published_generator(model)
    read_dance(generator.conditioning.dance, request)
    name = f"{name_after_file(checkpoint)}-{name_music(request, seed, **sampling)}"
    path = request.audio_out or workdir / "samples" / name
    return perform(generator, request, path, seed, **sampling)
