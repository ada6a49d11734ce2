"""Every file of a published network is read before training, and what is wrong with it is named."""

import gzip
import re

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cdcd_jax.evaluation.metrics import pretrained
from cdcd_jax.evaluation.metrics.pretrained import check_networks
from cdcd_jax.interop.frozen import Layer, frozen_from_state_dict
from cdcd_jax.interop.tiny_clip import merge_words, write_clip, write_merges
from cdcd_jax.interop.torch_writer import write_torch
from cdcd_jax.models.features.layers import FrozenNetwork

SIZES = {"inception": (2, 5), "resnet": (3, 4)}


def state_of(name):
    """Make arrays of a small network that stands for InceptionV3 or ResNet-101."""
    return {
        f"{name}{size}.{kind}": np.ones(((size, 300), size)[kind == "bias"], np.float32)
        for size in SIZES[name]
        for kind in ("weight", "bias")
    }


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    for name, sizes in SIZES.items():
        layers = {
            f"{name}{size}": {"kernel": jnp.ones((300, size)), "bias": jnp.ones(size)}
            for size in sizes
        }
        network = FrozenNetwork(lambda key, layers=layers: layers, None)
        monkeypatch.setattr(pretrained, f"make_{name}", lambda network=network: network)

        def convert(state, layout, name=name, layers=layers):
            names = {layer: Layer(layer) for layer in layers}
            return frozen_from_state_dict(state, names, layout, network=f"the {name}")

        module = {"inception": "inception_names", "resnet": "resnet_names"}[name]
        monkeypatch.setattr(getattr(pretrained, module), f"{name}_from_torch", convert)


def empty(path, other):
    path.write_bytes(b"")


def truncated(path, other):
    path.write_bytes(path.read_bytes()[:-2000])


def changed(path, other):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swapped(path, other):
    path.write_bytes(other.read_bytes())


def diverged(path, other):
    state = state_of(path.stem)
    state[next(iter(state))][0, 0] = np.nan
    write_torch(path, state)


def words(path, other):
    path.write_text("no weights here")


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (empty, "is not a checkpoint of PyTorch: it is empty"),
        (truncated, "is not a complete PyTorch"),
        (changed, "is damaged in its storage"),
        (swapped, "has no (inception|resnet)"),
        (diverged, "NaN or infinite"),
        (words, "is not a checkpoint of PyTorch: it begins with b'no w'"),
    ],
)
def test_a_spoiled_network_is_named(tmp_path, name, spoil, reason):
    paths = {each: tmp_path / f"{each}.pth" for each in SIZES}
    for each, path in paths.items():
        write_torch(path, state_of(each))
    check_networks({f"{each}_weights": str(path) for each, path in paths.items()}, num_classes=1000)
    (other,) = (path for each, path in paths.items() if each != name)
    spoil(paths[name], other)
    with pytest.raises(ValueError, match=rf"^{name}_weights = .*{name}\.pth cannot be") as caught:
        check_networks({f"{name}_weights": str(paths[name])})
    assert re.search(reason, str(caught.value))


def test_classes_that_are_not_imagenets_are_named(tmp_path):
    write_torch(tmp_path / "resnet.pth", state_of("resnet"))
    with pytest.raises(ValueError, match=r"resnet_weights know ImageNet's 1000 classes, but the"):
        check_networks({"resnet_weights": str(tmp_path / "resnet.pth")}, num_classes=10)


@pytest.fixture
def clip(tmp_path):
    weights, merges = tmp_path / "clip.safetensors", tmp_path / "merges.txt.gz"
    pairs = merge_words(["a", "red", "square"])
    write_merges(merges, pairs)
    write_clip(weights, vocab_size=514 + len(pairs))
    return {"clip_weights": str(weights), "clip_merges": str(merges)}


def test_clip_and_its_merges_pass(clip):
    check_networks(clip, any_clip=True)
    with pytest.raises(ValueError, match=r"clip_weights: .* is not CLIP ViT-B/32"):
        check_networks(clip)


def no_image_tower(path):
    arrays = load_file(path)
    save_file({name: a for name, a in arrays.items() if name.startswith("text")}, path)


def nan_inside(path):
    arrays = load_file(path)
    arrays["text_projection.weight"][0, 0] = np.inf
    save_file(arrays, path)


def cut(path):
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])


def cleared(path):
    with open(path, "wb"):
        pass


def short(path):
    with gzip.open(path, "wt") as file:
        file.write("#version\na b\n")


@pytest.mark.parametrize(
    ("key", "spoil", "reason"),
    [
        ("clip_weights", cut, "complete safetensors"),
        ("clip_weights", cleared, "complete safetensors"),
        ("clip_weights", no_image_tower, "no image tower"),
        ("clip_weights", nan_inside, "NaN or infinite"),
        ("clip_merges", cut, "is not a complete list of merges"),
        ("clip_merges", cleared, "merges of the"),
        ("clip_merges", short, "merges of the"),
    ],
)
def test_a_spoiled_clip_is_named(clip, key, spoil, reason):
    spoil(clip[key])
    with pytest.raises(ValueError, match=rf"^{key}: .*{reason}"):
        check_networks(clip, any_clip=True)


def test_clip_without_its_merges_is_named(clip):
    with pytest.raises(ValueError, match="clip_merges is not given"):
        check_networks(clip | {"clip_merges": None}, any_clip=True)
