"""What all samplers have in common: counts of masks, known tokens, options, compilations."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import config

import cdcd_jax as cdcd
from cdcd_jax import samplers
from cdcd_jax.diffusion import eager
from cdcd_jax.diffusion.samplers.orders import halton_ranks
from cdcd_jax.diffusion.samplers.sample import find_parts
from cdcd_jax.training.generation import make_sample_fn
from cdcd_jax.training.model import Model

K, SHAPE = 6, (400, 12)
TABLE = jax.random.normal(jax.random.key(1), (SHAPE[1], K))
PUBLISHED = cdcd.mask_replace_schedule(num_steps=8, vocab_size=K)
ABSORBING = cdcd.absorbing_schedule(num_steps=8, vocab_size=K)
UNIFORM = cdcd.mask_replace_schedule(num_steps=8, vocab_size=K, final_uniform=0.4)
RULES = {
    "ancestral": samplers.Ancestral(),
    "ancestral, visible": samplers.Ancestral(keep_visible=True),
    "confidence": samplers.Confidence(),
    "margin": samplers.Margin(0.5),
    "halton": samplers.Halton(grid=(3, 4)),
    "purity": samplers.Purity(),
    "purity, in parts": samplers.Purity(tokens_per_call=2),
    "entropy": samplers.Entropy(),
    "first_hitting": samplers.FirstHitting(ignore_uniform=True),
    "fast": samplers.Fast(),
    "remask": samplers.Remask(),
    "remask, cap": samplers.Remask("cap"),
    "remask, confidence": samplers.Remask("confidence", 0.5),
}


def network(zt, t, cond):
    """Depend on position, step and the tokens beside."""
    beside = jax.nn.one_hot(jnp.roll(zt, 1, -1), K)
    return TABLE[None] * (1.0 + 0.05 * t[:, None, None]) + beside


def draw(schedule=PUBLISHED, seed=0, shape=SHAPE, denoise_fn=network, **options):
    return cdcd.sample(jax.random.key(seed), schedule, denoise_fn, None, shape=shape, **options)


@pytest.mark.parametrize("name", RULES)
def test_tokens_are_clean_known_ones_stay_and_visible_ones_unless_remasked(name):
    known = jnp.full(SHAPE, K).at[:, ::4].set(5)
    schedule = PUBLISHED if name.startswith(("purity", "ancestral, v")) else ABSORBING
    tokens, states = draw(schedule, sampler=RULES[name], known=known, return_trajectory=True)
    assert tokens.shape == SHAPE
    assert int(tokens.max()) < K
    assert (states[:, :, ::4] == 5).all()
    changed = masked_again = 0
    for before, after in itertools.pairwise(np.asarray(states)):
        changed += np.sum((before != K) & (after != K) & (before != after))
        masked_again += np.sum((before != K) & (after == K))
    assert changed == 0
    assert (masked_again > 0) == name.startswith("remask")


def test_a_network_that_is_unsure_changes_visible_tokens_unless_they_are_kept():
    def changes(**options):
        _, states = draw(PUBLISHED, return_trajectory=True, **options)
        pairs = itertools.pairwise(np.asarray(states))
        return [int(np.sum((one != K) & (one != other))) for one, other in pairs]

    assert changes()[-1] > 0.2 * SHAPE[0] * SHAPE[1]
    assert changes(sampler=samplers.Ancestral(keep_visible=True)) == [0] * 8
    # Masked positions are drawn as they were.
    first = [
        draw(PUBLISHED, num_steps=1, sampler=samplers.Ancestral(keep_visible=keep))
        for keep in (False, True)
    ]
    np.testing.assert_array_equal(*first)


@pytest.mark.parametrize("name", RULES)
def test_a_row_does_not_depend_on_the_others(name):
    """So that devices may share the rows, and some of them may be computed twice."""
    corrector = None if RULES[name].own_steps else samplers.Gibbs(2)
    options = {"sampler": RULES[name], "corrector": corrector}
    few, many = (draw(shape=(rows, 12), **options) for rows in (3, 5))
    np.testing.assert_array_equal(few, many[:3])


@pytest.mark.parametrize("schedule", [PUBLISHED, ABSORBING, UNIFORM], ids=repr)
@pytest.mark.parametrize("name", ["confidence", "margin", "halton", "purity", "remask, confidence"])
def test_as_many_are_masked_as_in_ancestral_sampling(name, schedule):
    """On average gamma_bar_t of those that are free; in a row the mean, rounded up or down."""
    if name == "purity" and schedule is ABSORBING:
        return
    known = jnp.full(SHAPE, K).at[:, :2].set(1)
    _, states = draw(schedule, sampler=RULES[name], known=known, return_trajectory=True)
    counts = np.asarray(states == K).sum(-1)
    assert counts.max() <= SHAPE[1] - 2
    # Where noise replaces, zT is drawn from the prior, of which 60 % are masks.
    expected = (SHAPE[1] - 2) * np.asarray(schedule.gamma_bar)[::-1]
    np.testing.assert_allclose(counts.mean(1), expected, atol=0.5)
    for before, after, t in zip(counts, counts[1:], range(8, 0, -1), strict=False):
        mean = before * schedule.gamma_bar[t - 1] / schedule.gamma_bar[t]
        assert name.startswith("remask") or np.all(np.abs(after - mean) < 1.0 + 1e-5)


def test_confidence_reveals_what_is_likely_first():
    certain = jnp.linspace(0.5, 6.0, SHAPE[1])[:, None] * jax.nn.one_hot(2, K)[None]
    sure = lambda zt, t, cond: jnp.broadcast_to(certain, (*zt.shape, K))  # noqa: E731
    for rule in (samplers.Confidence(0.0), samplers.Margin()):
        _, states = draw(sampler=rule, denoise_fn=sure, return_trajectory=True)
        half = np.asarray(states[4] == K).mean(0)
        assert half[:3].mean() > 0.8
        assert half[-3:].mean() < 0.2


def test_halton_reveals_positions_far_from_each_other():
    ranks = halton_ranks(8, 8)
    assert sorted(ranks.tolist()) == [*range(64)]
    early = np.argwhere(ranks.reshape(8, 8) < 8)
    gaps = np.abs(early[:, None] - early[None]).sum(-1) + 99 * np.eye(8, dtype=int)
    assert gaps.min() >= 2
    _, states = draw(sampler=RULES["halton"], return_trajectory=True)
    order = halton_ranks(3, 4)
    for state in np.asarray(states):
        masked = state == K
        assert np.all(np.where(masked, order, 99).min(1) > np.where(masked, -1, order).max(1))


def test_an_entropy_budget_saves_calls_and_its_limits_are_one_and_all():
    for budget, revealed in ((0.0, 1), (1e3, 12)):
        _, states = draw(
            sampler=samplers.Entropy(budget), return_trajectory=True, num_steps=8, shape=(5, 12)
        )
        np.testing.assert_array_equal(np.asarray(states[1] != K).sum(-1), revealed)


@pytest.mark.parametrize(("schedule", "calls"), [(ABSORBING, 3), (PUBLISHED, 8)])
def test_the_network_is_not_called_where_nothing_can_change(schedule, calls):
    """Of 12 positions 9 are known, one is revealed in each call."""
    made = []

    def counting(zt, t, cond):
        jax.debug.callback(lambda: made.append(1))
        return network(zt, t, cond)

    known = jnp.full((1, 12), 3).at[:, :3].set(K)
    options = {"known": known, "shape": (1, 12), "num_steps": 8}
    rule = samplers.FirstHitting(ignore_uniform=True)
    stopped = jax.jit(lambda: draw(schedule, denoise_fn=counting, sampler=rule, **options))()
    jax.effects_barrier()
    assert len(made) == 3
    made.clear()
    jax.jit(lambda: draw(schedule, denoise_fn=counting, seed=5, **options))()
    jax.effects_barrier()
    assert len(made) <= 8 if schedule is ABSORBING else len(made) == calls
    assert int(stopped.max()) < K


def test_stopping_changes_no_result(monkeypatch):
    known = jnp.full((3, 12), 3).at[:, :2].set(K)
    options = {"known": known, "shape": (3, 12), "return_trajectory": True}
    for name in ("ancestral", "first_hitting", "entropy"):
        with monkeypatch.context() as patched:
            found = draw(ABSORBING, sampler=RULES[name], **options)
            patched.setattr(samplers.Rule, "keeps_visible", lambda self, schedule: False)
            patched.setattr(samplers.FirstHitting, "keeps_visible", lambda self, schedule: False)
            patched.setattr(samplers.Entropy, "keeps_visible", lambda self, schedule: False)
            whole = draw(ABSORBING, sampler=RULES[name], **options)
        for ours, theirs in zip(found, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_high_quality_inference_reveals_a_few_in_each_call():
    made = []

    def counting(zt, t, cond):
        jax.debug.callback(lambda zt: made.append(int(np.sum(np.asarray(zt) == K))), zt)
        return network(zt, t, cond)

    rule = samplers.Purity(tokens_per_call=4)
    jax.jit(lambda: draw(denoise_fn=counting, sampler=rule, shape=(1, 12), num_steps=1))()
    jax.effects_barrier()
    assert made == [12, 8, 4]
    made.clear()
    rule = samplers.Purity(tokens_per_call=11)  # a single one is not left to another call
    jax.jit(lambda: draw(denoise_fn=counting, sampler=rule, shape=(1, 12), num_steps=1))()
    jax.effects_barrier()
    assert made == [12]


@pytest.mark.parametrize("corrector", ["renoise", "gibbs", "self_correction"])
def test_correctors_keep_known_tokens_and_masks(corrector):
    known = jnp.full(SHAPE, K).at[:, ::4].set(5)
    options = {"known": known, "return_trajectory": True, "sampler": "confidence"}
    tokens, states = draw(UNIFORM, corrector=corrector, **options)
    plain, without = draw(UNIFORM, **options)
    assert (states[:, :, ::4] == 5).all()
    assert int(tokens.max()) < K
    assert not np.array_equal(tokens, plain)
    shares = [np.asarray(each == K).mean((1, 2)) for each in (states, without)]
    np.testing.assert_allclose(*shares, atol=0.03)


def test_a_sweep_of_traced_numbers_compiles_once(monkeypatch):
    @jax.jit
    def run(key, rule, corrector, truncation, temperature):
        return draw(
            shape=(2, 12), sampler=rule, corrector=corrector, truncation=truncation,
            temperature=temperature,
        )  # fmt: skip

    for rule in (samplers.Confidence, samplers.Margin, samplers.Entropy, samplers.Purity):
        run.clear_cache()
        for value in np.linspace(0.1, 1.0, 20):
            corrector = None if rule.own_steps else samplers.Gibbs()
            run(jax.random.key(0), rule(float(value)), corrector, value, value)
        assert run._cache_size() == 1
    monkeypatch.setattr(eager, "_PROGRAMS", {})  # a full one would drop another's
    for value in np.linspace(0.1, 1.0, 20):
        draw(shape=(2, 12), sampler=samplers.Confidence(jnp.float32(value)))
    assert len(eager._PROGRAMS) == 1


def test_a_compiled_model_takes_options_by_their_names():
    model = Model(
        init=lambda key: {},
        encode=lambda params, cond: cond,
        denoise=lambda params, zt, t, cond: network(zt, t, cond),
        null=None,
    )  # fmt: skip
    sample_fn = make_sample_fn(PUBLISHED, model, length=12)
    cond = np.zeros(5)
    run = functools.partial(sample_fn, {}, cond=cond)
    named = run(key=jax.random.key(0), sampler="confidence", choice_temperature=0.5)
    given = run(key=jax.random.key(0), sampler=samplers.Confidence(0.5))
    np.testing.assert_array_equal(named, given)
    more = run(key=jax.random.key(0), sampler="confidence", corrector="gibbs", num_passes=2)
    assert more.shape == (5, 12)
    with pytest.raises(ValueError, match="is not an option of"):
        run(key=jax.random.key(0), sampler="confidence", num_passes=2)


def test_times_are_apart_however_they_are_rounded():
    for name in ("uniform", "cosine", "polynomial"):
        for num_steps in (1, 2, 7, 19, 20):
            for power in (0.3, 1.0, 3.0):
                times = samplers.make_times(20, num_steps, name, power=power)
                assert (times[0], times[-1], len(times)) == (20, 0, num_steps + 1)
                assert np.all(np.diff(times) < 0)


BAD = [
    ({"num_steps": 9}, "num_steps must be between 1 and the 8 steps of the schedule, got 9"),
    ({"sampler": "fast", "num_steps": 9}, "num_steps = 9 must be in 2..8"),
    ({"sampler": samplers.Fast(skip=-1)}, "skip must be a whole number, at least 0"),
    ({"sampler": samplers.Fast(skip=1), "num_steps": 3}, "num_steps = 3 must be in 5..8"),
    ({"sampler": "first_hitting"}, "needs noise that only absorbs"),
    ({"sampler": samplers.FirstHitting(True), "schedule": UNIFORM}, "replaces 0.001 of them"),
    ({"sampler": samplers.FirstHitting(True), "times": "cosine"}, "leave times out"),
    ({"sampler": samplers.Ancestral(True), "schedule": UNIFORM}, "keep_visible leaves visible"),
    ({"sampler": "entropy", "schedule": UNIFORM}, '"entropy" leaves visible tokens as they are'),
    ({"sampler": samplers.Entropy(-1.0)}, "budget must be finite and at least 0, got -1"),
    ({"sampler": "purity", "schedule": ABSORBING}, '"purity" compares masked positions with'),
    ({"sampler": samplers.Purity(tokens_per_call=0)}, "tokens_per_call must be a whole number"),
    ({"sampler": samplers.Confidence(float("nan"))}, "choice_temperature must be finite"),
    ({"sampler": samplers.Confidence("hot")}, "choice_temperature must be a number, got 'hot'"),
    ({"sampler": "halton"}, r'grid is needed by the sampler "halton"'),
    (
        {"sampler": samplers.Halton(grid=(4, 4))},
        r"grid = \(4, 4\) has 16 positions, and a sample 12",
    ),
    ({"sampler": samplers.Halton(grid=(4, 2.5))}, "two whole numbers"),
    ({"sampler": samplers.Remask("most")}, "strategy must be one of"),
    ({"sampler": samplers.Remask("cap", 1.5)}, r"remasking must be in 0\.\.1, got 1.5"),
    ({"sampler": "halten"}, 'sampler = "halten" is not a sampler: did you mean halton?'),
    ({"sampler": 3}, "sampler must be a name"),
    ({"sampler": samplers.Confidence}, "sampler must be a name"),
    ({"corrector": "gibs"}, 'corrector = "gibs" is not a corrector: did you mean gibbs?'),
    ({"corrector": samplers.Gibbs(1, 2)}, "num_redrawn = 2 must be at most num_masked = 1"),
    ({"corrector": samplers.Gibbs(num_passes=0)}, "num_passes must be a whole number"),
    ({"corrector": "self_correction", "schedule": ABSORBING}, 'take "gibbs" or "renoise"'),
    ({"times": "sine"}, 'times = "sine" is not a time grid: there are uniform, cosine, polynomial'),
    ({"times": [8, 4, 4, 0]}, r"times must fall from T = 8 to 0, got times\[2\] = 4 after 4"),
    ({"times": [9, 4, 0]}, "times must begin with T = 8 and end with 0, got 9 to 0"),
    ({"times": [8, 4, 1]}, "times must begin with T = 8 and end with 0, got 8 to 1"),
    ({"times": [8.0, 0.0]}, "whole numbers from T = 8 to 0"),
    ({"times": [8, 4, 0], "num_steps": 5}, "times has 2 steps: leave num_steps out"),
    ({"known": jnp.full((3, 12), K)}, "known must have the shape of the samples"),
    ({"known": jnp.full(SHAPE, 1.0)}, "known must hold integers"),
]


@pytest.fixture
def as_users_call_it():
    """Leave out the checks of annotations, which tests add: users do not have them."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_input_ends_in_a_sentence(options, message):
    schedule = options.get("schedule", PUBLISHED)
    with pytest.raises(ValueError, match=message) as caught:
        draw(schedule, **{name: x for name, x in options.items() if name != "schedule"})
    assert "\n" not in str(caught.value)


