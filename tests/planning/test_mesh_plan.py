"""Plans of a toy training: memory by category, what is sent, and the model of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.planning.compiled import Collective
from cdcd_jax.planning.flops import Cost, count_cost
from cdcd_jax.planning.hardware import (
    EFFICIENCY,
    FAR_LATENCY,
    HARDWARE,
    LATENCY,
    find_hardware,
    predict_step,
)
from cdcd_jax.planning.mesh_plan import plan_mesh
from cdcd_jax.planning.planned import PlannedStep
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import init_state, shard_state
from cdcd_jax.training.step import Objective, make_train_step

WIDTH, LAYERS, BATCH = 32, 3, 64
NUM_PARAMETERS = LAYERS * WIDTH**2
H200 = HARDWARE["h200"]


def init(key):
    return {"layers": {"kernel": jax.random.normal(key, (LAYERS, WIDTH, WIDTH))}}


def loss(params, batch, stats):
    def layer(x, kernel):
        return jnp.tanh(x @ kernel), None

    y, _ = jax.lax.scan(jax.checkpoint(layer), batch["x"], params["layers"]["kernel"])
    return jnp.mean(y**2), ({}, ())


def plain_loss(params, batch, stats):
    y = batch["x"]
    for kernel in params["layers"]["kernel"]:
        y = jnp.tanh(y @ kernel)
    return jnp.mean(y**2), ({}, ())


@pytest.fixture(scope="module")
def planned():
    optimizer = make_optimizer(lr=1e-3, num_steps=9)
    return PlannedStep(
        state=jax.eval_shape(lambda: init_state(jax.random.key(0), init, optimizer, None)),
        train_step=make_train_step(Objective(loss), optimizer),
        unsaving_step=make_train_step(Objective(plain_loss), optimizer),
        batch={"x": jax.ShapeDtypeStruct((1, WIDTH), "float32")},
        batch_size=BATCH,
        num_microbatches=1,
    )


@pytest.fixture(scope="module")
def plan(planned):
    """Plan for so many devices, once."""
    found = {}

    def plan_once(num_devices, **sizes):
        key = (num_devices, *sizes.items())
        if key not in found:
            mesh = make_mesh(jax.devices()[:num_devices], **sizes)
            shardings = shard_state(planned.state, mesh)
            found[key] = plan_mesh(planned, mesh, shardings, H200)
        return found[key]

    return plan_once


def test_memory_is_counted_by_what_it_holds(plan):
    memory = plan(8).memory
    assert memory.parameters == memory.average == memory.gradients == 4 * NUM_PARAMETERS
    # Two moments, and a few counters.
    assert memory.optimizer == pytest.approx(8 * NUM_PARAMETERS, abs=64)
    assert memory.batch == 4 * WIDTH * BATCH // 8
    assert memory.other < 64
    assert memory.temporaries >= 0
    assert memory.total == sum(memory)


def test_fsdp_splits_weights_average_and_moments(plan):
    whole, split = plan(8).memory, plan(8, fsdp=8).memory
    for name in ("parameters", "average", "optimizer", "gradients"):
        share = getattr(split, name) / getattr(whole, name)
        assert share == pytest.approx(1 / 8, rel=0.01), name
    assert split.batch == whole.batch


@pytest.mark.parametrize("num_devices", [2, 8])
def test_data_parallel_devices_tell_each_other_their_gradients(plan, num_devices):
    found = plan(num_devices)
    ((count, sent),) = found.collected().values()
    assert set(found.collected()) == {"all-reduce"}
    assert count <= LAYERS + 8
    on_a_ring = 2 * (num_devices - 1) / num_devices
    assert sent == pytest.approx(on_a_ring * 4 * NUM_PARAMETERS, rel=0.01)
    assert plan(1).collected() == {}


def test_cost_is_counted_with_and_without_what_is_computed_again(planned):
    products = 2 * WIDTH**2 * LAYERS  # forward, for one example
    # Backward takes two more, but the first layer's input needs no gradient.
    once = 3 * products - 2 * WIDTH**2
    assert planned.cost(BATCH, saving=False).flops == once * BATCH
    # In a scan every layer's input gets one, and the forward products are made again.
    assert planned.cost(BATCH).flops == 4 * products * BATCH


def test_cost_of_large_batches_follows_from_small_ones(planned):
    direct = jax.tree.leaves(vars(planned.cost(5)))
    counted = count_cost(planned.train_step, planned.state, planned.rows(5))
    np.testing.assert_allclose(direct, jax.tree.leaves(vars(counted)), rtol=1e-12)


def test_each_device_computes_its_share(plan, planned):
    for num_devices in (1, 8):
        found = plan(num_devices)
        assert found.num_devices == num_devices
        assert found.cost.flops == planned.cost(BATCH).flops / num_devices
    assert plan(8).time.products == pytest.approx(plan(1).time.products / 8)


def test_the_time_of_a_step_is_the_sum_of_its_parts():
    cost = Cost(flops=2e12, bytes=1e9)
    near = Collective("all-reduce", 800_000_000, tuple(range(8)), 3)
    far = Collective("all-reduce", 800_000_000, tuple(range(16)), 2)
    alone = Collective("all-gather", 800_000_000, (0, 8), 1)  # one device of each node
    time = predict_step(cost, [near, far, alone], H200)
    assert time.products == pytest.approx(2e12 / (EFFICIENCY * 989e12))
    assert time.traffic == pytest.approx(1e9 / 4.8e12)
    assert time.near == pytest.approx(3 * (1.75 * 0.8e9 / 450e9 + LATENCY))
    # Eight devices of a node share their eight links to the others; one has its own.
    wanted = 2 * (1.875 * 0.8e9 / 400e9 + FAR_LATENCY) + 0.4e9 / 50e9 + FAR_LATENCY
    assert time.far == pytest.approx(wanted)
    assert time.compute == time.products
    assert time.apart == pytest.approx(time.compute + time.near + time.far)
    assert time.overlapped == pytest.approx(time.near + time.far)


def test_hardware_is_found_by_name():
    with pytest.raises(
        ValueError, match=r"hardware = foo is not known; there are v100, a100, h100"
    ):
        find_hardware("foo")
    for hardware in HARDWARE.values():
        assert hardware.far < hardware.near < hardware.bandwidth < hardware.peak
