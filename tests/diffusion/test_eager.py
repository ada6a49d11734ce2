"""Calls outside of ``jax.jit`` are compiled once, and nothing else about them changes."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import cdcd_jax as cdcd
from cdcd_jax.checks import require
from cdcd_jax.diffusion import eager

K, SHAPE = 5, (2, 6)
SCHEDULE = cdcd.mask_replace_schedule(num_steps=3, vocab_size=K)
Z0 = jnp.arange(12).reshape(SHAPE) % K
COND = jnp.array([0, 2])
NEGATIVES = Z0[:, None, ::-1]
LOSS = cdcd.make_loss(SCHEDULE, contrast=cdcd.Contrast("step", chains="parallel"))


def make_network():
    """Return a network whose array is bound by ``partial``."""

    def network(table, zt, t, cond):
        require(lambda label: label < 3, "cond{place} = {value} is not a label", cond)
        return table[zt] * (1.0 + 0.1 * t[:, None, None]) + cond[:, None, None]

    return network


def table(seed):
    return jax.random.normal(jax.random.key(seed), (K + 1, K))


def sample(key, denoise_fn, cond, truncation=0.9):
    return cdcd.sample(
        key, SCHEDULE, denoise_fn, cond, shape=SHAPE, truncation=truncation, return_trajectory=True
    )


def bound(key, denoise_fn, cond):
    return cdcd.evaluate_bound(key, SCHEDULE, denoise_fn, Z0, cond)


def loss(key, denoise_fn, cond):
    stats = cdcd.init_timestep_stats(3)
    return LOSS(key, denoise_fn, Z0, cond, negatives=NEGATIVES, stats=stats)


@pytest.mark.parametrize("function", [sample, bound, loss])
def test_a_second_call_compiles_nothing_and_gives_what_jit_does(function):
    network = make_network()
    for seed, cond in ((0, COND), (1, 2 - COND)):  # other parameters and conditions, too
        result = function(jax.random.key(seed), functools.partial(network, table(seed)), cond)
        if seed == 0:
            before = set(eager._PROGRAMS)
    assert set(eager._PROGRAMS) == before
    expected = jax.jit(
        lambda key, table, cond: function(key, functools.partial(network, table), cond)
    )(jax.random.key(1), table(1), 2 - COND)
    jax.tree.map(np.testing.assert_array_equal, result, expected)


@pytest.mark.parametrize("function", [sample, bound, loss])
def test_values_are_still_checked(function):
    denoise_fn = functools.partial(make_network(), table(0))
    for bad in (COND, COND.at[1].set(3)):
        if bad is COND:
            function(jax.random.key(0), denoise_fn, bad)
        else:
            with pytest.raises(ValueError, match=r"^cond\[1\] = 3 is not a label$"):
                function(jax.random.key(0), denoise_fn, bad)
    broken = functools.partial(denoise_fn.func, table(0) * np.nan)
    vanilla = cdcd.make_loss(SCHEDULE)  # small, as it is evaluated once more without compiling
    arguments = (vanilla, Z0, COND) if function is loss else (function, COND)
    with pytest.raises(ValueError, match=r"NaN"):
        arguments[0](jax.random.key(0), broken, *arguments[1:])
    with pytest.raises(ValueError, match=r"truncation must be in \(0, 1\], got 1.5"):
        sample(jax.random.key(0), denoise_fn, COND, truncation=jnp.asarray(1.5))


def test_what_a_network_captures_is_never_stale():
    """A name bound anew, in a closure or globally, and an array changed in place are noticed."""
    params, weight, shift = {"table": table(0)}, jnp.ones(()), np.zeros((1, 1, K), np.float32)
    namespace = {"jnp": jnp, "scale": jnp.ones(())}
    exec("def scaled(x): return [x * scale for _ in range(1)][0]", namespace)
    scaled = namespace["scaled"]

    def denoise_fn(zt, t, cond):
        return scaled(params["table"][zt]) * weight + shift

    def is_fresh():
        run = lambda key: bound(key, lambda *given: denoise_fn(*given), COND)  # noqa: E731
        found = bound(jax.random.key(0), denoise_fn, COND)
        np.testing.assert_array_equal(found, jax.jit(run)(jax.random.key(0)))
        return found

    first = is_fresh()
    params["table"] = table(1)
    second = is_fresh()
    weight = 2.0 * weight
    third = is_fresh()
    namespace["scale"] = jnp.full((), 0.5)
    assert first[0] != second[0] != third[0]
    np.testing.assert_array_equal(is_fresh(), second)
    shift[..., 0] = 3.0
    assert is_fresh()[0] != second[0]


class Module(nnx.Module):
    def __init__(self):
        self.table = nnx.Param(table(0))

    def __call__(self, zt, t, cond):
        return self.table[...][zt]


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: lambda *given: net(*given)])
def test_a_module_that_is_trained_in_place_is_never_stale(wrap):
    net = Module()
    denoise_fn = wrap(net)
    found = []
    for seed in (0, 1, 0):
        net.table[...] = table(seed)
        found.append(bound(jax.random.key(0), denoise_fn, COND))
    np.testing.assert_array_equal(found[0], found[2])
    assert np.all(found[0] != found[1])


class Scaled:
    """A network of parts: an object in an object, and a number of its class."""

    power = 1

    def __init__(self):
        self.inner = type("Inner", (), {})()
        self.inner.table = table(0)

    def __call__(self, zt, t, cond):
        return self.inner.table[zt] ** self.power


def test_parts_of_an_object_are_never_stale():
    net = Scaled()
    denoise_fn = lambda zt, t, cond: net(zt, t, cond)  # noqa: E731
    found = [bound(jax.random.key(0), denoise_fn, COND)]
    net.inner.table = table(1)
    found.append(bound(jax.random.key(0), denoise_fn, COND))
    Scaled.power = 3
    found.append(bound(jax.random.key(0), denoise_fn, COND))
    Scaled.power, net.inner.table = 1, table(0)
    np.testing.assert_array_equal(bound(jax.random.key(0), denoise_fn, COND), found[0])
    assert len({float(values[0]) for values in found}) == 3


def test_neither_arrays_nor_networks_are_kept():
    def make(array):
        return lambda zt, t, cond: array[zt]

    array = table(3)
    denoise_fn = make(array)
    held = [weakref.ref(each) for each in (array, denoise_fn)]
    bound(jax.random.key(0), denoise_fn, COND)
    del array, denoise_fn
    jax.clear_caches()  # JAX keeps what it has traced for a while
    gc.collect()
    assert [reference() for reference in held] == [None, None]
    for number in range(eager.MAX_PROGRAMS):
        eager._PROGRAMS[number] = len
    bound(jax.random.key(0), lambda zt, t, cond: 3.0 * table(4)[zt], COND)
    assert len(eager._PROGRAMS) <= eager.MAX_PROGRAMS
    for number in range(eager.MAX_PROGRAMS):
        eager._PROGRAMS.pop(number, None)


def test_a_network_that_needs_values_is_called_with_them():
    weights = np.asarray(table(0))

    def denoise_fn(zt, t, cond):
        return jnp.asarray(weights)[zt] + float(np.asarray(cond).sum())

    assert bound(jax.random.key(0), denoise_fn, COND).shape == (2,)


def test_transformations_meet_the_function_itself():
    denoise_fn = functools.partial(make_network(), table(0))
    bound(jax.random.key(0), denoise_fn, COND)
    eagerly = []

    def scalar(scale):
        eagerly.append(eager.is_eager())
        return scale * bound(jax.random.key(0), lambda *given: scale * denoise_fn(*given), COND)[0]

    assert jax.grad(scalar)(1.0) != 0
    assert jax.eval_shape(jax.vmap(scalar), jnp.ones(2)).shape == (2,)
    assert eagerly == [False, False]
    assert eager.is_eager()
