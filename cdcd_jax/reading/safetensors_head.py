"""Headers of safetensors files, checked before a library reads the file, and their arrays."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from cdcd_jax.reading.json_text import parse_json
from cdcd_jax.reading.regular import open_regular

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""The format's names of types, and those of NumPy. It has more, of 8 bits and less."""

HEAD_BYTES = 100_000_000
"""Most bytes of a head, as the format says; one of 10,000 arrays takes 1 million."""


def read_safetensors_head(path: Path) -> tuple[dict[str, Any], int]:
    """Read the head of a safetensors file.

    Args:
        path: The file.

    Returns:
        The description of each array by name, perhaps with texts as ``__metadata__``; and the
        byte where the arrays begin. The library has yet to check whether it all fits.

    Raises:
        ValueError: The file is damaged.
        OSError: It cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(HEAD_BYTES, size - 8):
            raise ValueError(
                f"{path} is not a complete safetensors file: it has {size:,} bytes, and says "
                "that its "
                f"head has {length:,}, of {HEAD_BYTES:,} at most."
            )
        data = file.read(length)
    try:
        text = data.decode()
        del data
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file: its head is not a text."
        ) from error
    head = parse_json(text, f"{path} is not a complete safetensors file", memory_per_byte=0)
    if not isinstance(head, dict) or not all(isinstance(entry, dict) for entry in head.values()):
        raise ValueError(
            f"{path} is not a complete safetensors file: its head describes no arrays."
        )
    return head, 8 + length


def map_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map the arrays of a file into memory, without reading them.

    Args:
        path: The file; it must not be written to while the arrays are in use.

    Returns:
        Arrays, which cannot be changed, and texts, both by name.

    Raises:
        ValueError: The file is damaged, or an array is of a type that NumPy does not have.
        OSError: It cannot be read, or is not a regular file.
    """
    head, start = read_safetensors_head(path)
    texts = head.pop("__metadata__", {})
    for name, entry in head.items():
        if str(entry.get("dtype")) not in DTYPES:
            raise ValueError(no_such_type(path, name, str(entry.get("dtype"))))
    check_complete(path)
    with open_regular(path) as file:
        numbers = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {
        name: np.ndarray(
            entry["shape"], DTYPES[entry["dtype"]], numbers, start + entry["data_offsets"][0]
        )
        for name, entry in head.items()
    }
    return arrays, texts


def check_complete(path: Path) -> None:
    """Raise a ValueError unless the library finds that head and file fit together."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}.") from error


def no_such_type(path: Path, name: str, dtype: str) -> str:
    """Explain that an array cannot be read, and what to do.

    >>> no_such_type(Path("a.safetensors"), "w", "F8_E4M3")
    'a.safetensors holds w as F8_E4M3, which is not supported; convert it to F32, F16 or BF16.'
    """
    return (
        f"{path} holds {name:.80} as {dtype:.20}, which is not supported; convert it to F32, F16 "
        "or BF16."
    )
