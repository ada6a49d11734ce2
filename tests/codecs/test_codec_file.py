"""A codec's file: what was written comes back, atomically."""

import json

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from cdcd_jax.codecs import codec_file
from cdcd_jax.codecs.codec_file import load_vqgan, save_vqgan
from tests.support.published_vqgan import load_procedural

OPTIONS = {
    "image_size": 4, "channels": 4, "multipliers": (1, 2), "num_res_blocks": 1,
    "attention_resolutions": (2,), "latent_dim": 4, "code_dim": 2, "num_codes": 7,
    "quantizer": "gumbel", "compute_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return load_procedural(OPTIONS, 0)


def test_there_and_back(tmp_path, network):
    vqgan, params = network
    used = np.array([4, 2], np.int32)
    for path, codes in ((tmp_path / "new" / "a.safetensors", None), (tmp_path / "b", used)):
        save_vqgan(path, params, vqgan.options, codes)
        again, options, used_again = load_vqgan(path)
        assert options == vqgan.options
        assert jax.tree.structure(again) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, again, params)
        np.testing.assert_array_equal(used_again, codes)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b", "new"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path, network, monkeypatch):
    vqgan, params = network
    path = tmp_path / "codec.safetensors"
    save_vqgan(path, params, vqgan.options)
    before = path.read_bytes()

    def full(arrays, name, metadata):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(codec_file, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_vqgan(path, params, vqgan.options)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_whole_codec_is_named(tmp_path, network):
    vqgan, params = network
    good = tmp_path / "good.safetensors"
    save_vqgan(good, params, vqgan.options)
    with safe_open(good, framework="numpy") as file:
        metadata = file.metadata()
    arrays = load_file(good)
    bad = tmp_path / "bad.safetensors"

    def refused(message):
        with pytest.raises(ValueError, match=message):
            load_vqgan(bad)

    bad.write_bytes(good.read_bytes()[:-10])
    refused(r"bad.safetensors is not a complete safetensors file")
    save_file(arrays, bad)
    refused(r"bad.safetensors is not a codec of this package")
    name = "decoder/last/bias"
    save_file({key: array for key, array in arrays.items() if key != name}, bad, metadata=metadata)
    refused(rf"{name} has the shape None, but \(3,\) is needed")
    save_file(arrays | {"stray": np.zeros(1)}, bad, metadata=metadata)
    refused(r"stray has the shape \(1,\), but None is needed")
    options = json.dumps(json.loads(metadata["options"]) | {"colour": 1})
    save_file(arrays, bad, metadata=metadata | {"options": options})
    refused("written by another version of this package: .*colour")
    with pytest.raises(FileNotFoundError, match=r"missing.safetensors"):
        load_vqgan(tmp_path / "missing.safetensors")
