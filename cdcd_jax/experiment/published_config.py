"""A published checkpoint as parameters and the values of a configuration that has its network."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.codecs.codec_file import load_vqgan
from cdcd_jax.experiment.pretrained import Pretrained
from cdcd_jax.experiment.published import (
    CODEC,
    TEXT,
    PublishedModel,
    load_published,
)
from cdcd_jax.experiment.published_music import PublishedMusicModel, load_published_music
from cdcd_jax.tasks.music import is_music
from cdcd_jax.tasks.music_codecs import find_window
from cdcd_jax.typing import Params

DROPOUT = 0.1
"""A share of condition dropout, for models that have learned what stands for no condition."""


def load_pretrained(
    config: Any, path: Path, workdir: Path, *, merges: str | None = None
) -> Pretrained:
    """Load a published checkpoint, of images or of music as the configuration is.

    Args:
        config: The whole configuration, see ``load_published``.
        path: The checkpoint.
        workdir: Folder of the run, where one of images is converted.
        merges: CLIP's file of merges, if ``condition.merges`` does not name it.

    Returns:
        The model.

    Raises:
        ValueError: If it cannot be read, or is of another kind than the configuration's data.
        OSError: If there is no such file, or the folder cannot be written.
    """
    if is_music(config):
        return _music(config, path)
    folder = workdir / "published" / path.stem
    found = load_published(config, path, folder)
    rows = found.params["blocks"].get("mlp_norm", {}).get("table", {}).get("embedding")
    condition: dict[str, Any] = {"kind": "class", "dropout": 0.0}
    params: Params = {"denoiser": _fetch(found.params), "condition": {}}
    text_tower = None
    if found.encode_text is not None:
        text_tower = folder / TEXT
        condition = _clip_condition(config, found, text_tower, merges)
        if found.model.null is not None:
            params["condition"] = {"null": np.asarray(found.model.null({}, 1))[0]}
    elif rows is not None and rows.shape[1] > found.num_classes:
        condition["dropout"] = DROPOUT
    _, options, _ = load_vqgan(folder / CODEC)
    return Pretrained(
        path=path,
        params=params,
        sections={
            "schedule": {"name": "mask_replace", "num_steps": found.schedule.num_steps},
            "condition": condition,
            "denoiser": describe_network(found.architecture),
            "codec": _codec_values(config, {"name": "vqgan", **asdict(options)}),
        },
        codec={"folder": str(folder), "weights": None, "used_codes": None},
        text_tower=text_tower,
        num_classes=found.num_classes,
        parts={},
    )


def describe_network(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Take the section ``denoiser`` from the options of a published denoiser.

    Args:
        architecture: Options of ``make_denoiser``, most of which the checkpoint's shapes tell.

    Returns:
        Keys of the section.
    """
    names = ("num_layers", "width", "num_heads", "mlp", "mlp_ratio")
    return {name: architecture[name] for name in names} | {
        "embedding_grid": architecture.get("embedding_grid", architecture["grid"]),
        "activation": "gelu2",
        "timestep": "table",
        "class_norm": "layer",
    }


def _clip_condition(
    config: Any, found: PublishedModel, text_tower: Path, merges: str | None
) -> dict[str, Any]:
    learned = found.model.null is not None
    theirs = None if found.merges_file is None else str(found.merges_file)
    return {
        "kind": "clip",
        "dropout": DROPOUT if learned else 0.0,
        "null": "learned" if learned else "empty",
        "weights": str(text_tower),
        "merges": merges or config.condition.get("merges") or theirs,
        "compute_dtype": "float32",
    }


def _music(config: Any, path: Path) -> Pretrained:
    found = load_published_music(path)
    length = found.codec.length
    if find_window(config).length != length:
        raise ValueError(
            f"{path} makes music of {length} tokens, {found.seconds:.2f} s, but data.seconds = "
            f"{config.data.seconds:g}; take a variant of that length, such as "
            "--config=configs/aist.py:6s"
        )
    params = _fetch(found.params)
    motion = found.dance["motion"]
    _check_width(found, path)
    parts: dict[str, tuple[int, ...]] = {"motion": (motion["frames"], motion["num_features"])}
    if found.video_features:
        parts["video"] = (found.video_features,)
    return Pretrained(
        path=path,
        params=params,
        sections={
            "schedule": {
                "name": "mask_replace",
                "num_steps": found.schedule.num_steps,
                "denominator": found.codec.vocab_size + 1,
            },
            "condition": {
                "kind": "dance",
                "dropout": 0.0,
                "encoder": "reference",
                "motion": True,
                "video": bool(found.video_features),
                "genre": bool(found.num_genres),
                "width": found.dance["width"],
                "genre_width": found.dance["genre_width"] or 1,
                "hidden": motion["hidden"],
                "channels": motion["channels"],
            },
            "denoiser": describe_network(found.architecture),
            "codec": _codec_values(
                config,
                {"name": "jukebox", "level": found.codec.level}
                | asdict(found.codec.jukebox.options),
            ),
        },
        codec={"weights": str(path)},
        parts=parts,
    )


def _check_width(found: PublishedMusicModel, path: Path) -> None:
    width, out = found.dance["width"], found.dance["motion"]["out"]
    if width != out:
        raise ValueError(
            f"{path} makes {out} features of a motion and {width} of a dance, and no configuration "
            "has two such numbers; the checkpoint can be sampled only"
        )


def _codec_values(config: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what changes no weight where the configuration has it."""
    kept = {"compute_dtype", "sample_rate"} & {*config.codec, "sample_rate"}
    return {key: value for key, value in values.items() if key not in kept}


def _fetch(params: Params) -> Params:
    return jax.tree.map(np.asarray, jax.device_get(params))
