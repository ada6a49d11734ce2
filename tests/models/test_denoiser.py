"""What a denoiser must do whatever its weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cdcd_jax
from cdcd_jax.models import make_denoiser
from cdcd_jax.nn import add_bias
from cdcd_jax.planning.program import Program
from cdcd_jax.typing import Timed

SMALL = {"vocab_size": 7, "num_steps": 5, "grid": (2, 4), "num_layers": 3, "width": 16,
         "num_heads": 2, "mlp_ratio": 2}  # fmt: skip
CONDITIONS = {
    "none": {},
    "class": {"condition": "class", "num_classes": 3},
    "cross": {"condition": "cross", "cond_dim": 6},
}
BATCH = 3


def example(condition):
    zt = jax.random.randint(jax.random.key(1), (BATCH, 8), 0, 8)
    cond = {
        "none": None,
        "class": jnp.array([2, 0, 1]),
        "cross": jax.random.normal(jax.random.key(2), (BATCH, 5, 6)),
    }[condition]
    return zt, jnp.array([1, 5, 3]), cond


@functools.cache
def weights(condition, mlp):
    """Draw weights of the size of trained ones, so that every path of the network counts."""
    network = make_denoiser(**SMALL, **CONDITIONS[condition], mlp=mlp)
    return jax.tree.map(lambda leaf: 10 * leaf, jax.jit(network.init)(jax.random.key(0)))


def build(condition="cross", mlp="linear", **more):
    network = make_denoiser(**SMALL, **CONDITIONS[condition], mlp=mlp, **more)
    return network, weights(condition, mlp)


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("condition", "mlp"),
    [("none", "linear"), ("class", "linear"), ("cross", "linear"), ("class", "conv")],
)
def test_log_probs_are_normalised_and_hear_everything(condition, mlp):
    network, params = build(condition, mlp=mlp)
    apply = jax.jit(network.apply)
    zt, t, cond = example(condition)
    log_probs = apply(params, zt, t, cond)
    assert log_probs.dtype == jnp.float32
    close(jnp.exp(log_probs).sum(-1), jnp.ones((BATCH, 8)))
    assert not np.allclose(log_probs, apply(params, zt.at[:, 0].add(1) % 8, t, cond), atol=1e-3)
    assert not np.allclose(log_probs, apply(params, zt, t % 5 + 1, cond), atol=1e-3)
    if cond is not None:
        assert not np.allclose(log_probs, apply(params, zt, t, cond[::-1]), atol=1e-3)


def test_the_head_reads_every_position_by_itself():
    network, params = build("class")
    inputs = example("class")
    hidden = jax.jit(network.hidden)(params, *inputs)
    head = jax.jit(network.head)
    whole = head(params, hidden)
    close(jax.nn.log_softmax(whole), jax.jit(network.apply)(params, *inputs), 1e-6)
    parts = [head(params, hidden[:, :3]), head(params, hidden[:, 3:])]
    close(jnp.concatenate(parts, axis=1), whole)
    close(jax.jit(network.logits)(params, *inputs), whole)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_batch_is_its_examples(condition):
    network, params = build(condition)
    zt, t, cond = example(condition)
    apply = jax.jit(network.apply)
    singles = [
        apply(params, zt[i : i + 1], t[i : i + 1], None if cond is None else cond[i : i + 1])
        for i in range(BATCH)
    ]
    close(apply(params, zt, t, cond), jnp.concatenate(singles))


def test_a_feature_far_in_time_is_heard_less_and_one_of_no_time_everywhere():
    options = {**SMALL, "grid": (1, 8), "condition": "cross", "cond_dim": 6, "seconds": 4.0,
               "num_layers": 1}  # fmt: skip
    network = make_denoiser(**options)
    params = jax.tree.map(lambda leaf: 10 * leaf, jax.jit(network.init)(jax.random.key(0)))
    rates = jnp.array([[2.0, 3.0]])  # log, per second: a token's width is far
    params["blocks"]["cross_attention"]["log_rate"] = rates
    # Nothing may travel from position to position but through the condition.
    params["blocks"]["self_attention"]["out"]["kernel"] *= 0
    zt, t, _ = example("cross")
    features = jax.random.normal(jax.random.key(3), (BATCH, 4, 6))
    seconds = jnp.tile(jnp.array([0.25, 1.75, 3.75, jnp.nan]), (BATCH, 1))
    apply = jax.jit(network.apply)

    def heard(source):
        """Return how far each position's guess moves when one of the features changes."""
        changed = features.at[:, source].add(1.0)
        told, otherwise = (apply(params, zt, t, Timed(f, seconds)) for f in (features, changed))
        return jnp.abs(told - otherwise).max((0, 2))

    first, last, always = heard(0), heard(2), heard(3)
    assert first[0] > 20 * first[7]
    assert last[7] > 20 * last[0]
    assert (always > 1e-3).all()
    value = jax.jit(jax.grad(lambda p: network.apply(p, zt, t, Timed(features, seconds)).sum()))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(value(params)))
    with pytest.raises(ValueError, match=r"cond must be Timed, as seconds=4\.0"):
        network.apply(params, zt, t, features)


