"""Collectives of a compiled step, parsed from its program text."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
"""The kinds of collectives, as XLA calls them."""

_WIDTHS = {"pred": 1, "bf16": 2, "c64": 8, "c128": 16}
_SHAPE = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition)=%([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")


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


def read_collectives(text: str, num_devices: int) -> list[Collective]:
    """Find the collectives of a partitioned program.

    A collective in a loop counts as often as the loop runs, which XLA notes beside it; of a loop
    that does not say, once. Both plain and asynchronous (``-start``) forms are read. Collectives of
    a single device move nothing and are left out.

    Args:
        text: ``compiled.as_text()``.
        num_devices: Number of devices that the program is for.

    Returns:
        The collectives in the order of the text.

    Raises:
        ValueError: If the text is not a compiled program, or its groups are written in an unknown
            way.

    >>> text = '''ENTRY %main (x: f32[4]) -> f32[4] {
    ...   %y = f32[4]{0} all-reduce(%x), replica_groups={{0,1},{2,3}}, to_apply=%add
    ... }'''
    >>> read_collectives(text, 4)
    [Collective(kind='all-reduce', size=16, group=(0, 1), runs=1)]
    >>> read_collectives(text, 4)[0].sent
    16.0
    """
    programs = _split(text)
    runs = _count_runs(programs)
    found = []
    for name, lines in programs.items():
        for line in lines:
            match = _COLLECTIVE.search(line)
            if match is None or not runs.get(name):
                continue
            kind, group = match[2], _first_group(line, num_devices)
            if len(group) > 1:
                size = _whole_size(kind, match[1], len(group), started=match[3] is not None)
                found.append(Collective(kind, size, group, runs[name]))
    return found


def _split(text: str) -> dict[str, list[str]]:
    """Return the lines of each computation by its name; the whole program's is ``""``."""
    programs: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            lines = programs.setdefault("" if head[1] else head[2], [])
        elif " = " in line:
            lines.append(line)
    if "" not in programs:
        raise ValueError("the text has no ENTRY and so is not a compiled program of XLA")
    return programs


def _count_runs(programs: dict[str, list[str]]) -> dict[str, int]:
    """Count how often each computation runs."""
    runs: dict[str, int] = {}

    def run(name: str, times: int) -> None:
        runs[name] = runs.get(name, 0) + times
        for line in programs.get(name, ()):
            trips = _TRIPS.search(line)
            for called in _called(line):
                run(called, times * (int(trips[1]) if trips else 1))

    run("", 1)
    return runs


def _called(line: str) -> Iterator[str]:
    yield from _CALLED.findall(line)
    for branches in _BRANCHES.findall(line):
        yield from (name.strip().lstrip("%") for name in branches.split(","))


def _whole_size(kind: str, types: str, group: int, *, started: bool) -> int:
    """Return the bytes of the whole array from the types of a collective's results."""
    sizes = [_bytes(*shape) for shape in _SHAPE.findall(types)]
    total = sum(sizes)
    if kind == "all-gather" and started:  # the parts are listed beside the wholes
        return total * group // (group + 1)
    if kind == "collective-permute" and started:  # the operand, the result and two counters
        return sizes[0]
    return total * group if kind == "reduce-scatter" else total


def _bytes(dtype: str, dimensions: str) -> int:
    bits = re.search(r"\d+", dtype)
    width = _WIDTHS.get(dtype) or (int(bits[0]) / 8 if bits else 0)
    return math.ceil(width * math.prod(int(size) for size in dimensions.split(",") if size))


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
