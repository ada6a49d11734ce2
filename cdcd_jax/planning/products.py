"""Operations of a compiled program's matrix products, with what its device pads them by."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from cdcd_jax.planning.flops import count_taps
from cdcd_jax.planning.program import Instruction, Program, Shape
from cdcd_jax.spacing import round_up

_FUSED_KERNEL = re.compile(r'"kind":"(__triton\w*|__cudnn\$fusion)"')


class Tile(NamedTuple):
    """What a device's matrix unit works on at once; a product is padded to multiples of it.

    Attributes:
        rows: Of the operand that passes through.
        contracted: Of what is summed over.
        columns: Of the operand that stays.
    """

    rows: int
    contracted: int
    columns: int


class Product(NamedTuple):
    """Products [batch rows contracted] . [batch contracted columns].

    Attributes:
        batch: How many at once.
        rows: Of the first operand.
        contracted: What is summed over.
        columns: Of the second.
        runs: How often they are computed.
    """

    batch: int
    rows: int
    contracted: int
    columns: int
    runs: int

    @property
    def flops(self) -> float:
        """Operations, a multiplication and an addition being two."""
        return 2.0 * self.runs * self.batch * self.rows * self.contracted * self.columns

    def padded(self, tile: Tile) -> float:
        """Return the operations of a unit that pads to tiles, by the better choice of what stays.

        >>> Product(batch=1, rows=256, contracted=12, columns=256, runs=1).padded(Tile(8, 128, 128))
        16777216.0
        """
        least = min(
            round_up(one, tile.rows) * round_up(other, tile.columns)
            for one, other in ((self.rows, self.columns), (self.columns, self.rows))
        )
        return 2.0 * self.runs * self.batch * least * round_up(self.contracted, tile.contracted)


def read_products(program: Program) -> list[Product]:
    """Find the products of a program: dots, convolutions, and kernels that are known.

    Known kernels are cuBLAS's products and attention's passes by cuDNN and by splash attention:
    forward two products of a head's queries and keys, backward five. Products inside other kernels
    are not counted.

    Args:
        program: A compiled program.

    Returns:
        The products that run.
    """
    found: list[Product] = []
    for name, each, times in program:
        if each.opcode == "dot":
            found.append(_dot(program.operands(name, each), each.line, times))
        elif each.opcode == "convolution":
            found.append(_convolution(each, program.operands(name, each), times))
        elif each.opcode == "custom-call":
            found += _kernel(each, program.operands(name, each), times)
    return found


def count_kernels(program: Program) -> dict[str, int]:
    r"""Count calls of kernels that are not XLA's own, by name, loops included.

    >>> line = '%y = f32[4]{0} custom-call(%x), custom_call_target="__cudnn$convForward"'
    >>> count_kernels(Program("ENTRY %main (x: f32[4]) -> f32[4] {\n  " + line + "\n}"))
    {'__cudnn$convForward': 1}
    """
    found: Counter[str] = Counter()
    for _, each, times in program:
        if each.opcode == "custom-call" and (name := _kernel_name(each)):
            found[name] += times
        elif each.opcode == "fusion" and (kind := _FUSED_KERNEL.search(each.line)):
            found[kind[1]] += times
    return dict(found)


def _numbers(line: str, name: str) -> list[int]:
    match = re.search(rf'\b"?{name}"?[=:][{{\[]([\d",]*)[}}\]]', line)
    return [int(number) for number in re.findall(r"\d+", match[1])] if match else []


def _dot(operands: list[Shape], line: str, runs: int) -> Product:
    lhs, rhs = operands[:2]
    batch = _numbers(line, "lhs_batch_dims") or _numbers(line, "lhs_batch_dimensions")
    summed = _numbers(line, "lhs_contracting_dims") or _numbers(line, "lhs_contracting_dimensions")
    count = math.prod(lhs.sizes[axis] for axis in batch)
    contracted = math.prod(lhs.sizes[axis] for axis in summed)
    rows = math.prod(lhs.sizes) // max(count * contracted, 1)
    return Product(
        count, rows, contracted, math.prod(rhs.sizes) // max(count * contracted, 1), runs
    )


def _convolution(each: Instruction, operands: list[Shape], runs: int) -> Product:
    """Count a convolution as a product for each tap and place where the two meet."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", each.line)
    if labels is None:
        raise ValueError(f"a convolution says not which dimension is which: {each.line.strip()}")
    lhs, rhs = operands[:2]
    groups = re.search(r"feature_group_count=(\d+)", each.line)
    batch_groups = re.search(r"batch_group_count=(\d+)", each.line)
    out = each.shapes[0]
    sizes = dict(zip(labels[2], rhs.sizes, strict=True))
    image = dict(zip(labels[1], lhs.sizes, strict=True))
    result = dict(zip(labels[3], out.sizes, strict=True))
    count = int(groups[1]) if groups else 1
    parts = int(batch_groups[1]) if batch_groups else 1
    met = 1
    places = 1
    for place, window in enumerate(_windows(each.line, len(labels[1]) - 2)):
        taps = count_taps(image[str(place)], result[str(place)], **window)
        met *= taps
        places *= result[str(place)]
    # Of a product that is written as a convolution, each place meets one tap: they are its batch.
    single = met == places and math.prod(rhs.sizes) > sizes["i"] * sizes["o"]
    rows = image["b"] // parts
    columns = sizes["o"] // (count * parts)
    if single:
        return Product(met * count * parts, rows, sizes["i"], columns, runs)
    taps = max(met // places, 1)
    return Product(count * parts, rows * places, sizes["i"] * taps, columns, runs)


def _windows(line: str, dimensions: int) -> Iterator[dict[str, int]]:
    text = re.search(r"\bwindow=\{([^}]*)\}", line)
    fields = dict(part.split("=") for part in text[1].split()) if text else {}
    for axis in range(dimensions):
        read = {name: value.split("x")[axis] for name, value in fields.items()}
        yield {
            "size": int(read.get("size", 1)),
            "stride": int(read.get("stride", 1)),
            "before": int(read.get("pad", "0_0").split("_")[0]),
            "lhs_dilate": int(read.get("lhs_dilate", 1)),
            "rhs_dilate": int(read.get("rhs_dilate", 1)),
        }


_ATTENTION = {
    "splash_mha_fwd": 2,
    "splash_mha_dkv": 5,  # and the gradient of queries
    "__cudnn$fmhaSoftmax": 2,
    "__cudnn$fmhaSoftmaxBackward": 5,
}
"""Products of queries and keys in a pass of attention, by what its kernel's name starts with."""


def _kernel(each: Instruction, operands: list[Shape], runs: int) -> list[Product]:
    name = _kernel_name(each) or ""
    if name.startswith("__cublas"):
        return [_dot(operands, each.line, runs)]
    passes = max((known for known in _ATTENTION if name.startswith(known)), key=len, default=None)
    if passes is None:
        return []
    # A batch of one may be missing from the shape; an array of integers is a mask.
    arrays = [x.sizes for x in operands if len(x.sizes) >= 3 and x.dtype in ("bf16", "f16", "f32")]
    query, key = arrays[:2]
    if name.startswith("splash"):  # [... heads depth length], else [... length heads depth]
        depth, length, source = query[-2], query[-1], key[-1]
    else:
        depth, length, source = query[-1], query[-3], key[-3]
    batch = math.prod(query) // (length * depth)
    return [Product(batch * _ATTENTION[passes], length, depth, source, runs)]


def _kernel_name(each: Instruction) -> str | None:
    """Return whose kernel a custom call is, or None if it is the compiler's own."""
    target = re.search(r'custom_call_target="([^"]*)"', each.line)
    if target and target[1] == "tpu_custom_call":  # of Pallas, which names the instruction
        return re.sub(r"[.\d]*$", "", each.name)
    return target[1] if target and target[1].startswith("__") else None
