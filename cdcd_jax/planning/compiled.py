"""Collectives of a compiled step, parsed from its program text."""

import math
import re
from typing import Any, NamedTuple

import numpy as np

from cdcd_jax.planning.program import Program, Shape

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
"""The kinds of collectives, as XLA calls them."""

_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
_CHAINED = re.compile(r"\bchannel_id=(\d+).*\b(?:chain_id|async_collective_name)=")


class Collective(NamedTuple):
    """One collective of a program.

    Attributes:
        kind: Of ``KINDS``.
        size: Bytes of the whole array or arrays: what is reduced, or what all parts make together.
        group: The devices that take part with the first one, by number.
        runs: How often it runs in a step, loops included.
    """

    kind: str
    size: int
    group: tuple[int, ...]
    runs: int

    @property
    def sent(self) -> float:
        """Bytes that each device sends, in all, if it is done on a ring."""
        num_devices = len(self.group)
        share = (num_devices - 1) / num_devices
        if self.kind == "collective-permute":
            share = 1.0
        return self.runs * self.size * share * (2 if self.kind == "all-reduce" else 1)


def read_collectives(program: Program, num_devices: int) -> list[Collective]:
    """Find the collectives of a partitioned program.

    A collective in a loop counts as often as the loop runs. Plain forms and asynchronous ones
    (``-start``) are read. A TPU's program may spread one over several fusions, which share its
    channel and count once, and scatters what it reduces in computations with a name that says so.
    Collectives of a single device move nothing and are left out.

    Args:
        program: A compiled program.
        num_devices: Number of devices that the program is for.

    Returns:
        The collectives in the order of the text.

    Raises:
        ValueError: If its groups are written in an unknown way.

    >>> program = Program('''ENTRY %main (x: f32[4]) -> f32[4] {
    ...   %y = f32[4]{0} all-reduce(%x), replica_groups={{0,1},{2,3}}, to_apply=%add
    ... }''')
    >>> read_collectives(program, 4)
    [Collective(kind='all-reduce', size=16, group=(0, 1), runs=1)]
    >>> read_collectives(program, 4)[0].sent
    16.0
    """
    found: dict[Any, Collective] = {}
    for number, (computation, each, times) in enumerate(program):
        kind = each.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        group, channel = _first_group(each.line, num_devices), _CHAINED.search(each.line)
        size = _whole_size(kind, each.shapes, len(group), started=each.opcode != kind)
        if computation.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"
        key = (kind, size, channel[1]) if channel else number
        if len(group) > 1 and (key not in found or found[key].runs < times):
            found[key] = Collective(kind, size, group, times)
    return list(found.values())


def _whole_size(kind: str, results: list[Shape], group: int, *, started: bool) -> int:
    """Return the bytes of the whole array from the types of a collective's results."""
    sizes = [shape.bytes for shape in results]
    total = sum(sizes)
    if kind in ("all-gather", "reduce-scatter") and started:  # parts are listed beside the wholes
        return total * group // (group + 1)
    if kind == "collective-permute" and started:  # the operand, the result and two counters
        return sizes[0]
    return total * group if kind == "reduce-scatter" else total


def _first_group(line: str, num_devices: int) -> tuple[int, ...]:
    """Read who takes part, from any of the forms that XLA writes it in."""
    pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", line)
    if pairs:
        return _chain(pairs[1])
    explicit = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if explicit:
        return tuple(int(number) for number in explicit[1].split(","))
    if re.search(r"replica_groups=\{\}", line):
        return tuple(range(num_devices))
    iota = re.search(rf"replica_groups=\[(\d+),(\d+)\]<={_IOTA}", line)
    if iota:
        numbers = _numbers(iota[3], iota[4])
        return tuple(numbers.reshape(int(iota[1]), int(iota[2]))[0].tolist())
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\](.*?) ?\{([^}]*)\}", line)
    if mesh:
        order = re.fullmatch(rf", device_ids=\({_IOTA}\)", mesh[2])
        group = _mesh_group(mesh[1], mesh[3])
        if order:
            numbers = _numbers(order[1], order[2]).reshape(-1)
            return tuple(int(number) for number in numbers[group])
        if not mesh[2]:
            return tuple(group.tolist())
    raise ValueError(f"the groups of a collective are written in an unknown way: {line.strip()}")


def _mesh_group(axes: str, reduced: str) -> np.ndarray:
    """Find the places of a group along some axes of a mesh, ``mesh['a'=2,'b'=4] {'b'}``.

    An axis may be split, ``'b':(2)2``: the part of size 2 that has 2 before it.
    """
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", axes)}
    strides = dict(zip(sizes, np.cumprod([1, *list(sizes.values())[:0:-1]])[::-1], strict=True))
    group = np.zeros(1, int)
    for name, before, part in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", reduced):
        size = int(part or sizes[name])
        after = sizes[name] // (int(before or 1) * size)
        group = (group[:, None] + np.arange(size) * after * strides[name]).reshape(-1)
    return group


def _chain(pairs: str) -> tuple[int, ...]:
    source, target = re.findall(r"\d+", pairs)[:2]
    return int(source), int(target)


def _numbers(sizes: str, order: str | None) -> np.ndarray:
    """Number the devices of a mesh, then order its axes, as in ``[4,2]T(1,0)``."""
    shape = [int(size) for size in sizes.split(",")]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return numbers.transpose([int(axis) for axis in order.split(",")]) if order else numbers
