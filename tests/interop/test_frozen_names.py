"""The published files of frozen networks: every name has its place, what does not fit is named."""

import jax
import numpy as np
import pytest

from cdcd_jax.interop.frozen import Layer, frozen_from_state_dict
from cdcd_jax.interop.inception import LAYERS, inception_from_torch
from cdcd_jax.interop.lpips import lpips_from_torch
from cdcd_jax.interop.torchvision import resnet_from_torch, resnet_layers
from cdcd_jax.models.features.inception import make_inception
from cdcd_jax.models.features.lpips import make_lpips
from cdcd_jax.models.features.resnet import make_resnet
from tests.support.procedural import layout_of


def template(network):
    return jax.eval_shape(network.init, jax.random.key(0))


def names_of(layers):
    ends = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for layer in layers.values():
        yield f"{layer.name}.weight"
        yield from (
            [f"{layer.name}.bias"]
            if layer.norm is None
            else (f"{layer.norm}.{end}" for end in ends)
        )


def test_the_tables_are_the_published_names(golden):
    inception = layout_of(golden("features/inception.npz"))
    assert sorted(names_of(LAYERS)) == sorted(inception)
    resnet = layout_of(golden("features/resnet101.npz"))
    assert sorted(names_of(resnet_layers(template(make_resnet())))) == sorted(resnet)


def test_a_norm_is_folded_into_what_is_before_it():
    rng = np.random.default_rng(0)
    state = {
        "conv.weight": rng.normal(size=(4, 3, 1, 1)),
        "bn.weight": rng.uniform(size=4),
        "bn.bias": rng.normal(size=4),
        "bn.running_mean": rng.normal(size=4),
        "bn.running_var": rng.uniform(size=4),
        "bn.num_batches_tracked": np.array(7),
    }
    layout = {"first": {"kernel": np.zeros((1, 1, 3, 4)), "bias": np.zeros(4)}}
    params = frozen_from_state_dict(
        state, {"first": Layer("conv", "bn")}, layout, network="it", epsilon=0.5
    )
    x = rng.normal(size=(5, 3))
    y = x @ state["conv.weight"][:, :, 0, 0].T
    y = (y - state["bn.running_mean"]) / np.sqrt(state["bn.running_var"] + 0.5)
    y = y * state["bn.weight"] + state["bn.bias"]
    ours = x @ params["first"]["kernel"][0, 0] + params["first"]["bias"]
    np.testing.assert_allclose(ours, y, rtol=1e-5)


@pytest.fixture
def small():
    """A ResNet of one block a stage, all zeros, in torchvision's names."""
    layout = template(make_resnet(blocks=(1, 1, 1, 1), num_classes=5))
    state = {}
    for path, layer in resnet_layers(layout).items():
        leaf = layout
        for key in path.split("/"):
            leaf = leaf[int(key) if key.isdigit() else key]
        shape = leaf["kernel"].shape
        state[f"{layer.name}.weight"] = np.zeros((shape[-1], shape[-2], *shape[:-2]))
        vectors = ("weight", "bias", "running_mean", "running_var")
        for vector in vectors if layer.norm else ("bias",):
            state[f"{layer.norm or layer.name}.{vector}"] = np.zeros(shape[-1])
    return state, layout


def test_what_does_not_fit_is_named(small):
    state, layout = small
    resnet_from_torch(state, layout)
    name = "layer2.0.downsample.1.running_var"
    with pytest.raises(ValueError, match=f"has no {name}, which the ResNet needs"):
        resnet_from_torch({key: state[key] for key in state if key != name}, layout)
    more = {"layer1.1.conv1.weight": np.zeros(1), "layer1.1.conv2.weight": np.zeros(1)}
    with pytest.raises(ValueError, match=r"2 arrays .* no place for, such as layer1.1.conv1"):
        resnet_from_torch(state | more, layout)
    with pytest.raises(ValueError, match=r"fc has a kernel of shape \(2048, 9\), .* \(2048, 5\)"):
        resnet_from_torch(state | {"fc.weight": np.zeros((9, 2048))}, layout)
    narrow = {name: np.zeros(8) for name in state if name.startswith("bn1.")}
    with pytest.raises(ValueError, match=r"conv1 has \(64,\) features, but its norm bn1 has"):
        resnet_from_torch(state | narrow, layout)


def test_the_other_inception_is_refused():
    state = {"AuxLogits.fc.weight": np.zeros((1000, 768))}
    with pytest.raises(ValueError, match=r"give pt_inception-2015-12-05-6726825d.pth from https"):
        inception_from_torch(state, template(make_inception()))


def small_lpips(golden):
    data = golden("features/lpips_vgg16.npz")
    layouts = layout_of(data), layout_of(data, "lpips_layout")
    return [
        {name: np.full(shape, index, np.float32) for index, (name, shape) in enumerate(it.items())}
        for it in layouts
    ]


def test_lpips_from_two_files_or_from_one(golden):
    """The same weights under VGG16's names, under LPIPS's, and inside a codec's checkpoint."""
    vgg, whole = small_lpips(golden)
    layout = template(make_lpips())
    learned = {name: whole[name] for name in whole if name.startswith("lin") and name[3] != "s"}
    renamed = {name.split(".", 2)[2]: array for name, array in whole.items() if "slice" in name}
    both = lpips_from_torch(
        {f"features.{name}": array for name, array in renamed.items()}
        | {name: array for name, array in vgg.items() if name.startswith("classifier")}
        | learned,
        layout,
    )
    inside = {f"loss.perceptual_loss.{name}": array for name, array in whole.items()}
    codec = lpips_from_torch(inside | {"encoder.conv_in.weight": np.zeros(3)}, layout)
    one = lpips_from_torch(whole, layout)
    assert jax.tree.structure(one) == jax.tree.structure(layout)
    jax.tree.map(np.testing.assert_array_equal, both, one)
    jax.tree.map(np.testing.assert_array_equal, codec, one)
    assert one["stages"][2][1]["bias"][0] == whole["net.slice3.12.bias"][0]
    assert one["weights"][3][0] == whole["lin3.model.1.weight"].ravel()[0]


def test_half_of_lpips_is_refused(golden):
    vgg, whole = small_lpips(golden)
    layout = template(make_lpips())
    with pytest.raises(ValueError, match=r"no lin0.model.1.weight.* give vgg.pth \(https"):
        lpips_from_torch(vgg, layout)
    with pytest.raises(ValueError, match=r"no lin4.model.1.weight, which LPIPS"):
        lpips_from_torch({name: whole[name] for name in whole if "lin4" not in name}, layout)
    with pytest.raises(ValueError, match=r"no features.0.weight, which LPIPS"):
        lpips_from_torch({name: whole[name] for name in whole if "lin" in name}, layout)
