"""Reading checkpoints: what was written comes back, and nothing in a file is ever run."""

import collections
import functools
import io
import json
import os
import pickle
import uuid
import zipfile
from typing import ClassVar

import numpy as np
import pytest
from safetensors.numpy import save_file

from cdcd_jax.codecs.codec_file import FORMAT, read_arrays
from cdcd_jax.interop import read_state_dict
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.interop.stored import read_floats


class Global:
    """Pickle as the bare name ``module.name``, whether or not that can be imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickle as a call of a name."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Storage:
    def __init__(self, kind, key, size):
        self.pid = ("storage", Global("torch", kind), key, "cpu", size)


class TorchPickler(pickle._Pickler):
    """The part of PyTorch's pickle that a state dict uses, written without PyTorch."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save_global_name(self, obj):
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())

    def save_call(self, obj):
        self.save(obj.function)
        self.save(obj.arguments)
        self.write(pickle.REDUCE)

    dispatch[Global] = save_global_name
    dispatch[Call] = save_call


def tensor(kind, key, shape, stride, size, offset=0):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, Storage(kind, key, size), offset, shape, stride, False, {})


def write_torch(path, tree, storages, byteorder=b"little", pickler=TorchPickler, protocol=2):
    buffer = io.BytesIO()
    pickler(buffer, protocol=protocol).dump(tree)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path


@pytest.fixture
def checkpoint(tmp_path):
    storage = np.arange(6, dtype=np.float32)
    tree = {
        "model": {
            "plain": tensor("FloatStorage", "0", (2, 3), (3, 1), 6),
            "transposed": tensor("FloatStorage", "0", (3, 2), (1, 3), 6),
            "slice": tensor("FloatStorage", "0", (2,), (1,), 6, offset=4),
            "scalar": tensor("LongStorage", "1", (), (), 1),
            "half": tensor("BFloat16Storage", "2", (2,), (1,), 2),
            "parameter": Call(
                Global("torch._utils", "_rebuild_parameter"),
                tensor("FloatStorage", "0", (1,), (1,), 6), True, {},
            ),
            "steps": 7,
        },
        "ema": {"shadow": {"w": tensor("FloatStorage", "0", (6,), (1,), 6)}},
        "shape": Call(Global("torch", "Size"), (2, 3)),
        "empty": Call(Global("collections", "OrderedDict")),
    }  # fmt: skip
    storages = {
        "0": storage,
        "1": np.array([5]),
        "2": np.array([0x3F80, 0xC000], np.uint16),  # 1 and -2 in bfloat16
    }
    return write_torch(tmp_path / "model.pth", tree, storages)


def test_tensors_of_every_kind_come_back(checkpoint):
    state = read_state_dict(checkpoint, "model")
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(state["plain"], whole)
    np.testing.assert_array_equal(state["transposed"], whole.T)
    np.testing.assert_array_equal(state["slice"], [4, 5])
    np.testing.assert_array_equal(state["scalar"], 5)
    np.testing.assert_array_equal(state["half"].astype(np.float32), [1, -2])
    np.testing.assert_array_equal(state["parameter"], [0])
    assert "steps" not in state
    np.testing.assert_array_equal(read_state_dict(checkpoint, "ema.shadow")["w"], whole.ravel())


def test_entries_are_chosen_by_name(checkpoint):
    with pytest.raises(ValueError, match="choose an entry of model, ema"):
        read_state_dict(checkpoint)
    with pytest.raises(ValueError, match="no entry 'teacher'; it has model, ema"):
        read_state_dict(checkpoint, "teacher")


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("torch.nn.modules.linear", "Linear"),
     ("numpy", "dtype"), ("collections", "defaultdict")],
)  # fmt: skip
def test_a_pickle_that_asks_for_anything_else_is_refused_by_name(tmp_path, module, name):
    witness = tmp_path / "witness"
    evil = {"a": Call(Global(module, name), f"touch {witness}")}
    path = write_torch(tmp_path / "evil.pth", evil, {})
    with pytest.raises(ValueError, match=f"evil.pth imports {module}.{name}"):
        read_state_dict(path)
    assert not witness.exists()


def test_a_real_exploit_is_refused(tmp_path):
    class Exploit:
        def __reduce__(self):
            return os.system, ("true",)

    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Exploit()}))
    with pytest.raises(ValueError, match=r"imports (posix|nt)\.system"):
        read_state_dict(path)


class Trainer:
    """Holds what PyTorch's own pickler imports by ``getattr(Trainer, "Options")``."""

    class Options:
        def __init__(self):
            self.rate = 1e-3

    Step = collections.namedtuple("Step", "number loss")
    Step.__qualname__ = "Trainer.Step"


