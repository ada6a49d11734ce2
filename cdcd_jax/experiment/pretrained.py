"""An experiment with a published model that was converted into a folder."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.codecs.codec_file import name_leaves
from cdcd_jax.experiment.experiment import Experiment
from cdcd_jax.experiment.model_folder import (
    Saved,
    place_weights,
    read_weights,
    with_places,
)
from cdcd_jax.settings.sections import flatten_values
from cdcd_jax.settings.values import set_values
from cdcd_jax.tasks.music_codecs import find_window
from cdcd_jax.training.exported import WEIGHTS
from cdcd_jax.typing import Params

OURS = {
    "codec": ("compute_dtype", "batch_size", "unused", "folder", "weights", "used_codes"),
    "denoiser": ("compute_dtype", "remat", "attention"),
}
"""Keys that change no weight, which are the configuration's."""


def configure(config: Any, saved: Saved, path: Path) -> Any:
    """Set the network, noise schedule, condition and codec of a configuration to a model's.

    Args:
        config: The whole configuration.
        saved: The model, from ``read_model``.
        path: The checkpoint that it was converted from, for error messages.

    Returns:
        The configuration to evaluate it with.

    Raises:
        ValueError: If its data are of another kind, or of another length.
    """
    theirs = saved.config
    if config.codec.name != theirs.codec.name:
        base = "aist" if theirs.codec.name == "jukebox" else "imagenet"
        raise ValueError(
            f'codec.name = "{config.codec.name}" must be "{theirs.codec.name}" for the published '
            f"checkpoint {path}; take --config=configs/{base}.py"
        )
    sections = {
        name: {key: theirs[name][key] for key in theirs[name] if key not in OURS.get(name, ())}
        for name in ("schedule", "condition", "denoiser", "codec")
    }
    sections["codec"]["folder"] = str(saved.folder)
    configured = with_places(set_values(config, sections), saved.folder)
    if (
        theirs.condition.kind == "dance"
        and find_window(configured).length != find_window(theirs).length
    ):
        window = find_window(theirs)
        raise ValueError(
            f"{path} makes music of {window.length} tokens, {window.seconds:.2f} s, but "
            f"data.seconds = {config.data.seconds:g}; take a variant of that length, such as "
            "--config=configs/aist.py:6s"
        )
    return configured


def list_changes(config: Any, configured: Any) -> list[str]:
    """List the keys of the network, with their values, that ``configure`` has changed."""
    before, after = flatten_values(config), flatten_values(configured)
    return [
        f"{key} = {value}"
        for key, value in after.items()
        if key.split(".")[0] in ("schedule", "condition", "denoiser") and before.get(key) != value
    ]


def fit_params(saved: Saved, path: Path, experiment: Experiment) -> Params:
    """Place the weights of a model on the devices of an experiment that ``configure`` was for.

    Args:
        saved: The model.
        path: The checkpoint that it was converted from, for error messages.
        experiment: What it is to be evaluated as.

    Returns:
        Parameters of ``experiment.model``.

    Raises:
        ValueError: If the data are not such as the model was trained on.
    """
    data, num_classes = experiment.conditioned, len(saved.facts["class_names"])
    if data.conditioning.num_classes != num_classes:
        raise ValueError(
            f"{path} knows {num_classes} classes, and the data have "
            f"{data.conditioning.num_classes}; "
            "give the data that it was trained on, or fine-tune it: --mode=train "
            f"--start_from={path}"
        )
    for name, shape in _shapes_of_dances(saved.facts.get("dance")).items():
        found = np.shape(data.test.cond[name])[-len(shape) :]
        if found != shape:
            raise ValueError(
                f"{path} was trained on {name} of the shape {shape}, and the data have {found}"
            )
    template = jax.eval_shape(experiment.model.init, jax.random.key(0))
    ours = {name: leaf.shape for name, leaf in name_leaves(template).items()}
    theirs = read_weights(saved.folder / WEIGHTS)
    for name in sorted({*ours, *theirs}):
        found = theirs[name].shape if name in theirs else None
        if found != ours.get(name):
            raise ValueError(
                f"{path} cannot be evaluated with these data: its {name} has the shape {found}, "
                f"and {ours.get(name)} is needed"
            )
    return place_weights(theirs, experiment.training.shardings().params, saved.folder / WEIGHTS)


def _shapes_of_dances(dance: dict[str, Any] | None) -> dict[str, tuple[int, ...]]:
    """Return the shape of each part of a dance that a model takes."""
    if dance is None:
        return {}
    shapes: dict[str, tuple[int, ...]] = {"motion": (dance["frames"], dance["num_features"])}
    return shapes | ({"video": (dance["video_features"],)} if dance["video_features"] else {})
