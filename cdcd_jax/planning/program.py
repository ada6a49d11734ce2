"""Instructions of a compiled program, parsed from its text, and how often each of them runs."""

import math
import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

_HEAD = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r" ?([a-z][\w\-]*)\(")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition)=%([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SHAPE = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_WIDTHS = {"pred": 1.0, "bf16": 2.0, "c64": 8.0, "c128": 16.0}


class Shape(NamedTuple):
    """An array's type.

    Attributes:
        dtype: As XLA calls it, such as bf16.
        sizes: Of its dimensions.
        layout: The text in braces behind them; empty if there is none.
    """

    dtype: str
    sizes: tuple[int, ...]
    layout: str = ""

    @property
    def bytes(self) -> int:
        """Bytes without padding."""
        bits = re.search(r"\d+", self.dtype)
        width = _WIDTHS.get(self.dtype) or (int(bits[0]) / 8 if bits else 0.0)
        return math.ceil(width * math.prod(self.sizes))


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
        name: Its name, by which others take its result.
        opcode: What it does, such as all-reduce.
        type: The type of its result, as it is written.
        operands: Names of what it takes.
        line: The whole line.
    """

    name: str
    opcode: str
    type: str
    operands: tuple[str, ...]
    line: str

    @property
    def shapes(self) -> list[Shape]:
        """The arrays of its result."""
        return read_shapes(self.type)

    @property
    def called(self) -> Iterator[str]:
        """Computations that it calls, by name."""
        yield from _CALLED.findall(self.line)
        for branches in _BRANCHES.findall(self.line):
            yield from (name.strip().lstrip("%") for name in branches.split(","))


class Program:
    """The text of a compiled program.

    Attributes:
        computations: Instructions of each computation by its name, and they by theirs; the whole
            program's is ``""``.
        runs: How often each computation runs. A loop counts as often as XLA notes beside it, or as
            its condition compares its counter with; one that says neither, once.

    Raises:
        ValueError: The text is not that of a compiled program.

    >>> program = Program('''ENTRY %main (x: f32[4]) -> f32[4] {
    ...   %x = f32[4]{0} parameter(0)
    ...   ROOT %y = f32[4]{0} negate(%x)
    ... }''')
    >>> [(each.opcode, each.shapes[0].sizes, times) for _, each, times in program]
    [('parameter', (4,), 1), ('negate', (4,), 1)]
    """

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        lines: dict[str, Instruction] = {}
        for line in text.splitlines():
            head = _HEAD.match(line)
            if head:
                lines = self.computations.setdefault("" if head[1] else head[2], {})
            elif " = " in line and (found := _read_instruction(line)):
                lines[found.name] = found
        if "" not in self.computations:
            raise ValueError("the text has no ENTRY and so is not a compiled program of XLA")

    @cached_property
    def runs(self) -> dict[str, int]:
        """How often each computation runs, by its name."""
        runs: dict[str, int] = {}

        def run(name: str, times: int) -> None:
            runs[name] = runs.get(name, 0) + times
            for each in self.computations.get(name, {}).values():
                inner = times * self._count_trips(each) if each.opcode == "while" else times
                for called in each.called:
                    run(called, inner)

        run("", 1)
        return runs

    def __iter__(self) -> Iterator[tuple[str, Instruction, int]]:
        """Go through the instructions that run: their computation, they, how often they run."""
        for name, lines in self.computations.items():
            for each in lines.values():
                if self.runs.get(name):
                    yield name, each, self.runs[name]

    def operands(self, computation: str, each: Instruction) -> list[Shape]:
        """Return the types of an instruction's operands, arrays each."""
        lines = self.computations[computation]
        return [lines[name].shapes[0] for name in each.operands if name in lines]

    def _count_trips(self, loop: Instruction) -> int:
        noted = _TRIPS.search(loop.line)
        if noted:
            return int(noted[1])
        condition = re.search(r"\bcondition=%([\w.\-]+)", loop.line)
        lines = self.computations.get(condition[1] if condition else "", {})
        limits = [
            int(constant[1])
            for each in lines.values()
            if each.opcode == "compare" and "direction=LT" in each.line
            for operand in each.operands
            if operand in lines
            if (constant := re.search(r"\bconstant\((\d+)\)", lines[operand].line))
        ]
        return limits[0] if len(limits) == 1 else 1


def read_shapes(text: str) -> list[Shape]:
    """Read the types that a text names.

    >>> [(shape.dtype, shape.sizes) for shape in read_shapes("(f32[2,3]{1,0:T(8,128)}, pred[])")]
    [('f32', (2, 3)), ('pred', ())]
    """
    return [
        Shape(dtype, tuple(int(size) for size in sizes.split(",") if size), layout)
        for dtype, sizes, layout in _SHAPE.findall(text)
    ]


def _read_instruction(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(line)
    if match is None:
        return None
    rest = match[2]
    end = _closing(rest, 0) if rest.startswith("(") else rest.find(" ")
    opcode = _OPCODE.match(rest, end)
    if opcode is None:
        return None
    operands = rest[opcode.end() : _closing(rest, opcode.end() - 1) - 1]
    names = tuple(re.findall(r"%([\w.\-]+)", operands))
    return Instruction(match[1], opcode[1], rest[:end], names, line)


def _closing(text: str, start: int) -> int:
    """Return the place behind the parenthesis that closes the one at ``start``."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place + 1
    return len(text)