def test_keep_visible_is_a_switch():
    rule = samplers.Ancestral()
    object.__setattr__(rule, "keep_visible", 1)  # as without the checks of types in tests
    with pytest.raises(ValueError, match="keep_visible = 1 must be True or False"):
        draw(sampler=rule)


def test_an_order_needs_masks():
    schedule = cdcd.mask_replace_schedule(
        num_steps=4, vocab_size=K, final_keep=0.01, final_uniform=0.99, first_uniform=1e-5
    )
    for sampler in ("confidence", "remask"):
        with pytest.raises(ValueError, match="the schedule makes none"):
            draw(schedule, sampler=sampler)


def test_options_of_both_parts_are_told_apart():
    rule, corrector = find_parts("confidence", "gibbs", {"num_masked": 4, "choice_temperature": 1})
    assert (rule, corrector) == (samplers.Confidence(1), samplers.Gibbs(num_masked=4))
    text = 'num_mask is not an option of sampler = "confidence" and corrector = "gibbs": did you'
    with pytest.raises(ValueError, match=re.escape(text)):
        find_parts("confidence", "gibbs", {"num_mask": 4})


def test_sampling_from_given_tokens_goes_on_from_their_noise():
    schedule = cdcd.absorbing_schedule(num_steps=10, vocab_size=4)
    flat = lambda zt, t, cond: jnp.zeros((*zt.shape, 4))  # noqa: E731
    start = jnp.full((4000, 3), 2)
    tokens, states = cdcd.sample(
        jax.random.key(0), schedule, flat, None, shape=(4000, 3),
        start=start, start_step=4, return_trajectory=True,
    )  # fmt: skip
    assert states.shape == (5, 4000, 3)
    # Of a linear schedule 4 of 10 tokens are masked at the start, and each is drawn anew.
    assert abs(float(jnp.mean(states[0] == 4)) - 0.4) < 0.02
    assert bool(jnp.all((states[0] == 2) | (states[0] == 4)))
    assert abs(float(jnp.mean(tokens == 2)) - (0.6 + 0.4 / 4)) < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_step": 3}, "start and start_step go together"),
        ({"start": jnp.zeros((2, 3), int)}, "start and start_step go together"),
        ({"start": jnp.zeros((2, 4), int), "start_step": 3}, "start must have the shape"),
        ({"start": jnp.full((2, 3), 4), "start_step": 3}, "start"),
        ({"start": jnp.zeros((2, 3), int), "start_step": 11}, "at most the 10 of the schedule"),
        ({"start": jnp.zeros((2, 3), int), "start_step": 3, "num_steps": 4}, "num_steps must be"),
    ],
)
def test_bad_starts_are_named(options, message):
    schedule = cdcd.absorbing_schedule(num_steps=10, vocab_size=4)
    flat = lambda zt, t, cond: jnp.zeros((*zt.shape, 4))  # noqa: E731
    with pytest.raises(ValueError, match=message):
        cdcd.sample(jax.random.key(0), schedule, flat, None, shape=(2, 3), **options)


