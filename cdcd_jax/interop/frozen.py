"""PyTorch's convolutions with batch norms, folded into a frozen network."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.typing import Params


class Layer(NamedTuple):
    """The names of a layer's arrays in a published file.

    Attributes:
        name: Before ``.weight``, and before ``.bias`` where no norm follows.
        norm: The same of the batch norm behind it, if there is one.
    """

    name: str
    norm: str | None = None


def frozen_from_state_dict(
    state: StateDict,
    layers: Mapping[str, Layer],
    template: Params,
    *,
    network: str,
    epsilon: float = 1e-5,
    ignored: tuple[str, ...] = (),
) -> Params:
    """Arrange a state dict of convolutions and dense layers as the parameters of a frozen network.

    A batch norm y -> (y - mean) / sqrt(variance + epsilon) weight + bias becomes part of the kernel
    and the bias before it, in float64.

    Args:
        state: Arrays by name.
        layers: Our path of each layer, joined by ``/`` -> what it is called there.
        template: What ``jax.eval_shape(network.init, key)`` gives: the layout wanted. May hold only
            what ``layers`` names.
        network: What the network is called in messages.
        epsilon: Of the batch norms.
        ignored: Beginnings of names that the network has no need of; the counters of batch norms
            are always ignored.

    Returns:
        Parameters of the template's structure and shapes, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    unused = {
        name
        for name in state
        if not name.endswith(".num_batches_tracked") and not name.startswith(ignored)
    }

    def take(name: str) -> np.ndarray:
        if name not in state:
            raise ValueError(f"The state dict has no {name}, which {network} needs.")
        unused.discard(name)
        return read_floats(state, name, np.float64)

    folded = {path: _fold(layer, take, epsilon) for path, layer in layers.items()}

    def place(entries: tuple[Any, ...], leaf: Any) -> np.ndarray:
        *parents, kind = (str(entry.key) for entry in entries)
        path = "/".join(parents)
        array = folded[path][kind].astype(np.float32)
        if array.shape != leaf.shape:
            raise ValueError(
                f"{layers[path].name} has a {kind} of shape {array.shape}, but {network} needs "
                f"{leaf.shape}."
            )
        return array

    params = jax.tree_util.tree_map_with_path(place, template)
    if unused:
        raise ValueError(
            f"The state dict has {len(unused)} arrays that {network} has no place for, such as "
            f"{min(unused)}."
        )
    return params


def _fold(layer: Layer, take: Any, epsilon: float) -> dict[str, np.ndarray]:
    kernel = take(f"{layer.name}.weight")
    # [out in] -> [in out]; [out in height width] -> [height width in out]
    kernel = np.moveaxis(kernel, (1, 0), (-2, -1)) if kernel.ndim >= 2 else kernel
    if layer.norm is None:
        return {"kernel": kernel, "bias": take(f"{layer.name}.bias")}
    scale = take(f"{layer.norm}.weight") / np.sqrt(take(f"{layer.norm}.running_var") + epsilon)
    shift = take(f"{layer.norm}.bias") - take(f"{layer.norm}.running_mean") * scale
    if kernel.shape[-1:] != scale.shape:
        raise ValueError(
            f"{layer.name} has {kernel.shape[-1:]} features, but its norm {layer.norm} has "
            f"{scale.shape}."
        )
    return {"kernel": kernel * scale, "bias": shift}
