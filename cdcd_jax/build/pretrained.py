"""A published checkpoint as parameters and the configuration that has its network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.build.experiment import Experiment
from cdcd_jax.build.music import find_window, is_music
from cdcd_jax.build.published import (
    CODEC,
    PUBLISHED_HEADS,
    TEXT,
    PublishedModel,
    load_published,
)
from cdcd_jax.build.published_music import PublishedMusicModel, load_published_music
from cdcd_jax.build.sections import plain
from cdcd_jax.codecs.codec_file import flatten, load_vqgan
from cdcd_jax.training.spread import place_whole
from cdcd_jax.typing import Params

DROPOUT = 0.1
"""A share of condition dropout, for models that have learned what stands for no condition."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A trained model that was made elsewhere.

    Attributes:
        path: Its file or folder.
        params: Of the denoiser and of the condition, as NumPy arrays.
        sections: Values by section and key with which a configuration has the same network, noise
            schedule, condition and codec.
        codec: Keys of the section ``codec`` that say where its codec is.
        text_tower: The file of its text tower, if it reads texts.
        num_classes: Classes that it knows; 0 for a model of texts or dances.
        parts: Shape of an example of each part of a dance; empty for images.
    """

    path: Path
    params: Params
    sections: dict[str, dict[str, Any]]
    codec: dict[str, Any]
    text_tower: Path | None = None
    num_classes: int = 0
    parts: Mapping[str, tuple[int, ...]]

    def configure(self, config: Any) -> Any:
        """Return the configuration with the checkpoint's network in place of its own."""
        return set_values(config, self.sections | {"codec": self.sections["codec"] | self.codec})

    def changes(self, config: Any) -> list[str]:
        """List the keys, with their values, that ``configure`` changes in the network."""
        before, after = (flatten_values(each) for each in (config, self.configure(config)))
        return [
            f"{key} = {value}"
            for key, value in after.items()
            if key.split(".")[0] in ("schedule", "condition", "denoiser")
            and before.get(key) != value
        ]


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
            "denoiser": describe_network(params["denoiser"]),
            "codec": _codec_values(config, {"name": "vqgan", **asdict(options)}),
        },
        codec={"folder": str(folder), "weights": None, "used_codes": None},
        text_tower=text_tower,
        num_classes=found.num_classes,
        parts={},
    )


def describe_network(params: Params) -> dict[str, Any]:
    """Tell the options of a published denoiser, most of them from the shapes of its parameters.

    Args:
        params: Of the denoiser.

    Returns:
        Keys of the section ``denoiser``.
    """
    expand = params["blocks"]["mlp"]["expand"]["kernel"]
    embedding = params["embedding"]
    width = embedding["token"]["embedding"].shape[1]
    return {
        "num_layers": expand.shape[0],
        "width": width,
        "num_heads": PUBLISHED_HEADS,
        "mlp": "conv" if expand.ndim == 5 else "linear",
        "mlp_ratio": expand.shape[-1] // width,
        "embedding_grid": tuple(
            embedding[side]["embedding"].shape[0] for side in ("height", "column")
        ),
        "activation": "gelu2",
        "timestep": "table",
        "class_norm": "layer",
    }


def set_values(config: Any, values: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a copy of a configuration with other values.

    Args:
        config: The whole configuration.
        values: By section and key. The sections ``schedule`` and ``condition`` are replaced where
            they are of another kind, keys and all; in others the keys that are named change.

    Returns:
        The copy.
    """
    changed = config.copy_and_resolve_references()
    with changed.unlocked(), changed.ignore_type():
        for name, section in values.items():
            kind = "name" if name == "schedule" else "kind"
            replaced = name == "schedule" or section.get(kind, None) not in (
                None,
                changed[name].get(kind),
            )
            if replaced:
                changed[name] = {}
            for key, value in section.items():
                changed[name][key] = value
    return changed


def flatten_values(config: Any) -> dict[str, Any]:
    """Name each value of a configuration by its section and key."""
    return {
        f"{name}.{key}": value
        for name, part in plain(config).items()
        for key, value in part.items()
    }


def fit_params(pretrained: Pretrained, experiment: Experiment) -> Params:
    """Place the parameters on the devices of an experiment that was built with ``configure``.

    Args:
        pretrained: The model.
        experiment: What it is to be evaluated as.

    Returns:
        Parameters of ``experiment.model``.

    Raises:
        ValueError: If the data are not such as the model was trained on.
    """
    path, told = pretrained.path, experiment.told
    if told.num_classes != pretrained.num_classes:
        raise ValueError(
            f"{path} knows {pretrained.num_classes} classes, and the data have {told.num_classes}; "
            "give the data that it was trained on, or fine-tune it: --mode=train "
            f"--start_from={path}"
        )
    for name, shape in pretrained.parts.items():
        found = np.shape(told.test.cond[name])[-len(shape) :]
        if found != shape:
            raise ValueError(
                f"{path} was trained on {name} of the shape {shape}, and the data have {found}"
            )
    template = jax.eval_shape(experiment.model.init, jax.random.key(0))
    ours = {name: leaf.shape for name, leaf in flatten_shapes(template).items()}
    theirs = flatten(pretrained.params)
    for name in sorted({*ours, *theirs}):
        found = theirs[name].shape if name in theirs else None
        if found != ours.get(name):
            raise ValueError(
                f"{path} cannot be evaluated with these data: its {name} has the shape {found}, "
                f"and {ours.get(name)} is needed"
            )
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), pretrained.params)
    return place_whole(params, experiment.training.mesh)


def flatten_shapes(tree: Any) -> dict[str, Any]:
    """Name the leaves of a tree of shapes as ``flatten`` names arrays."""
    return {
        "/".join(str(entry.key) for entry in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _clip_condition(
    config: Any, found: PublishedModel, text_tower: Path, merges: str | None
) -> dict[str, Any]:
    learned = found.model.null is not None
    return {
        "kind": "clip",
        "dropout": DROPOUT if learned else 0.0,
        "null": "learned" if learned else "empty",
        "weights": str(text_tower),
        "merges": merges or config.condition.get("merges"),
        "compute_dtype": "float32",
    }


def _music(config: Any, path: Path) -> Pretrained:
    found = load_published_music(path)
    length = found.codec.length
    if find_window(config).length != length:
        raise ValueError(
            f"{path} makes music of {length} tokens, {found.seconds:.2f} s, but data.seconds = "
            f"{config.data.seconds:g}; take a variant of that length, such as "
            "--config=configs/aist_vanilla.py:6s"
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
            "denoiser": describe_network(params["denoiser"]),
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