def test_temperature_and_truncation_follow_their_ramps():
    schedule = cdcd.absorbing_schedule(num_steps=2, vocab_size=4)
    log_p = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    fixed = lambda zt, t, cond: jnp.broadcast_to(log_p, (*zt.shape, 4))  # noqa: E731
    tokens, states = cdcd.sample(
        jax.random.key(0), schedule, fixed, None, shape=(8000, 1),
        truncation=cdcd.Ramp(1.0, 1e-6, power=2.0), return_trajectory=True,
    )  # fmt: skip
    first = np.asarray(tokens)[np.asarray(states[1]) != 4]  # drawn at u = 1, all tokens
    second = np.asarray(tokens)[np.asarray(states[1]) == 4]  # at u = 1/2, a mass of 1/4
    assert {*first.tolist()} == {0, 1, 2, 3}
    assert {*second.tolist()} == {0}


@pytest.mark.parametrize("rule", ["first_hitting", "entropy"])
def test_rules_with_steps_of_their_own_take_no_corrector(rule):
    schedule = cdcd.absorbing_schedule(num_steps=8, vocab_size=4)
    flat = lambda zt, t, cond: jnp.zeros((*zt.shape, 4))  # noqa: E731
    with pytest.raises(ValueError, match="gives the network steps of its own"):
        cdcd.sample(
            jax.random.key(0), schedule, flat, None, shape=(1, 4), sampler=rule, corrector="gibbs"
        )


