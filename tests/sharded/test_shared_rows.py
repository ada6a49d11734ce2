"""Samples, bounds and scores are those of one device, however many share the rows."""

import jax
import numpy as np
import pytest

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.distributed.partition import shard_params
from cdcd_jax.training.generation import make_bound_fn, make_sample_fn
from tests.support.small_model import (
    LENGTH,
    NUM_CLASSES,
    SAMPLING,
    SCHEDULE,
    examples,
    make_small_model,
    random_params,
    score_on,
)

MOST = 16
THREE_AXES = {"data": 2, "fsdp": 2, "tensor": 2}


def placed(model, mesh):
    params = random_params(model)
    return jax.device_put(params, shard_params(params, mesh))


def one_device():
    return make_mesh(jax.devices()[:1])


def assert_scores_agree(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name == "rows":
            for row, other in zip(found[name], value, strict=True):
                assert_scores_agree(row, other)
        elif value is None or isinstance(value, str):
            assert found[name] == value, name
        else:
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def draw_and_measure(mesh, count):
    model = make_small_model()
    conditioned = examples(MOST, 3)
    params = placed(model, mesh)
    sample_fn = make_sample_fn(SCHEDULE, model, length=LENGTH, mesh=mesh)
    cond = conditioned.cond[:count]
    tokens, states = sample_fn(params, jax.random.key(1), cond, return_trajectory=True, **SAMPLING)
    bound_fn = make_bound_fn(SCHEDULE, model, mesh=mesh)
    bound = bound_fn(params, jax.random.key(2), conditioned.tokens[:count], cond)
    assert bound.sharding.device_set == set(mesh.devices.flat)
    return [np.asarray(array) for array in (tokens, states, bound)]


@pytest.fixture(scope="module")
def of_one_device():
    return draw_and_measure(one_device(), MOST)


@pytest.mark.parametrize(("sizes", "count"), [({"data": 8}, MOST), (THREE_AXES, 3)], ids=str)
def test_samples_and_bounds_are_those_of_one_device(of_one_device, sizes, count):
    """A row is the same however many there are, too."""
    tokens, states, bound = of_one_device
    assert tokens.shape == (MOST, LENGTH)
    assert states.shape == (SAMPLING["num_steps"] + 1, MOST, LENGTH)
    assert len(np.unique(tokens)) > 2
    others = draw_and_measure(make_mesh(**sizes), count)
    np.testing.assert_array_equal(others[0], tokens[:count])
    np.testing.assert_array_equal(others[1], states[:, :count])
    np.testing.assert_allclose(others[2], bound[:count], rtol=1e-5)


def test_known_tokens_and_guidance_are_shared_out_too():
    model = make_small_model(dropout=0.1)
    cond = np.arange(5, dtype=np.int32) % NUM_CLASSES
    known = np.full((5, LENGTH), SCHEDULE.mask_id, np.int32)
    known[:, :3] = examples(5, 3).tokens[:, :3]
    one, eight = (
        make_sample_fn(SCHEDULE, model, length=LENGTH, mesh=mesh)(
            placed(model, mesh), jax.random.key(1), cond, known=known, guidance=2.0, **SAMPLING
        )
        for mesh in (one_device(), make_mesh())
    )
    np.testing.assert_array_equal(np.asarray(one)[:, :3], known[:, :3])
    np.testing.assert_array_equal(eight, one)


def test_each_device_computes_its_rows_only():
    """Counted by the compiler, of a model that is told nothing the rows could be known by."""
    model = make_small_model(conditional=False)
    cond = np.zeros(16, np.int32)

    def flops(mesh):
        sample_fn = make_sample_fn(SCHEDULE, model, length=LENGTH, mesh=mesh)
        run = jax.jit(lambda params: sample_fn(params, jax.random.key(1), cond, **SAMPLING))
        return run.lower(placed(model, mesh)).compile().cost_analysis()["flops"]

    assert flops(make_mesh()) < 0.2 * flops(one_device())


@pytest.mark.slow
def test_scores_are_those_of_one_device():
    params = random_params(make_small_model())
    one, eight = (
        score_on(mesh, jax.device_put(params, shard_params(params, mesh)))
        for mesh in (one_device(), make_mesh(data=4, tensor=2))
    )
    assert 0 < one["accuracy"] < 1
    assert one["fid"] > 0.01
    assert_scores_agree(eight, one)
