"""Sharding of parameters: rules on their names."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cdcd_jax.distributed.mesh import AXES

Rule: TypeAlias = tuple[str, Sequence[str | None]]
"""A regular expression searched for in a parameter's name, and the mesh axis that each of its
*last* axes is split over, None for none. Axes before those, such as that of stacked blocks or of a
convolution's window, stay whole."""

RULES: tuple[Rule, ...] = (
    # Each device computes its own heads and hidden features, from whole inputs ...
    (r"(query|key|value|expand)\.kernel$", ("fsdp", "tensor")),
    (r"(query|key|value|expand)\.bias$", ("tensor",)),
    # ... and what comes of them is summed up over the devices (Shoeybi et al. 2019, Sec. 3).
    (r"(out|contract)\.kernel$", ("tensor", "fsdp")),
    # A dance's token is made of many features, which lie where their example does.
    (r"fold\.kernel$", (None, "fsdp")),
    (r"(\.|^)(bias|scale)$", ()),
)
"""What holds unless a configuration's own rules, which come first, say otherwise. An array that no
rule names is split over ``fsdp`` along the longest of its axes that divides, the last of equals."""


def shard_params(params: Any, mesh: Mesh, rules: Sequence[Rule] = ()) -> Any:
    """Decide where each array of a tree of parameters lives, see ``shard_state``.

    >>> from cdcd_jax.distributed.mesh import make_mesh
    >>> kernel = jax.ShapeDtypeStruct((4, 32, 8), "float32")  # of four blocks
    >>> params = {"contract": {"kernel": kernel}, "table": kernel}
    >>> found = shard_params(params, make_mesh(jax.devices()[:1]))
    >>> tuple(found["contract"]["kernel"].spec), tuple(found["table"].spec)
    ((None, 'tensor', 'fsdp'), (None, 'fsdp', None))
    """
    _check_rules(rules, by_name(params), mesh)

    def shard(path: Any, leaf: Any) -> NamedSharding:
        name = name_path(path)
        for pattern, axes in rules:
            if re.search(pattern, name):
                return NamedSharding(mesh, _exactly(name, leaf.shape, axes, mesh, pattern))
        for pattern, axes in RULES:
            if re.search(pattern, name):
                return NamedSharding(mesh, _where_even(leaf.shape, axes, mesh))
        return NamedSharding(mesh, _longest(leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(shard, params)


def check_use(params: Any, mesh: Mesh) -> None:
    """Check that the axes of a mesh that are there to split parameters do.

    A mesh is chosen for a denoiser; a codec that is trained on the same may leave an axis unused.

    Args:
        params: The parameters' shardings, from ``shard_params``.
        mesh: What they are on.

    Raises:
        ValueError: If ``fsdp`` or ``tensor`` splits nothing.
    """
    used = {axis for leaf in jax.tree.leaves(params) for axis in leaf.spec}
    for axis in ("fsdp", "tensor"):
        if mesh.shape[axis] > 1 and axis not in used:
            raise ValueError(
                f"{axis} = {mesh.shape[axis]} divides no parameter; take a size that does, or 1"
            )


def by_name(tree: Any) -> dict[str, Any]:
    """Name each leaf by its path.

    >>> by_name({"denoiser": {"width": 3}})
    {'denoiser.width': 3}
    """
    return {name_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _exactly(
    name: str, shape: tuple[int, ...], axes: Sequence[str | None], mesh: Mesh, pattern: str
) -> PartitionSpec:
    """Split as a configuration's rule says, or say why not."""
    if len(axes) > len(shape):
        raise ValueError(
            f'rules: "{pattern}" names {len(axes)} axes, but {name} has the shape {shape}'
        )
    for size, axis in zip(shape[len(shape) - len(axes) :], axes, strict=True):
        if axis is not None and size % mesh.shape[axis]:
            raise ValueError(
                f'rules: "{pattern}" splits an axis of {size} of {name} {shape} over {axis} = '
                f"{mesh.shape[axis]}, which does not divide it; put None in its place"
            )
    return _aligned(shape, axes)


def _where_even(shape: tuple[int, ...], axes: Sequence[str | None], mesh: Mesh) -> PartitionSpec:
    """Split those axes that divide."""
    axes = axes[max(len(axes) - len(shape), 0) :]
    sizes = shape[len(shape) - len(axes) :]
    fitting = [
        axis if axis is not None and size % mesh.shape[axis] == 0 else None
        for size, axis in zip(sizes, axes, strict=True)
    ]
    return _aligned(shape, fitting)


def _longest(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Split the longest axis that divides over ``fsdp``."""
    dividing = [(size, at) for at, size in enumerate(shape) if size % mesh.shape["fsdp"] == 0]
    if not dividing:
        return PartitionSpec()
    _, chosen = max(dividing)
    return PartitionSpec(*(["fsdp" if at == chosen else None for at in range(len(shape))]))


def _aligned(shape: tuple[int, ...], axes: Sequence[str | None]) -> PartitionSpec:
    return PartitionSpec(*[None] * (len(shape) - len(axes)), *axes)


def _check_rules(rules: Sequence[Rule], names: Mapping[str, Any], mesh: Mesh) -> None:
    for pattern, axes in rules:
        unknown = [axis for axis in axes if axis is not None and axis not in mesh.shape]
        if unknown:
            raise ValueError(
                f'rules: "{pattern}" names the axis "{unknown[0]}"; there are {", ".join(AXES)}'
            )
        try:
            found = any(re.search(pattern, name) for name in names)
        except re.error as error:
            raise ValueError(f'rules: "{pattern}" is not a regular expression: {error}') from error
        if not found:
            longest = max(names, key=lambda name: math.prod(names[name].shape))
            raise ValueError(
                f'rules: "{pattern}" matches no parameter; their names are like "{longest}"'
            )


def name_path(path: Any) -> str:
    """Name a leaf by its path, ``"blocks.mlp.kernel"``."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