def test_entropy_gives_the_network_the_step_of_its_masks_from_a_start_too():
    schedule, steps = cdcd.absorbing_schedule(num_steps=16, vocab_size=2), []

    def denoise_fn(zt, t, cond):
        jax.debug.callback(lambda t, n: steps.append((int(t), int(n))), t[0], jnp.sum(zt == 2))
        return jnp.zeros((*zt.shape, 2))

    draw = jax.jit(
        lambda key: cdcd.sample(
            key, schedule, denoise_fn, None, shape=(1, 64), sampler=cdcd.samplers.Entropy(0.0),
            start=jnp.zeros((1, 64), int), start_step=8,
        )
    )  # fmt: skip
    draw(jax.random.key(0))
    jax.effects_barrier()
    for t, masked in steps[:-1]:
        assert t == max(1, 16 * masked // 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": cdcd.Ramp(0.5, 1.0, power=-1.0)}, "temperature.power = -1"),
        ({"truncation": cdcd.Ramp(0.5, 1.0, power=float("nan"))}, "truncation.power = nan"),
        ({"temperature": cdcd.Interval(0.5, 0.8, 0.2)}, "temperature: the Interval from low = 0.8"),
        ({"truncation": cdcd.Ramp(0.9, 0.5, power="x")}, "truncation.power must be a number"),
        ({"sampler": "fast", "times": np.array([8, 0])}, "has steps of its own"),
    ],
)
def test_bad_ramps_and_grids_are_named(options, message):
    schedule = cdcd.absorbing_schedule(num_steps=8, vocab_size=4)
    flat = lambda zt, t, cond: jnp.zeros((*zt.shape, 4))  # noqa: E731
    with pytest.raises(ValueError, match=message):
        cdcd.sample(jax.random.key(0), schedule, flat, None, shape=(1, 4), **options)