BESIDE = {
    "the state of a generator": np.random.default_rng(1).bit_generator.state,
    "whole numbers of 128 bits": [2**128 - 1, -(2**127)],
    "a UUID": uuid.UUID(int=2**127 + 1),
    "an object of a class within a class": Trainer.Options(),
    "a named tuple of a class": [Trainer.Step(1, 0.5)],
    "nested keys": {(("a", 1), 2): 3, (0, (1, (2, frozenset("ab")))): 4, frozenset([(1, 2)]): 5},
    "large keys": {2**60: 1, 2**63: 2, -(2**64): 3},
    "pairs of texts": {(str(n), "b"): n for n in range(3000)},
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_weights_are_read_beside_a_trainers_own_objects(tmp_path, beside, protocol):
    storage = np.arange(6, dtype=np.float32)
    tree = {"model": {"w": tensor("FloatStorage", "0", (6,), (1,), 6)}, "other": beside}
    path = write_torch(tmp_path / "a.pth", tree, {"0": storage}, protocol=protocol)
    np.testing.assert_array_equal(read_state_dict(path, "model")["w"], storage)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (tuple(range(99)), "64 parts"),
        (functools.reduce(lambda inner, _: (inner, inner), range(60), ()), "64 parts"),
        (("a" * 2**16, "b"), "65,536 characters"),
        ("a" * 2**17, "65,536 characters"),
    ],
    ids=["many parts", "parts in 2^60 ways", "long parts", "a long text"],
)
def test_keys_that_are_slow_to_compare_are_refused(tmp_path, key, words):
    path = tmp_path / "a.pth"
    items = Call(Global("collections", "OrderedDict"), [[key, 1]])
    with pytest.raises(ValueError, match=words):
        read_state_dict(write_torch(path, {"a": items}, {}))


def test_keys_that_collide_are_refused(tmp_path):
    keys = {(2**61 - 1) * (n + 1) << 3: n for n in range(3000)}
    path = write_torch(tmp_path / "a.pth", {"model": keys}, {})
    with pytest.raises(ValueError, match="more things than a file of this kind has"):
        read_state_dict(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_inside_the_pickle_are_passed_over(tmp_path, protocol, monkeypatch):
    monkeypatch.setattr("cdcd_jax.reading.pickles.MAX_BYTES", 100_000)
    tree = {
        "sigma": np.random.default_rng(0).normal(size=(200, 200)),
        "state_dict": {"w": tensor("FloatStorage", "0", (2,), (1,), 2)},
        "noted": "a" * 300_000,
    }

    path = tmp_path / "a.pth"
    write_torch(path, tree, {"0": np.float32([1, 2])}, protocol=protocol)
    np.testing.assert_array_equal(read_state_dict(path, "state_dict")["w"], [1, 2])


def test_a_wrong_checksum_of_the_pickle_is_named(checkpoint):
    data = bytearray(checkpoint.read_bytes())
    place = data.index(b"PK\1\2") + 16
    data[place] ^= 1
    checkpoint.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged pickle.*Bad CRC-32"):
        read_state_dict(checkpoint, "state_dict")


def test_a_truncated_torch_file_says_so(checkpoint):
    whole = checkpoint.read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 1):
        checkpoint.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"model.pth is not a complete PyTorch zip checkpoint"):
            read_state_dict(checkpoint, "model")
    checkpoint.write_bytes(b"")
    with pytest.raises(ValueError, match=r"model.pth is not a checkpoint of PyTorch: it is empty"):
        read_state_dict(checkpoint, "model")


