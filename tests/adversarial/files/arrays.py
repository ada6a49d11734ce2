"""Heads of NumPy arrays that say what cannot be."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from cdcd_jax.data.dance.dance_files import load_video
from cdcd_jax.data.dance.motion import load_motion, motion_frames
from cdcd_jax.interop import read_state_dict
from tests.adversarial import seeds
from tests.adversarial.cases import Case
from tests.adversarial.files.forked import file_case


def npy(head: str | bytes, data: bytes = bytes(96), version: bytes = b"\1\0") -> bytes:
    """Return a file of one array with any head."""
    text = head if isinstance(head, bytes) else head.encode("latin1")
    length = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + length + text + data


def described(shape: str, dtype: str = "'<f8'", order: str = "False") -> bytes:
    """Return a file whose head has the usual keys."""
    return npy(f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}\n")


def _saved(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


KINDS = {
    "a shape of 2^80": described("(1099511627776, 1099511627776)"),
    "a shape of 2^62": described("(4611686018427387904,)"),
    "a shape beyond 64 bits": described("(2, 18446744073709551617)"),
    "a negative shape": described("(-3, -4)"),
    "no elements of 2^62": described("(0, 4611686018427387904)"),
    "one element too many": described("(13, 1)"),
    "one element too few": described("(11, 1)"),
    "fractions in the shape": described("(3.0, 4)"),
    "booleans in the shape": described("(True, 12)"),
    "a shape of 60 axes": described("(" + "1, " * 59 + "12)"),
    "objects": described("(3, 4)", "'|O'"),
    "records": described("(3, 4)", "[('a', '<f4'), ('b', '<f4')]"),
    "elements of 2 GB": described("(3, 4)", "'<U536870911'"),
    "bytes of any kind": described("(3, 4)", "'|V8'"),
    "dates": described("(3, 4)", "'<M8[s]'"),
    "an unknown type": described("(3, 4)", "'<q9'"),
    "arrays within elements": described("(1, 1)", "('<f8', (3, 4))"),
    "another word for the order": described("(3, 4)", "'<f8'", "'yes'"),
    "a head of brackets": npy("(" * 9000),
    "a head of 60,000 brackets": npy("[" * 60_000),
    "a head of signs": npy("-" * 9000 + "1"),
    "a head that is a call": npy("__import__('os').system('true')\n"),
    "a head without a shape": npy("{'descr': '<f8', 'fortran_order': False}\n"),
    "a head with more keys": npy("{'descr': '<f8', 'fortran_order': 0, 'shape': (1,), 'x': 1}\n"),
    "a head of zeros": npy(bytes(118)),
    "a head longer than the file": b"\x93NUMPY\1\0\xff\xff{",
    "a head of 4 GB": b"\x93NUMPY\2\0\xff\xff\xff\xff{'descr'",
    "version 9": npy("{}", version=b"\x09\0"),
    "only its first letters": b"\x93NUMPY",
    "pickled objects": _saved(np.array([{}, []], dtype=object)),
}

FORMATS = {
    "motion.npy": load_motion, "video.npy": load_video, "weights.npz": read_state_dict,
    "motion.npz": load_motion,
}  # fmt: skip

RIGHT = {
    "big-endian": _saved(np.arange(12, dtype=">f8").reshape(3, 4)),
    "in columns": _saved(np.asfortranarray(np.arange(12.0).reshape(3, 4))),
    "whole numbers": _saved(np.arange(12).reshape(3, 4)),
    "half precision": _saved(np.ones((3, 4), np.float16)),
}

WRONG_MOTION = {
    "one axis": np.ones(4), "no frames": np.ones((0, 219)), "texts": np.array([["a"]]),
    "complex": np.ones((2, 2)) * 1j,
}  # fmt: skip


def cases() -> Iterator[Case]:
    """Yield each head in each format; then files that are right, and arrays that are not motion."""
    for name, read in FORMATS.items():
        for kind, data in {**KINDS, **RIGHT}.items():

            def write(folder: Path, name: str = name, data: bytes = data) -> Path:
                path = folder / name
                if path.suffix == ".npz":
                    return seeds.write_zip(path, motion_dot_npy=data)
                path.write_bytes(data)
                return path

            taken = kind in RIGHT
            yield file_case(
                f"{kind} in {name}", write, read, *([] if taken else [name]), taken=taken
            )
    for kind, array in WRONG_MOTION.items():

        def save(folder: Path, array: np.ndarray = array) -> Path:
            np.save(folder / "motion.npy", array)
            return folder / "motion.npy"

        yield file_case(f"motion of {kind}", save, load_motion, "must hold numbers")
    for shape in ("(1099511627776, 8)", "(4611686018427387904, 219)"):

        def count(folder: Path, shape: str = shape) -> Path:
            (folder / "motion.npy").write_bytes(described(shape))
            return folder / "motion.npy"

        yield file_case(f"frames of {shape}", count, motion_frames, "cannot be read as an array")