@pytest.mark.parametrize("num_steps", [None, 5])
def test_first_hitting_calls_the_head_where_it_draws(num_steps):
    """A head apart is called at ceil(length / calls) positions of a row, and changes no sample."""
    schedule = cdcd.absorbing_schedule(num_steps=6, vocab_size=3)
    logits = jax.random.normal(jax.random.key(0), (8, 3))
    positions = []

    def hidden(zt, t, cond):
        return jnp.broadcast_to(jnp.eye(8)[None], (*zt.shape, 8))

    def head(hidden):
        positions.append(hidden.shape[1])
        return hidden @ logits

    options = {"shape": (4, 8), "sampler": "first_hitting", "num_steps": num_steps}
    draw = jax.jit(lambda key: cdcd.sample(key, schedule, hidden, None, head_fn=head, **options))
    apart = draw(jax.random.key(1))
    assert set(positions) == {2 if num_steps else 1}
    whole = cdcd.sample(
        jax.random.key(1), schedule, lambda *inputs: hidden(*inputs) @ logits, None, **options
    )
    np.testing.assert_array_equal(apart, whole)
    nowhere = lambda x: x[..., :3] * jnp.nan  # noqa: E731
    with pytest.raises(ValueError, match="probabilities are NaN"):
        cdcd.sample(jax.random.key(1), schedule, hidden, None, head_fn=nowhere, **options)

    def denoise(params, *inputs):
        raise AssertionError("the model has a head apart")

    model = Model(
        init=lambda key: {},
        denoise=denoise,
        encode=lambda params, cond: cond,
        hidden=lambda params, *inputs: hidden(*inputs),
        head=lambda params, features: head(features),
    )
    sample_fn = make_sample_fn(schedule, model, length=8)
    del options["shape"]
    drawn = sample_fn(
        {}, jax.random.key(1), jnp.zeros(4), truncation=1.0, temperature=1.0, **options
    )
    np.testing.assert_array_equal(drawn, whole)


@pytest.mark.parametrize("given", [{}, {"truncation": 0.86}, {"top_k": 2}, {"temperature": 0.5}])
@pytest.mark.parametrize("sampler", ["ancestral", "confidence", "first_hitting"])
def test_no_filter_makes_samples_of_nan(sampler, given):
    schedule = cdcd.absorbing_schedule(num_steps=6, vocab_size=3)

    def nowhere(zt, t, cond):
        return jnp.full((*zt.shape, 3), jnp.nan)

    draw = jax.jit(
        lambda key: cdcd.sample(
            key, schedule, nowhere, None, shape=(2, 8), sampler=sampler, **given
        )
    )
    assert np.all(np.asarray(draw(jax.random.key(0))) == 3)  # which the callers refuse
