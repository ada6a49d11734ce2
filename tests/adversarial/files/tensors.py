"""Tensors that exceed their storages, and heads of safetensors that lie."""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.codecs.codec_file import FORMAT, load_vqgan, write_arrays
from cdcd_jax.interop import read_state_dict
from tests.adversarial import seeds
from tests.adversarial.cases import Case
from tests.adversarial.files.forked import file_case
from tests.adversarial.files.readers import codec


def _torch(tree: Any, **members: bytes) -> Callable[[Path], Path]:
    """Return a writer of a checkpoint with one storage of six numbers."""

    def write(folder: Path) -> Path:
        file = BytesIO()
        seeds.dump(tree, file)
        found = {"a__data_dot_pkl": file.getvalue(), "a__data__0": bytes(24), **members}
        return seeds.write_zip(folder / "a.pth", **{k: v for k, v in found.items() if v})

    return write


def _one(*arguments: Any) -> dict[str, Any]:
    return {"w": seeds.tensor("0", *arguments)}


MB = 2**20
TENSORS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "strides of 0 over 2^40": (_torch(_one((2**40,), (0,), 6)), "exceeds its storage"),
    "strides of 2^62": (_torch(_one((2, 2), (2**62, 1), 6)), "exceeds its storage"),
    "negative strides": (_torch(_one((2, 2), (-1, 1), 6)), "exceeds its storage"),
    "a negative offset": (_torch(_one((2,), (1,), 6, -1)), "exceeds its storage"),
    "an offset of 2^62": (_torch(_one((2,), (1,), 6, 2**62)), "exceeds its storage"),
    "a shape of 2^80": (_torch(_one((2**40, 2**40), (2**40, 1), 6)), "exceeds its storage"),
    "a shape of 2^62": (_torch(_one((2**62,), (1,), 2**62)), "storage 0"),
    "no numbers of 2^62": (_torch(_one((0, 2**62), (2**62, 1), 6)), "exceeds its storage"),
    "40 axes": (_torch(_one((1,) * 40, (1,) * 40, 6)), "exceeds its storage"),
    "fewer strides than axes": (_torch(_one((2, 3), (1,), 6)), "exceeds its storage"),
    "a stride of 1.5": (_torch(_one((2,), (1.5,), 6)), "not all whole numbers"),
    "an axis of True": (_torch(_one((True,), (1,), 6)), "not all whole numbers"),
    "a shape that is a list": (_torch(_one([2], (1,), 6)), "no storage"),
    "a storage of 2^47 numbers": (_torch(_one((6,), (1,), 2**47)), "truncated"),
    "a storage of -6 numbers": (_torch(_one((6,), (1,), -6)), "storage"),
    "a storage that is not there": (_torch({"w": seeds.tensor("7", (6,), (1,), 6)}), "truncated"),
    "a storage cut short": (_torch(_one((6,), (1,), 6), a__data__0=bytes(23)), "truncated"),
    "a big-endian machine": (_torch(_one((6,), (1,), 6), a__byteorder=b"big"), "big-endian"),
    "a tensor of a text": (
        _torch(
            {
                "w": seeds.called(
                    seeds.named("torch._utils", "_rebuild_tensor_v2"),
                    "a",
                    0,
                    (1,),
                    (1,),
                    False,
                    None,
                )
            }
        ),
        "no storage",
    ),
    "a tensor of nothing": (
        _torch({"w": seeds.called(seeds.named("torch._utils", "_rebuild_tensor_v2"))}),
        "",
    ),
    "an array of an unknown class": (
        _torch({"w": seeds.called(seeds.named("os", "system"), "true")}),
        "imports os.system",
    ),
    "names that are numbers": (
        _torch({5: seeds.tensor("0", (6,), (1,), 6)}),
        "which is not a name",
    ),
    "no arrays": (_torch({"a": 1}), "no arrays by name"),
    "20,000 entries": (_torch({f"e{k}": {} for k in range(20_000)}), "..."),
    "2,000 views of 16 MB": (
        _torch(
            {f"w{k}": seeds.tensor("0", (4 * MB - 2000,), (1,), 4 * MB, k) for k in range(2000)},
            a__data__0=bytes(16 * MB),
        ),
        "save them anew",
    ),
    "a map that is a number": (_torch(3), "no arrays by name"),
}

MANY = {f"w{k}": seeds.tensor("0", (MB,), (1,), MB) for k in range(3000)}
RIGHT = {
    "3,000 names of one array": _torch(MANY, a__data__0=bytes(4 * MB)),
    "an ordered dict": _torch(OrderedDict(_one((2, 3), (3, 1), 6))),
    "a transposed tensor": _torch(_one((3, 2), (1, 3), 6)),
}


def _legacy(**options: Any) -> Callable[[Path], Path]:
    return lambda folder: seeds.write_legacy(folder / "a.pth", **options)