def test_damaged_contents_are_named(tmp_path):
    good = {"w": tensor("FloatStorage", "0", (6,), (1,), 6)}
    short = write_torch(tmp_path / "short.pth", good, {"0": np.zeros(5, np.float32)})
    with pytest.raises(ValueError, match="storage 0 has 20 bytes of 24"):
        read_state_dict(short)
    outside = {"w": tensor("FloatStorage", "0", (7,), (1,), 6)}
    with pytest.raises(ValueError, match="exceeds its storage"):
        read_state_dict(write_torch(tmp_path / "o.pth", outside, {"0": np.zeros(6, np.float32)}))
    with pytest.raises(ValueError, match="big-endian"):
        read_state_dict(write_torch(tmp_path / "b.pth", good, {}, byteorder=b"big"))
    garbage = tmp_path / "garbage.pth"
    with zipfile.ZipFile(garbage, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00(X")
    with pytest.raises(ValueError, match=r"garbage.pth"):
        read_state_dict(garbage)
    other = tmp_path / "other.pth"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(ValueError, match=r"not one that torch\.save wrote"):
        read_state_dict(other)


def test_npz_and_safetensors(tmp_path):
    arrays = {"a.weight": np.arange(4, dtype=np.float32), "b": np.array(3)}
    np.savez(tmp_path / "x.npz", **arrays)
    save_file(arrays, tmp_path / "x.safetensors")
    for name in ("x.npz", "x.safetensors"):
        state = read_state_dict(tmp_path / name)
        assert set(state) == set(arrays)
        np.testing.assert_array_equal(state["a.weight"], arrays["a.weight"])
        damaged = tmp_path / f"damaged{name}"
        damaged.write_bytes((tmp_path / name).read_bytes()[:60])
        with pytest.raises(ValueError, match=f"damaged{name} is not a complete"):
            read_state_dict(damaged)
    np.savez(tmp_path / "object.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"not a complete .npz file of arrays"):
        read_state_dict(tmp_path / "object.npz")
    with pytest.raises(FileNotFoundError, match=r"missing.npz"):
        read_state_dict(tmp_path / "missing.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    one = (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(
        ValueError, match=r"one.npz is not a complete .npz file .* one array without"
    ):
        read_state_dict(one)


def test_compressed_zeros_are_read_and_what_is_no_array_of_numbers_is_left(tmp_path):
    path, zeros = tmp_path / "a.npz", np.zeros((2**14, 2**10 + 1), np.float32)
    np.savez_compressed(path, w=zeros, saved=np.array([{"lr": 1}]), when=np.datetime64("now"))
    assert max(2**26, 100 * path.stat().st_size) < zeros.nbytes
    state = read_state_dict(path)
    assert list(state) == ["w"]
    assert state["w"].shape == zeros.shape


def test_arrays_by_numbers_and_odd_shapes_are_refused(tmp_path):
    storages = {"0": np.zeros(6, np.float32)}
    numbered = {"model": {0: tensor("FloatStorage", "0", (6,), (1,), 6)}}
    path = write_torch(tmp_path / "a.pth", numbered, storages)
    with pytest.raises(ValueError, match=r"a.pth holds an array by 0, which is not a name"):
        read_state_dict(path, "model")
    for shape, stride, offset in (((6.0,), (1,), 0), ((True,), (1,), 0), ((6,), (1,), 0.0)):
        odd = {"w": tensor("FloatStorage", "0", shape, stride, 6, offset)}
        with pytest.raises(ValueError, match=r"a.pth describes a tensor .* not all whole numbers"):
            read_state_dict(write_torch(path, odd, storages))


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors"])
def test_weights_must_be_finite_floating_point_numbers(tmp_path, name):
    path = tmp_path / name
    arrays = {"whole": np.arange(3), "yes": np.array([True]), "f": np.float16([1, 2]),
              "nan": np.float32([1, np.nan]), "table": np.float64([[1, 2], [3, 4]]).T}  # fmt: skip
    np.savez(path, **arrays) if path.suffix == ".npz" else save_file(
        {key: np.ascontiguousarray(array) for key, array in arrays.items()}, path
    )
    state = open_state_dict(path)
    np.testing.assert_array_equal(read_floats(state, "f"), np.float32([1, 2]))
    np.testing.assert_array_equal(read_floats(state, "table"), np.float32([[1, 3], [2, 4]]))
    for key, kind in (("whole", "int64"), ("yes", "bool")):
        with pytest.raises(ValueError, match=f"{name} holds {key} as {kind}, but weights must"):
            read_floats(state, key)
    with pytest.raises(ValueError, match=f"{name} holds nan, of which 1 of 2 numbers are NaN"):
        read_floats(state, "nan")


FOREIGN = {"F8_E4M3": 2, "F8_E5M2": 2, "F8_E8M0": 2, "F8_E5M2FNUZ": 2, "F4": 1}


@pytest.mark.parametrize("dtype", FOREIGN)
def test_a_type_that_numpy_lacks_is_refused_only_where_it_is_read(tmp_path, dtype):
    path, count = tmp_path / "a.safetensors", FOREIGN[dtype]
    head = {
        "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "q": {"dtype": dtype, "shape": [2], "data_offsets": [8, 8 + count]},
        "__metadata__": {"format": FORMAT},
    }
    text = json.dumps(head).encode()
    numbers = np.ones(2, np.float32).tobytes() + bytes(count)
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    state = open_state_dict(path)
    assert read_floats(state, "w").tolist() == [1, 1]
    assert state["q"].shape == (2,)
    says = rf"a\.safetensors holds q as {dtype}, which is not supported; convert it"
    for read in (
        lambda: read_floats(state, "q"), lambda: np.asarray(state["q"]),
        lambda: read_state_dict(path), lambda: read_arrays(path, FORMAT),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            read()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64, np.complex64])
def test_types_of_numpy_that_are_no_weights_are_read(tmp_path, dtype):
    save_file({"w": np.arange(3).astype(dtype)}, tmp_path / "a.safetensors")
    state = open_state_dict(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(np.asarray(state["w"]), np.arange(3).astype(dtype))
    with pytest.raises(ValueError, match=r"holds w as .*, but weights must be floating-point"):
        read_floats(state, "w")


def test_a_long_head_of_texts_is_read_and_one_of_many_values_is_refused(tmp_path):
    path, arrays = tmp_path / "a.safetensors", {"w": np.ones(2, np.float32)}
    save_file(arrays, path, metadata={"tags": "a" * 9_000_000})
    assert set(read_state_dict(path)) == {"w"}
    head = b"[" + b"[]," * 3_000_000 + b"[]]"
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(ValueError, match="far more lists, objects or numbers than text"):
        read_state_dict(path)


def test_endings_are_read_in_capitals_too(tmp_path):
    arrays = {"w": np.arange(3, dtype=np.float32)}
    np.savez(tmp_path / "m.npz", **arrays)
    save_file(arrays, tmp_path / "m.safetensors")
    for name in ("m.npz", "m.safetensors"):
        path = (tmp_path / name).rename(tmp_path / name.upper())
        np.testing.assert_array_equal(read_state_dict(path)["w"], arrays["w"])
