"""A trained model that was made elsewhere, put into an experiment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.codecs.codec_file import flatten, name_leaves
from cdcd_jax.distributed.shard_batch import place_split
from cdcd_jax.experiment.experiment import Experiment
from cdcd_jax.settings.sections import flatten_values
from cdcd_jax.settings.values import set_values
from cdcd_jax.typing import Params


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
    ours = {name: leaf.shape for name, leaf in name_leaves(template).items()}
    theirs = flatten(pretrained.params)
    for name in sorted({*ours, *theirs}):
        found = theirs[name].shape if name in theirs else None
        if found != ours.get(name):
            raise ValueError(
                f"{path} cannot be evaluated with these data: its {name} has the shape {found}, "
                f"and {ours.get(name)} is needed"
            )
    arrays = [np.asarray(leaf, np.float32) for leaf in theirs.values()]
    shardings = name_leaves(experiment.training.shardings().params)
    placed = [place_split(a, shardings[name]) for name, a in zip(theirs, arrays, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(template), placed)