def _cut(folder: Path) -> Path:
    path = seeds.write_legacy(folder / "a.pth")
    path.write_bytes(path.read_bytes()[:-3])
    return path


TREE, NUMBERS = {"w": seeds.tensor("0", (2, 2), (2, 1), 4)}, np.ones(4, np.float32)
LEGACY = {
    "keys that are a number": _legacy(tree=TREE, keys=5, **{"0": NUMBERS}),
    "keys that are lists": _legacy(tree=TREE, keys=[[]], **{"0": NUMBERS}),
    "keys of other storages": _legacy(tree=TREE, keys=["9"], **{"0": NUMBERS}),
    "no keys": _legacy(tree=TREE, keys=[]),
    "a million keys": _legacy(tree=TREE, keys=["0"] * 10**6, **{"0": NUMBERS}),
    "a storage of another size": _legacy(tree=TREE, **{"0": np.ones(3, np.float32)}),
    "a storage of 2^46 numbers": _legacy(
        tree={"w": seeds.tensor("0", (2,), (1,), 2**46)}, **{"0": NUMBERS}
    ),
    "three bytes too few": _cut,
}


def _head(head: Any, data: bytes = bytes(8), length: int | None = None) -> Callable[[Path], Path]:
    return lambda path: seeds.write_head(path, head, data, length)


def _entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


USUAL = json.dumps(_entry()).encode()
HEADS: dict[str, Callable[[Path], Path]] = {
    "a head of 2^63": _head(_entry(), length=2**63),
    "a head of 2^64 - 1": _head({}, length=2**64 - 1),
    "a head of nothing": _head(b""),
    "a head longer than the file": _head(_entry(), length=100),
    "a head of 90 MB": _head(b"{" + b" " * 90_000_000 + b"}"),
    "a head of 100,000 brackets": _head(b'{"a":' + b"[" * 100_000),
    "a head with a number of 5,000 digits": _head(b'{"w":' + b"9" * 5000 + b"}"),
    "a head in UTF-16": _head(json.dumps(_entry()).encode("utf-16")),
    "a head with a byte order mark": _head(b"\xef\xbb\xbf" + USUAL),
    "a head that is a list": _head([1, 2]),
    "entries that are numbers": _head({"w": 1}),
    "one name twice": _head(USUAL[:-1] + b"," + USUAL[1:]),
    "NaN": _head(b'{"w": NaN}'),
    "a negative shape": _head(_entry(shape=[-2])),
    "a shape of 2^80": _head(_entry(shape=[2**40, 2**40])),
    "a shape of 2^64": _head(_entry(shape=[2**64])),
    "a fraction": _head(_entry(shape=[2.5])),
    "offsets in reverse": _head(_entry(data_offsets=[8, 0])),
    "offsets beyond the end": _head(_entry(data_offsets=[0, 2**40])),
    "offsets that do not fit the shape": _head(_entry(shape=[1])),
    "a gap": _head(_entry(data_offsets=[4, 12]), bytes(12)),
    "two arrays of the same bytes": _head(_entry() | {"v": _entry()["w"]}),
    "an unknown type": _head(_entry(dtype="Q7")),
    "no type": _head({"w": {"shape": [2]}}),
    "bytes behind the arrays": _head(_entry(), bytes(99)),
    "texts that are numbers": _head(_entry() | {"__metadata__": {"a": 1}}),
    "half a character": _head(b'{"\\ud800": 1}'),
}


def _options(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        arrays = {"a": np.ones(1, np.float32)}
        write_arrays(folder / "vqgan.safetensors", arrays, {"format": FORMAT, "options": text})
        return folder / "vqgan.safetensors"

    return write


OPTIONS = ("", "null", "[]", "[" * 100_000, '{"a": 1}', '{"width": NaN}', "9" * 5000)


def cases() -> Iterator[Case]:
    """Yield tensors of both ages of PyTorch's files, heads of safetensors, and codecs' options."""
    for kind, (write, says) in TENSORS.items():
        yield file_case(f"{kind} in a.pth", write, read_state_dict, says)
    for kind, write in RIGHT.items():
        yield file_case(f"{kind} in a.pth", write, read_state_dict, taken=True)
    for kind, write in LEGACY.items():
        yield file_case(f"{kind} in an old file", write, read_state_dict, "a.pth")
    for name, read in (("weights.safetensors", read_state_dict), ("codec.safetensors", codec)):
        for kind, change in HEADS.items():

            def make(folder: Path, name: str = name, change: Callable = change) -> Path:
                return change(folder / name)

            yield file_case(f"{kind} in {name}", make, read, name)
    for text in OPTIONS:
        yield file_case(f"options {text[:9]!r} of a codec", _options(text), load_vqgan, "vqgan.s")
