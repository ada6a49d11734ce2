"""The published codecs' names: every one is known, and what does not fit is named."""

import json

import jax
import numpy as np
import pytest

from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.interop.vqgan import (
    read_used_codes,
    used_codes,
    vqgan_from_state_dict,
    vqgan_to_state_dict,
)
from tests.interop.test_state_dict import tensor, write_torch
from tests.support.golden_files import find_golden
from tests.support.published_vqgan import F8, F16, TINY, names_and_shapes, template


@pytest.mark.parametrize(
    ("file", "options"), [("vqgan_imagenet_f16_16384", F16), ("taming_f8_8192_openimages", F8)]
)
def test_every_published_name_and_shape_has_its_place(file, options):
    published = json.loads(find_golden("state_dict_keys.json").read_text())["keys"]
    theirs = next(keys for name, keys in published.items() if name.startswith(file))
    ours = names_and_shapes(make_vqgan(**options))
    assert {name: list(shape) for name, shape in ours.items()} == {
        name: shape for name, (shape, _) in theirs.items()
    }


@pytest.fixture(scope="module")
def small():
    options = TINY | {"channels": 4, "multipliers": (1, 2, 1), "image_size": 16, "num_codes": 9}
    vqgan = make_vqgan(**options)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), template(vqgan))
    return vqgan, jax.tree.map(np.float32, params)


def test_there_and_back(small):
    vqgan, params = small
    state = vqgan_to_state_dict(params) | {"loss.discriminator.main.0.weight": np.zeros(3)}
    again = vqgan_from_state_dict(state, template(vqgan))
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_what_does_not_fit_is_named(small):
    vqgan, params = small
    state = vqgan_to_state_dict(params)
    key = "decoder.up.1.block.0.conv1.weight"

    def load(state):
        return vqgan_from_state_dict(state, template(vqgan))

    with pytest.raises(ValueError, match=f"has no {key}, which the codec needs"):
        load({name: array for name, array in state.items() if name != key})
    with pytest.raises(ValueError, match=rf"{key} has the shape \(8, 5, 3, 3\), .* \(8, 4, 3, 3\)"):
        load(state | {key: np.zeros((8, 5, 3, 3))})
    with pytest.raises(ValueError, match=r"1 arrays .* no place for, such as encoder.down.7.x"):
        load(state | {"encoder.down.7.x": np.zeros(1)})


def test_the_map_to_used_codes_is_read_from_both_kinds_of_file(tmp_path):
    table = np.array([0, 0, 2, 0, 1, 3])
    np.save(tmp_path / "map.npy", table)
    tree = tensor("LongStorage", "0", (6,), (1,), 6)
    write_torch(tmp_path / "map.pt", tree, {"0": table})
    for name in ("map.npy", "map.pt"):
        assert read_used_codes(tmp_path / name).tolist() == [0, 4, 2, 5]
    np.save(tmp_path / "gap.npy", np.array([0, 2, 0]))
    with pytest.raises(ValueError, match=r"gap.npy is not a map to the used codes: .* largest, 2"):
        read_used_codes(tmp_path / "gap.npy")
    with pytest.raises(ValueError, match="one list of whole numbers"):
        used_codes(np.zeros((2, 2), int))
    with pytest.raises(FileNotFoundError, match=r"missing.pt"):
        read_used_codes(tmp_path / "missing.pt")
