"""Checkpoints with a trainer's state: its classes become inert, and only what is wanted is read."""

import collections
import tracemalloc
import zipfile

import numpy as np
import pytest
from test_clip import ArchivePickler, Object

from cdcd_jax.interop import read_state_dict
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.interop.vqgan import read_vqgan
from tests.interop.test_state_dict import Call, Global, tensor, write_torch

NUMBERS = np.arange(6, dtype=np.float32)
CALLBACK = "pytorch_lightning.callbacks.model_checkpoint"


def numpy_scalar(value):
    """Write a NumPy scalar as pickle does: a call with a dtype, which is a call with a state."""
    dtype = Call(Global("numpy", "dtype"), "f8", 0, 1)
    data = Call(Global("_codecs", "encode"), "\x00" * 8, "latin1")
    return Call(Global("numpy.core.multiarray", "scalar"), dtype, data)


def write_lightning(path, state, storages, **more):
    """Write what Lightning's trainer saves: its callbacks by class, optimizer, settings."""
    moments = tensor("FloatStorage", "moments", (6,), (1,), 6)
    tree = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "1.0.8",
        "callbacks": {
            Global(CALLBACK, "ModelCheckpoint"): {
                "best_model_score": numpy_scalar(0.5),
                "monitor": "val/rec_loss",
                "dirpath": Call(Global("pathlib", "PosixPath"), "/", "logs"),
            }
        },
        "optimizer_states": [{"state": {0: {"exp_avg": moments, "step": numpy_scalar(1.0)}}}],
        "lr_schedulers": [],
        "state_dict": state,
        "hparams_name": "kwargs",
        "hyper_parameters": Object(
            "pytorch_lightning.utilities.parsing", "AttributeDict", {"a": 1}
        ),
        **more,
    }
    return write_torch(path, tree, storages, pickler=ArchivePickler)


def test_only_the_wanted_entry_of_a_lightning_checkpoint_is_read(tmp_path):
    state = {
        "encoder.conv_in.weight": tensor("FloatStorage", "0", (2, 3), (3, 1), 6),
        "loss.discriminator.weight": tensor("FloatStorage", "1", (6,), (1,), 6),
    }
    # The optimizer's moments and the discriminator are not in the file: nobody looks for them.
    path = write_lightning(tmp_path / "last.ckpt", state, {"0": NUMBERS})
    found = open_state_dict(path, "state_dict")
    assert found.keys() == state.keys()
    assert found["loss.discriminator.weight"].shape == (6,)
    np.testing.assert_array_equal(found["encoder.conv_in.weight"], NUMBERS.reshape(2, 3))
    with pytest.raises(ValueError, match=r"truncated: its storage 1 has 0 bytes of 24"):
        np.asarray(found["loss.discriminator.weight"])
    assert read_vqgan(path).keys() == state.keys()


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "exec"), ("subprocess", "call")]
)
def test_whatever_a_pickle_does_with_an_unknown_name_runs_nothing(tmp_path, module, name):
    witness = tmp_path / "witness"
    command = f"touch {witness}" if module != "builtins" else f"open({str(witness)!r}, 'w')"
    called = Call(Global(module, name), command)
    everything = [
        called,
        Call(called, command),  # the result of a call, called
        Object(module, name, {"__setstate__": command, "__class__": command}),
        Call(Global("builtins", "getattr"), called, "__call__"),
        {Global(module, name): 1},
    ]
    wanted = {"w": tensor("FloatStorage", "0", (6,), (1,), 6)}
    path = write_lightning(tmp_path / "a.ckpt", wanted, {"0": NUMBERS}, extra=everything)
    np.testing.assert_array_equal(read_state_dict(path, "state_dict")["w"], NUMBERS)
    for item in (*everything[:-1], Global(module, name)):
        inside = write_lightning(tmp_path / "b.ckpt", wanted | {"x": item}, {"0": NUMBERS})
        with pytest.raises(ValueError, match=rf"b.ckpt imports (builtins|{module})\."):
            read_state_dict(inside, "state_dict")
    assert not witness.exists()


def test_stand_ins_swallow_what_pickles_put_into_objects(tmp_path):
    # append, extend, add and items of lists, sets and dicts of unknown classes, opcode by opcode.
    kind = b"cfoo\nBar\n"
    pieces = [
        kind + b")\x81(K\x01K\x02e",  # NEWOBJ, APPENDS
        kind + b")\x81K\x01a",  # APPEND
        kind + b")\x81(K\x01K\x02u",  # SETITEMS
        kind + b")\x81(K\x01\x90",  # ADDITEMS
        kind + b")R}(K\x01K\x02ub",  # REDUCE, BUILD
        b"(K\x01ifoo\nBar\n",  # INST
        b"(" + kind + b"K\x01o",  # OBJ
    ]
    for piece in pieces:
        path = tmp_path / "a.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x04}(X\x01\x00\x00\x00a" + piece + b"u.")
        with pytest.raises(ValueError, match=r"a.pth imports foo.Bar, which is neither"):
            read_state_dict(path)


