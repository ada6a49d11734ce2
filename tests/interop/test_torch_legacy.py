"""Files in the form of PyTorch before 1.6, written here without PyTorch."""

import collections
import pickle
import struct

import numpy as np
import pytest

from cdcd_jax.interop import read_state_dict
from cdcd_jax.interop.torch_legacy import MAGIC_NUMBER, is_legacy_torch, read_legacy_torch


class Named:
    """Stand for a function or class of another program, by name only."""

    def __init__(self, name):
        self.name = name


class Tensor:
    def __init__(self, array, rebuild="_rebuild_tensor_v2", offset=0):
        self.array, self.rebuild, self.offset = array, rebuild, offset


TYPES = {"float32": "FloatStorage", "int64": "LongStorage"}


def write(path, entries, *, system=None, storages=True):
    """Write what ``torch.save(..., _use_new_zipfile_serialization=False)`` does."""
    keys = {}

    class Writer(pickle._Pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, np.ndarray):
                return None
            keys[str(id(obj))] = obj
            kind = Named(f"torch {TYPES[obj.dtype.name]}")
            return ("storage", kind, str(id(obj)), "cpu", obj.size, None)

        def save(self, obj, save_persistent_id=True):
            if isinstance(obj, Named):
                module, name = obj.name.split()
                return self.write(b"c" + f"{module}\n{name}\n".encode())
            if isinstance(obj, Tensor):
                self.save(Named(f"torch._utils {obj.rebuild}"))
                steps = tuple(step // obj.array.itemsize for step in obj.array.strides)
                base = obj.array if obj.array.base is None else obj.array.base
                rest = (False, collections.OrderedDict()) if obj.rebuild.endswith("v2") else ()
                self.save((base, obj.offset, obj.array.shape, steps, *rest))
                return self.write(b"R")
            return super().save(obj, save_persistent_id)

    with path.open("wb") as file:
        pickle.dump(MAGIC_NUMBER, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
        pickle.dump(system or {"little_endian": True}, file, protocol=2)
        Writer(file, protocol=2).dump(entries)
        pickle.dump(sorted(keys), file, protocol=2)
        for key in sorted(keys) if storages else ():
            file.write(struct.pack("<q", keys[key].size) + keys[key].tobytes())


def test_tensors_of_all_forms_come_back(tmp_path):
    path = tmp_path / "old.pth"
    weights, count = np.arange(6, dtype=np.float32), np.array([7], np.int64)
    entries = collections.OrderedDict(
        plain=Tensor(weights.reshape(2, 3)),
        transposed=Tensor(weights.reshape(2, 3).T, "_rebuild_tensor"),
        count=Tensor(count),
        epoch=3,
    )
    write(path, entries)
    assert is_legacy_torch(path)
    assert read_legacy_torch(path)["epoch"] == 3
    read = read_state_dict(path)
    assert list(read) == ["plain", "transposed", "count"]
    np.testing.assert_array_equal(read["plain"], weights.reshape(2, 3))
    np.testing.assert_array_equal(read["transposed"], weights.reshape(2, 3).T)
    assert (read["count"].tolist(), read["count"].dtype) == ([7], np.int64)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path, cut = tmp_path / "old.pth", tmp_path / "cut.pth"
    write(path, {"a": Tensor(np.arange(40, dtype=np.float32))})
    whole = path.read_bytes()
    for length in range(20, len(whole), 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut.pth (is truncated|has|is of)"):
            read_legacy_torch(cut)


def test_nothing_is_executed_or_read_out_of_bounds(tmp_path):
    path = tmp_path / "old.pth"
    write(path, {"a": Named("os system")})
    with pytest.raises(ValueError, match=r"imports os.system, which is neither"):
        read_state_dict(path)
    write(path, {"a": Tensor(np.arange(4, dtype=np.float32), offset=1)})
    with pytest.raises(ValueError, match=r"describes a tensor \(4,\) that exceeds its storage"):
        read_legacy_torch(path)
    write(path, {}, system={"little_endian": False})
    with pytest.raises(ValueError, match="not supported"):
        read_legacy_torch(path)


def test_other_files_are_distinguished(tmp_path):
    path = tmp_path / "new.pth"
    path.write_bytes(b"PK\x03\x04")
    assert not is_legacy_torch(path)
