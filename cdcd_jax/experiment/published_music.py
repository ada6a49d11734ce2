"""A published dance-to-music checkpoint as parameters and the configuration of its network."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cdcd_jax.codecs.audio_file import save_jukebox
from cdcd_jax.codecs.jukebox import make_jukebox
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.conditioning.dance_format import DanceFormat
from cdcd_jax.configs import music
from cdcd_jax.data.dance.aist import GENRES
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.motion import EDGES
from cdcd_jax.experiment.model_folder import CODEC
from cdcd_jax.experiment.published_images import (
    PUBLISHED_HEADS,
    Converted,
    describe_network,
    shapes,
)
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.jukebox import jukebox_from_state_dict
from cdcd_jax.interop.motion import dance_from_reference
from cdcd_jax.interop.published_music import describe_jukebox, read_published_music
from cdcd_jax.interop.stored import StateDict
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.settings.values import set_values


def read_music(path: Path, entries: Mapping[str, StateDict]) -> Converted:
    """Convert a published CDCD checkpoint of dance-to-music.

    Args:
        path: The ``.pth`` file.
        entries: What ``read_entries`` gave of it.

    Returns:
        The model; its codec is the top level, whose tokens the published models make.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or of another kind, or its parts do not fit each other.
    """
    found = read_published_music(path, entries=entries)
    options, motion = found.dance, found.dance["motion"]
    if options["width"] != motion["out"]:
        raise ValueError(
            f"{path} makes {motion['out']} features of a motion and {options['width']} of a dance, "
            "and no configuration has two such numbers"
        )
    jukebox = make_jukebox(**describe_jukebox(found.codec))
    vocab_size, level = found.architecture["vocab_size"], jukebox.options.num_levels - 1
    if jukebox.options.num_codes != vocab_size:
        raise ValueError(
            f"the denoiser in {path} knows {vocab_size} codes, but its codec has "
            f"{jukebox.options.num_codes}"
        )
    codec = jukebox_from_state_dict(found.codec, shapes(jukebox.init))
    sizes = asdict(jukebox.options)
    del sizes["sample_rate"]  # which all configurations have in common
    architecture: dict[str, Any] = {**found.architecture, "num_heads": PUBLISHED_HEADS}
    network = make_denoiser(**architecture)
    samples = math.prod(architecture["grid"]) * jukebox.options.hops[level]
    condition = dance_condition(**options, seconds=samples / SAMPLE_RATE, null=None)
    sections = {
        # Half a sample more, so that rounding costs no token.
        "data": {"name": "aist" if options["num_genres"] else "tiktok"}
        | {"seconds": (samples + 0.5) / SAMPLE_RATE},
        "schedule": {
            "name": "mask_replace",
            "num_steps": architecture["num_steps"],
            # The music code divides the uniform share by all classes, the mask included.
            "denominator": vocab_size + 1,
        },
        "condition": {
            "kind": "dance",
            "dropout": 0.0,
            "encoder": "reference",
            "motion": True,
            "video": bool(options["video_features"]),
            "genre": bool(options["num_genres"]),
            "width": options["width"],
            "genre_width": options["genre_width"] or 1,
            "hidden": motion["hidden"],
            "channels": motion["channels"],
        },
        "denoiser": describe_network(architecture),
        "codec": {"name": "jukebox", "level": level} | sizes,
    }
    config = music.get_config()
    music.add_jukebox(config)
    dance = describe_dances(
        frames=motion["frames"],
        num_features=motion["num_features"],
        video_features=options["video_features"] or 0,
        num_genres=options["num_genres"],
        samples=samples,
    )
    name = f"level_{level}"
    return Converted(
        config=set_values(config, sections),
        facts={"class_names": (), "test_texts": (), "dance": dance.to_json()},
        params={
            "denoiser": denoiser_from_reference(found.denoiser, shapes(network.init), prefix=""),
            "condition": dance_from_reference(found.condition, shapes(condition.init)),
        },
        save=lambda folder: save_jukebox(folder / CODEC, {name: codec[name]}, jukebox.options),
        averaged=found.averaged,
    )


def describe_dances(
    *, frames: int, num_features: int, video_features: int, num_genres: int, samples: int
) -> DanceFormat:
    """Describe the dances of a published model.

    Frames per second follow from its shapes: its frames last as long as its tokens, but for what
    does not fill a token, and are a whole number a second (60 of AIST++, 30 of TikTok). The video
    is the mean over the window.

    Args:
        frames: Frames of a dance.
        num_features: Features of a frame.
        video_features: Features of a dance's video; 0 for a model without.
        num_genres: Genres of the model; 0 for none.
        samples: Samples of sound of its tokens.

    Returns:
        The format. Genres are named in the order of ``data/dance/aist.py``, which the file does
        not tell; in a model of more or fewer genres each is called by its number.
    """
    fps = float(round(frames * SAMPLE_RATE / samples))
    names = tuple(GENRES.values())
    if num_genres != len(names):
        names = tuple(map(str, range(num_genres)))
    parts = {"motion": True, "video": video_features, "genre": num_genres}
    return DanceFormat(
        parts=tuple(name for name, part in parts.items() if part),
        seconds=frames / fps,
        samples=samples,
        fps=fps,
        frames=frames,
        num_features=num_features,
        video_features=video_features,
        video_steps=None,
        genre_names=names,
        edges=EDGES.get(num_features, ()),
    )