def test_a_damaged_pickle_is_named_and_takes_no_memory(tmp_path):
    path = tmp_path / "a.ckpt"

    def refused(pickled):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", pickled)
        with pytest.raises(ValueError, match=r"a.ckpt .*has a damaged pickle"):
            read_state_dict(path, "state_dict")

    refused(b"\x80\x02}r\xff\xff\xff\xff.")  # an object with the number 2^32 - 1
    refused(b"\x80\x05\x96" + b"\xff" * 7 + b"\x00.")  # bytes of that length
    refused(b"\x80\x63}.")  # protocol 99
    refused(b"\x80\x02\x82\x01.")  # an extension code
    refused(b"\x80\x02}")  # no end
    state = {"w": tensor("FloatStorage", "0", (6,), (1,), 6)}
    write_lightning(tmp_path / "whole.ckpt", state, {"0": NUMBERS})
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as archive:
        whole = bytearray(archive.read("archive/data.pkl"))
    random = np.random.default_rng(0)
    for _ in range(200):
        changed = whole.copy()
        changed[random.integers(len(whole))] = random.integers(256)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", bytes(changed))
            archive.writestr("a/data/0", NUMBERS.tobytes())
        try:
            read_state_dict(path, "state_dict")
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - most changes are harmless


def test_a_bare_file_and_a_prefix_that_all_names_share(tmp_path):
    def names(prefix):
        return {
            f"{prefix}encoder.conv_in.weight": tensor("FloatStorage", "0", (6,), (1,), 6),
            f"{prefix}quant_conv.bias": tensor("FloatStorage", "0", (2,), (1,), 6, offset=4),
        }

    for prefix in ("", "module.", "module.module."):
        bare = write_torch(tmp_path / "bare.pth", names(prefix), {"0": NUMBERS})
        for entry in (None, "state_dict", ("model", "state_dict")):
            found = read_state_dict(bare, entry)
            assert list(found) == ["encoder.conv_in.weight", "quant_conv.bias"]
            np.testing.assert_array_equal(found["quant_conv.bias"], [4, 5])
        for entry in ("state_dict", "model"):
            path = write_torch(tmp_path / "a.ckpt", {entry: names(prefix)}, {"0": NUMBERS})
            assert list(read_vqgan(path)) == ["encoder.conv_in.weight", "quant_conv.bias"]
    shared = write_torch(tmp_path / "b.ckpt", names("first_stage.net."), {"0": NUMBERS})
    assert list(read_vqgan(shared)) == ["encoder.conv_in.weight", "quant_conv.bias"]
    partly = names("module.") | names("")
    path = write_torch(tmp_path / "partly.ckpt", partly, {"0": NUMBERS})
    assert list(read_state_dict(path)) == list(partly)


def test_a_damaged_storage_is_named_when_it_is_read(tmp_path):
    path = tmp_path / "a.pth"
    write_torch(path, {"w": tensor("FloatStorage", "0", (6,), (1,), 6)}, {"0": NUMBERS})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(NUMBERS.tobytes(), (NUMBERS + 1).tobytes()))
    with pytest.raises(ValueError, match=r"a.pth is damaged in its storage 0: Bad CRC-32"):
        read_state_dict(path)
    strange = {"w": tensor("ComplexFloatStorage", "0", (6,), (1,), 6)}
    write_torch(path, strange, {"0": NUMBERS})
    with pytest.raises(ValueError, match=r"imports torch.ComplexFloatStorage"):
        read_state_dict(path)
    huge = {"w": tensor("FloatStorage", "0", (10**12,), (0,), 6)}
    with pytest.raises(ValueError, match=r"describes a tensor \(10+,\) that exceeds its storage"):
        read_state_dict(write_torch(path, huge, {"0": NUMBERS}))


def test_no_more_memory_than_what_is_wanted(tmp_path):
    numbers = np.ones(1_000_000, np.float32)
    keys = [str(index) for index in range(8)]

    def tensors(keys):
        return {key: tensor("FloatStorage", key, (1000, 1000), (1000, 1), 10**6) for key in keys}

    path = write_lightning(
        tmp_path / "a.ckpt", tensors(keys[:3]), dict.fromkeys(keys, numbers),
        optimizer=[tensors(keys[3:])],
    )  # fmt: skip
    tracemalloc.start()
    state = read_state_dict(path, "state_dict")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    wanted = sum(array.nbytes for array in state.values())
    assert wanted == 3 * numbers.nbytes
    assert peak < 1.2 * wanted + 2e6


def test_a_state_dict_with_attributes_is_an_ordered_dict(tmp_path):
    state = Object("collections", "OrderedDict", {"_metadata": {}})
    path = write_torch(tmp_path / "a.pth", {"model": state}, {}, pickler=ArchivePickler)
    with pytest.raises(ValueError, match="holds no arrays by name in 'model'"):
        read_state_dict(path, "model")
    assert not hasattr(collections.OrderedDict, "_metadata")
