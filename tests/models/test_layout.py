"""A denoiser on eight devices: the same numbers, and of its activations only partial sums move."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.distributed.partition import shard_params
from cdcd_jax.models import make_denoiser
from cdcd_jax.models.layout import constrain, free_axes

# Examples, 2, 4 or 8 of them, are what nothing but activations has, beside 13 positions or 7
# features to attend to.
SMALL = {"vocab_size": 16, "num_steps": 4, "grid": (1, 13), "num_layers": 2, "width": 16,
         "num_heads": 4, "mlp_ratio": 2, "unroll": 1, "condition": "cross",
         "cond_dim": 12, "embedding_grid": (1, 16)}  # fmt: skip
BATCH = 8


@pytest.fixture
def mesh():
    return make_mesh(fsdp=2, tensor=2)


def example():
    zt = jax.random.randint(jax.random.key(1), (BATCH, 13), 0, 17)
    t = jax.random.randint(jax.random.key(2), (BATCH,), 1, 5)
    return zt, t, jax.random.normal(jax.random.key(3), (BATCH, 7, 12))


def moved(compiled):
    """Yield the kind and the shapes of each collective operation of a program."""
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    for line in compiled.as_text().splitlines():
        if found := re.search(rf"= (.*?) ({kinds})(?:-start)?\(", line):
            shapes = re.findall(r"\w\[([\d,]*)\]", found[1])
            yield found[2], [tuple(map(int, shape.split(","))) for shape in shapes if shape]


def is_activation(shape):
    """Say whether there are examples and positions, be they one axis of the array or two."""
    flat = any(size % 26 == 0 or size % 14 == 0 for size in shape)
    return flat or (len(shape) > 2 and (13 in shape or 7 in shape))


@pytest.mark.parametrize("mlp", ["linear", pytest.param("conv", marks=pytest.mark.slow)])
def test_only_sums_of_the_residual_stream_move_between_devices(mesh, mlp):
    network = make_denoiser(**SMALL, mlp=mlp)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0.0, 0.2, leaf.shape).astype("float32"),
        jax.eval_shape(network.init, jax.random.key(0)),
    )
    weight = jax.random.normal(jax.random.key(4), (BATCH, 13, 16))

    def step(params, *inputs):
        return jax.value_and_grad(lambda p: (network.apply(p, *inputs) * weight).sum())(params)

    def step_on_mesh(params, *inputs):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return step(params, *inputs)

    shardings = shard_params(params, mesh)
    split = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    compiled = (
        jax.jit(
            step_on_mesh,
            in_shardings=(shardings, split, split, split),
            out_shardings=(None, shardings),
        )
        .lower(params, *example())
        .compile()
    )
    operations = [
        (kind, shapes) for kind, shapes in moved(compiled) if any(map(is_activation, shapes))
    ]
    # The body of the scan over blocks stands there once. Forward, self-attention, cross-attention
    # and MLP end in a sum over heads or wide features each; backward they begin with one.
    assert [kind for kind, _ in operations] == ["all-reduce"] * 6
    residual = {(2, 1, 13, 16), (26, 16)}  # on each device: 2 examples of 13 positions
    assert {shape for _, shapes in operations for shape in shapes} <= residual
    values = jax.device_put((params, *example()), (shardings, split, split, split))
    value, grads = compiled(*values)
    one_value, one_grads = jax.jit(step)(params, *example())
    np.testing.assert_allclose(value, one_value, rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(one_grads))
    for ours, theirs in zip(jax.tree.leaves(grads), jax.tree.leaves(one_grads), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * largest)


def test_constrain_keeps_to_the_axes_that_are_free(mesh):
    def layouts(function, *shape):
        """Return how the compiler is told to split, as Shardy writes it."""
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            text = jax.jit(function).lower(jax.ShapeDtypeStruct(shape, jnp.float32)).as_text()
        return re.findall(r"sharding_constraint .*? <@mesh, (\[.*?\])>", text)

    constrained = lambda x: constrain(x, ("data", "fsdp"), "tensor", "absent")  # noqa: E731
    assert layouts(constrained, 8, 4, 2) == ['[{"data", "fsdp"}, {"tensor"}, {}]']
    # Three heads cannot be halved, and what a vmap adds is nobody's business here.
    assert layouts(constrained, 8, 3, 2) == ['[{"data", "fsdp"}, {?}, {}]']
    assert layouts(jax.vmap(constrained), 5, 8, 4, 2) == ['[{?}, {"data", "fsdp"}, {"tensor"}, {}]']
    assert free_axes() == {}
    assert jax.make_jaxpr(constrained)(jnp.ones((8, 4, 2))).eqns == []


def test_constrain_inside_a_shard_map_leaves_the_axes_it_has_taken(mesh):
    found = []

    def body(x):
        found.append(free_axes())
        return constrain(x, ("data", "fsdp"), "tensor")

    mapped = jax.shard_map(
        body, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"),
        axis_names={"data"},
    )  # fmt: skip
    x = jnp.arange(32.0).reshape(8, 4)
    np.testing.assert_array_equal(jax.jit(mapped)(x), x)
    assert found[0] == {"fsdp": 2, "tensor": 2}
