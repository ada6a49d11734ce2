"""The mesh of devices with its three axes, and batches split over two of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cdcd_jax.models.layout import BATCH

AXES = ("data", "fsdp", "tensor")
"""``data`` splits the batch; ``fsdp`` splits the batch, and parameters where they lie; ``tensor``
splits heads and hidden features where they are computed."""


def make_mesh(
    devices: Sequence[Any] | None = None,
    *,
    data: int | None = None,
    fsdp: int = 1,
    tensor: int = 1,
) -> Mesh:
    """Arrange devices along the three axes.

    Neighbours along ``tensor``, which talk most, are neighbours in the list of devices, so on one
    host where it fits; on TPUs JAX orders them by their place in the torus.

    Args:
        devices: Which ones; all of all processes if None.
        data: Copies that each work on their own part of the batch; None takes what is left.
        fsdp: Parts that each array of parameters is split in; they share the batch as well.
        tensor: Parts that heads and hidden features are split in.

    Returns:
        The mesh, to be used under ``jax.jit`` with ``NamedSharding``.

    Raises:
        ValueError: If the three do not multiply to the number of devices.

    >>> dict(make_mesh(jax.devices()[:1]).shape)
    {'data': 1, 'fsdp': 1, 'tensor': 1}
    >>> make_mesh(jax.devices()[:1], fsdp=2)
    Traceback (most recent call last):
    ValueError: fsdp = 2 x tensor = 1 does not divide the 1 devices; take sizes whose product does
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    for name, size in {"data": data, "fsdp": fsdp, "tensor": tensor}.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} = {size} must be at least 1")
    if data is None:
        if count % (fsdp * tensor):
            raise ValueError(
                f"fsdp = {fsdp} x tensor = {tensor} does not divide the {count} devices; take "
                "sizes whose product does"
            )
        data = count // (fsdp * tensor)
    elif data * fsdp * tensor != count:
        raise ValueError(
            f"data = {data} x fsdp = {fsdp} x tensor = {tensor} is {data * fsdp * tensor}, but "
            f"there are {count} devices; leave data out to let it take what is left"
        )
    return jax.make_mesh(
        (data, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that is replicated on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Return the sharding whose first axis is split over ``data`` and ``fsdp``."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def num_batch_shards(mesh: Mesh) -> int:
    """Count the parts that a batch is split in."""
    return math.prod(mesh.shape[name] for name in BATCH)


def batch_share(mesh: Mesh) -> tuple[int, int]:
    """Return the part of each batch that this process reads.

    Processes whose devices differ along ``tensor`` only need the same rows.

    Args:
        mesh: From ``make_mesh``.

    Returns:
        The part's number, and how many equal parts there are.

    Raises:
        ValueError: If the rows that this process needs are not one such part.

    >>> batch_share(make_mesh(jax.devices()[:1]))
    (0, 1)
    """
    rows = mesh.devices.reshape(num_batch_shards(mesh), -1)
    own = [
        number
        for number, row in enumerate(rows)
        if any(device.process_index == jax.process_index() for device in row)
    ]
    start, count = (own[0], len(own)) if own else (0, 1)
    if own != list(range(start, start + count)) or start % count or len(rows) % count:
        raise ValueError(
            f"data = {mesh.shape['data']} x fsdp = {mesh.shape['fsdp']} puts parts {own} of the "
            f"batch on host {jax.process_index()}, which are not {len(rows)} divided evenly; take "
            "a tensor that divides the devices of a host, or a multiple of them"
        )
    return start // count, len(rows) // count


def check_batch_size(batch_size: int, mesh: Mesh, *, num_microbatches: int = 1) -> None:
    """Check that a batch divides evenly into microbatches, and those over the devices.

    Args:
        batch_size: Number of examples in a batch, of all processes together.
        mesh: From ``make_mesh``.
        num_microbatches: Parts that a step works through one after another.

    Raises:
        ValueError: If it does not divide; the sentence names sizes that do.

    >>> check_batch_size(6, make_mesh(jax.devices()[:1]), num_microbatches=4)
    Traceback (most recent call last):
    ValueError: batch_size = 6 does not divide into 4 microbatches on each of 1 devices; take 4 or 8
    """
    shards = num_batch_shards(mesh)
    unit = num_microbatches * shards
    if batch_size < 1 or batch_size % unit:
        below = batch_size // unit * unit
        choices = f"{below} or {below + unit}" if below > 0 else f"{unit}"
        places = f"{shards} devices"
        if shards != mesh.size:
            places = f"{shards} groups of {mesh.size // shards} devices"
        raise ValueError(
            f"batch_size = {batch_size} does not divide into {num_microbatches} microbatches on "
            f"each of {places}; take {choices}"
        )


def describe_mesh(mesh: Mesh, batch_size: int) -> str:
    """Describe on one line how work is divided.

    >>> describe_mesh(make_mesh(jax.devices()[:1]), 64)
    '1 device (data 1 x fsdp 1 x tensor 1), 64 of 64 examples on each'
    """
    sizes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
    hosts = len({device.process_index for device in mesh.devices.flat})
    devices = f"{mesh.size} device" + "s" * (mesh.size > 1)
    devices += f" of {hosts} hosts" if hosts > 1 else ""
    own = batch_size // num_batch_shards(mesh)
    return f"{devices} ({sizes}), {own} of {batch_size} examples on each"


def place_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Put this process's rows of a batch on its devices.

    Args:
        batch: Arrays whose first axis holds the examples of ``batch_share``.
        mesh: From ``make_mesh``.

    Returns:
        The whole batch as arrays split over the mesh.
    """
    sharding = split_batch(mesh)
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(sharding, rows), dict(batch)
    )


def bytes_per_device(tree: Any) -> int:
    """Count the bytes that a tree of arrays takes on each device.

    Args:
        tree: Arrays, or shapes with shardings. Keys of random numbers count as what they are.

    Returns:
        Bytes on the device that holds most; arrays without a sharding count whole.

    >>> bytes_per_device(jax.ShapeDtypeStruct((4, 2), "float32"))
    32
    """
    return sum(_own_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _own_bytes(leaf: Any) -> int:
    sharding = getattr(leaf, "sharding", None)
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
