"""Where parameters, their average and moments go; meshes and rules that cannot be."""

import math

import jax
import jax.numpy as jnp
import pytest

from cdcd_jax.distributed.mesh import (
    batch_share,
    bytes_per_device,
    check_batch_size,
    make_mesh,
    split_batch,
)
from cdcd_jax.distributed.partition import by_name, check_use, shard_params
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import abstract_state, init_state, shard_state

KERNEL = {"kernel": (2, 8, 16), "bias": (2, 16)}
SHAPES = {
    "denoiser": {
        "mlp": {"expand": KERNEL, "contract": {"kernel": (2, 16, 8), "bias": (2, 8)}},
        "attention": {"query": {"kernel": (2, 8, 8), "bias": (2, 8)}},
        "conv": {"expand": {"kernel": (3, 3, 8, 16), "bias": (16,)}},
        "norm": {"scale": (2, 8), "bias": (2, 8)},
        "embedding": (17, 8),
        "odd": (3, 5),
    }
}


def zeros(_=None):
    return jax.tree.map(jnp.zeros, SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def fresh():
    optimizer = make_optimizer(lr=1e-3, num_steps=9)
    return init_state(jax.random.key(0), zeros, optimizer, {"seen": jnp.zeros(64)})


@pytest.fixture
def mesh():
    return make_mesh(jax.devices()[:8], fsdp=2, tensor=2)


def test_the_rules_put_heads_and_hidden_features_over_tensor_and_the_rest_over_fsdp(mesh):
    specs = {name: tuple(leaf.spec) for name, leaf in by_name(shard_params(zeros(), mesh)).items()}
    assert specs == {
        "denoiser.mlp.expand.kernel": (None, "fsdp", "tensor"),
        "denoiser.mlp.expand.bias": (None, "tensor"),
        "denoiser.mlp.contract.kernel": (None, "tensor", "fsdp"),
        "denoiser.mlp.contract.bias": (None, None),
        "denoiser.attention.query.kernel": (None, "fsdp", "tensor"),
        "denoiser.attention.query.bias": (None, "tensor"),
        "denoiser.conv.expand.kernel": (None, None, "fsdp", "tensor"),
        "denoiser.conv.expand.bias": ("tensor",),
        "denoiser.norm.scale": (None, None),
        "denoiser.norm.bias": (None, None),
        "denoiser.embedding": (None, "fsdp"),
        "denoiser.odd": (),
    }


def test_moments_and_the_average_lie_where_their_parameters_do(mesh):
    shardings = shard_state(jax.eval_shape(fresh), mesh)
    params = by_name(shardings.params)
    assert by_name(shardings.ema_params) == params
    moments = by_name(shardings.opt_state)
    for name, sharding in params.items():
        found = [own for path, own in moments.items() if path.endswith("." + name)]
        assert found == [sharding, sharding], name  # first and second moment
    assert all(x.is_fully_replicated for x in jax.tree.leaves((shardings.stats, shardings.key)))


def test_a_state_split_eight_ways_takes_an_eighth_of_the_bytes():
    def size(mesh, part):
        state = abstract_state(fresh, shard_state(jax.eval_shape(fresh), mesh))
        return bytes_per_device(getattr(state, part))

    whole, split = make_mesh(jax.devices()[:1]), make_mesh(jax.devices()[:8], fsdp=8)
    shapes = {name: leaf.shape for name, leaf in by_name(zeros()).items()}
    unsplit = sum(math.prod(s) for n, s in shapes.items() if n.endswith(("bias", "scale", "odd")))
    total = sum(math.prod(shape) for shape in shapes.values())
    assert size(whole, "params") == 4 * total
    assert size(split, "params") == 4 * ((total - unsplit) // 8 + unsplit)
    assert size(split, "ema_params") == size(split, "params")
    assert size(split, "opt_state") - 2 * size(split, "params") < 64  # counters


def test_rules_of_a_configuration_come_first(mesh):
    rules = (("embedding", (None, None)), (r"odd$", ()))
    found = by_name(shard_params(zeros(), mesh, rules))
    assert tuple(found["denoiser.embedding"].spec) == (None, None)
    assert tuple(found["denoiser.mlp.expand.kernel"].spec) == (None, "fsdp", "tensor")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (("decoder", ("fsdp",)), r'"decoder" matches no parameter; .* "denoiser\.conv'),
        (("embedding", ("fsdp", None)), r"an axis of 17 of denoiser\.embedding .* fsdp = 2"),
        (("embedding", ("model",)), 'names the axis "model"; there are data, fsdp, tensor'),
        (("odd", (None, None, None)), r"names 3 axes, but denoiser\.odd has the shape \(3, 5\)"),
        (("odd(", (None,)), 'rules: "odd\\(" is not a regular expression'),
    ],
)
def test_a_rule_that_cannot_be_is_named(mesh, rule, message):
    with pytest.raises(ValueError, match=message) as caught:
        shard_params(zeros(), mesh, (rule,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"fsdp": 3}, "fsdp = 3 x tensor = 1 does not divide the 8 devices"),
        ({"data": 2, "tensor": 2}, "data = 2 x fsdp = 1 x tensor = 2 is 4, but there are 8"),
        ({"tensor": 0}, "tensor = 0 must be at least 1"),
    ],
)
def test_a_mesh_that_does_not_divide_is_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(jax.devices()[:8], **sizes)


def test_an_axis_that_splits_nothing_is_named():
    mesh = make_mesh(jax.devices()[:3], tensor=3)
    shardings = shard_state(jax.eval_shape(fresh), mesh)  # as good as any for a codec
    with pytest.raises(ValueError, match="tensor = 3 divides no parameter"):
        check_use(shardings.params, mesh)


def test_devices_along_tensor_share_their_part_of_the_batch(mesh):
    check_batch_size(4, mesh)
    with pytest.raises(ValueError, match=r"on each of 4 groups of 2 devices; take 4 or 8"):
        check_batch_size(6, mesh)
    rows = jax.device_put(jnp.arange(8), split_batch(mesh))
    assert sorted(shard.data.tolist() for shard in rows.addressable_shards) == sorted(
        2 * [[0, 1], [2, 3], [4, 5], [6, 7]]
    )
    assert batch_share(mesh) == (0, 1)