def test_remat_and_unroll_change_nothing_but_memory():
    def compile_for(network, params):
        zt, t, cond = example("cross")

        def loss(params):
            return jnp.square(network.apply(params, zt, t, cond)).mean()

        return jax.jit(jax.value_and_grad(loss)).lower(params).compile()

    first, params = build(unroll=1)
    none = compile_for(first, params)
    expected = none(params)
    steps = {
        name: compile_for(build(**more)[0], params)
        for name, more in {
            "blocks": {"remat": "blocks"}, "dots": {"remat": "dots"}, "unroll": {"unroll": 3},
        }.items()
    }  # fmt: skip
    for step in steps.values():
        jax.tree.map(close, expected, step(params))
    kept = [
        step.memory_analysis().temp_size_in_bytes for step in (steps["blocks"], steps["dots"], none)
    ]
    assert kept == sorted(set(kept)), kept


def test_bfloat16_is_close_and_keeps_float32_around_it():
    network, params = build(compute_dtype="bfloat16")
    inputs = example("cross")
    half = jax.jit(network.apply)(params, *inputs)
    full = jax.jit(build()[0].apply)(params, *inputs)
    assert half.dtype == jnp.float32
    hidden = jax.eval_shape(network.hidden, params, *inputs)
    assert (hidden.shape, hidden.dtype) == ((BATCH, 8, 16), jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    close(jnp.exp(half).sum(-1), jnp.ones((BATCH, 8)))
    assert np.abs(np.exp(half) - np.exp(full)).mean() < 0.02


@pytest.mark.parametrize(("condition", "mlp"), [("cross", "linear"), ("class", "conv")])
def test_bfloat16_sums_and_takes_exponentials_in_float32(condition, mlp):
    network = make_denoiser(**SMALL, **CONDITIONS[condition], mlp=mlp, compute_dtype="bfloat16")
    params = jax.eval_shape(network.init, jax.random.key(0))

    def loss(params, *inputs):
        return network.apply(params, *inputs).sum()

    jaxpr, grads = jax.make_jaxpr(jax.grad(loss), return_shape=True)(params, *example(condition))
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
    found = {
        (equation.primitive.name, equation.invars[0].aval.dtype.name)
        for equation in equations(jaxpr.jaxpr)
        if equation.invars
    }
    assert ("dot_general", "bfloat16") in found
    for name in ("exp", "log", "rsqrt", "reduce_sum", "reduce_max", "div"):
        assert (name, "float32") in found
        assert (name, "bfloat16") not in found


def test_blocks_take_kernels_and_give_their_gradients_in_bfloat16():
    """In float32 they would need twice the memory, and be sent so to other devices."""
    network = make_denoiser(**SMALL, compute_dtype="bfloat16", remat="blocks", unroll=1)
    params = jax.eval_shape(network.init, jax.random.key(0))

    def loss(params, *inputs):
        return network.apply(params, *inputs).sum()

    jaxpr = jax.make_jaxpr(jax.grad(loss))(params, *example("none")).jaxpr
    kernel = params["blocks"]["mlp"]["expand"]["kernel"].shape
    scans = [found for found in equations(jaxpr) if found.primitive.name == "scan"]
    assert len(scans) == 2
    for one in scans:
        passed = [x.aval for x in (*one.invars, *one.outvars) if x.aval.shape == kernel]
        assert {aval.dtype for aval in passed} == {jnp.dtype("bfloat16")}


def test_the_gradient_of_a_bias_is_summed_in_float32():
    # In steps of bfloat16 a sum of ones stops at 256.
    grad = jax.grad(lambda bias: add_bias(jnp.ones((1000, 2), jnp.bfloat16), bias).sum())
    np.testing.assert_array_equal(grad(jnp.zeros(2)), [1000.0, 1000.0])


def equations(jaxpr):
    """Yield all equations of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_chains_by_vmap_are_chains_one_by_one(condition):
    network, params = build(condition)
    zt, t, cond = example(condition)
    chains = jnp.stack([zt, (zt + 1) % 8, zt[::-1]])
    together = jax.jit(jax.vmap(network.apply, in_axes=(None, 0, None, None)))
    apply = jax.jit(network.apply)
    close(together(params, chains, t, cond), [apply(params, chain, t, cond) for chain in chains])


def test_chains_share_what_the_condition_gives():
    network = make_denoiser(**SMALL | {"num_layers": 1}, **CONDITIONS["cross"])
    params = jax.eval_shape(network.init, jax.random.key(0))
    zt, t, cond = example("cross")

    def shapes_of_products(chains):
        function = jax.vmap(network.apply, in_axes=(None, 0, None, None))
        zts = jnp.stack([zt] * chains)
        jaxpr = jax.make_jaxpr(function)(params, zts, t, cond).jaxpr
        return [
            tuple(equation.outvars[0].aval.shape)
            for equation in equations(jaxpr)
            if equation.primitive.name == "dot_general"
        ]

    two, eleven = shapes_of_products(2), shapes_of_products(11)
    assert len(two) == len(eleven)
    # Two scales and shifts, keys and values: the same size however many chains.
    unchanged = [shape for shape in eleven if 11 not in shape]
    assert len(unchanged) == 4
    assert all(shape in two for shape in unchanged)


def test_two_tokens_one_step_one_head():
    options = SMALL | {"vocab_size": 2, "num_steps": 1, "num_heads": 1, "num_layers": 1}
    network = make_denoiser(**options)
    params = jax.jit(network.init)(jax.random.key(0))
    zt, t = jnp.array([[0, 1, 2, 2, 2, 2, 2, 2]]), jnp.array([1])
    value = lambda p: network.apply(p, zt, t, None)[..., 0].sum()  # noqa: E731
    loss, grads = jax.jit(jax.value_and_grad(value))(params)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_a_token_step_or_class_that_does_not_exist_is_nan():
    network, params = build("class")
    apply = jax.jit(network.apply)
    zt, t, label = example("class")
    assert np.isfinite(apply(params, zt, t, label)).all()
    assert np.isnan(apply(params, zt.at[0, 0].set(8), t, label)[0]).all()
    for step in (0, 6):
        assert np.isnan(apply(params, zt, t.at[0].set(step), label)[0]).all()
    assert np.isnan(apply(params, zt, t, label.at[0].set(3))[0]).all()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_heads": 3}, "width = 16 must be a multiple of num_heads = 3"),
        ({"vocab_size": 0}, "vocab_size must be a whole number, at least 1"),
        ({"grid": (0, 4)}, r"grid = \(0, 4\) must be \(height, width\)"),
        ({"embedding_grid": (2, 2)}, "embedding_grid must have a cell for each of the 8"),
        ({"mlp": "cubic"}, "mlp must be one of linear, conv"),
        ({"condition": "class"}, "needs num_classes"),
        ({"condition": "cross"}, "needs cond_dim"),
        ({"cond_dim": 4}, "has no use with condition='none'"),
        ({"compute_dtype": "float64"}, "JAX_ENABLE_X64"),
        ({"unroll": 0}, "unroll must be a whole number, at least 1"),
        ({"timestep": "sinusoidal", "width": 2}, "needs an even width"),
    ],
)
def test_options_that_cannot_be(wrong, sentence):
    with pytest.raises((ValueError, TypeError)) as raised:
        make_denoiser(**SMALL | wrong)
    check_sentence(raised, sentence)


def check_sentence(raised, sentence):
    """Check the user's error; under pytest the annotations may speak before it."""
    if raised.type is ValueError:
        assert raised.match(sentence)
    else:
        assert "Type-check error" in str(raised.value)


@pytest.mark.parametrize(
    ("condition", "change", "sentence"),
    [
        ("none", lambda zt, t, cond: (zt[:, :4], t, cond), r"zt must be \[batch 8\]"),
        ("none", lambda zt, t, cond: (zt, t[:2], cond), r"t must be \[3\]"),
        ("none", lambda zt, t, cond: (zt, t, t), "cond must be None"),
        ("class", lambda zt, t, cond: (zt, t, None), "cond is None"),
        ("class", lambda zt, t, cond: (zt, t, cond[:2]), r"cond must be labels \[3\]"),
        ("cross", lambda zt, t, cond: (zt, t, cond[..., :5]), r"cond must be \[3 source 6\]"),
    ],
)
def test_inputs_of_a_wrong_shape(condition, change, sentence):
    network, params = build(condition)
    with pytest.raises((ValueError, TypeError)) as raised:
        network.apply(params, *change(*example(condition)))
    check_sentence(raised, sentence)


@pytest.mark.much_computation  # without optimisations a loop keeps all that is in its body
def test_a_sampler_makes_keys_and_values_of_a_condition_once_for_all_steps():
    network = make_denoiser(**SMALL, **CONDITIONS["cross"])
    params = jax.eval_shape(network.init, jax.random.key(0))
    zt, _, cond = example("cross")
    schedule = cdcd_jax.mask_replace_schedule(num_steps=5, vocab_size=7)

    @jax.jit
    def draw(key, params, cond):
        denoise_fn = functools.partial(network.logits, params)
        return cdcd_jax.sample(key, schedule, denoise_fn, cond, shape=zt.shape)

    program = Program(draw.lower(jax.random.key(1), params, cond).compile().as_text())
    # Products with one axis of examples: their rows are examples times positions or features.
    products = [
        (each.shapes[0].sizes[0], times)
        for _, each, times in program
        if each.opcode == "dot" and len(each.shapes[0].sizes) == 2
    ]
    assert {times for rows, times in products if rows == zt.size} == {5}
    assert {times for rows, times in products if rows == cond.shape[0] * cond.shape[1]} == {1}
