"""Samplers against the law of their tokens, found by enumerating all states of two positions."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

import cdcd_jax as cdcd
from cdcd_jax import samplers
from cdcd_jax.diffusion.samplers.draws import draw_clean, sample_reverse
from cdcd_jax.diffusion.transitions import sample_prior
from tests.support.oracles import jump_matrix, posterior

K, COUNT = 3, 50_000
JOINT = np.array([[0.4, 0.02, 0.08], [0.02, 0.2, 0.03], [0.08, 0.03, 0.14]])
STATES = [*itertools.product(range(K + 1), repeat=2)]
SCHEDULES = {
    "absorbing": lambda steps: cdcd.absorbing_schedule(num_steps=steps, vocab_size=K),
    "mask_replace": lambda steps: cdcd.mask_replace_schedule(
        num_steps=steps, vocab_size=K, final_uniform=0.4
    ),
    "published": lambda steps: cdcd.mask_replace_schedule(num_steps=steps, vocab_size=K),
    "halves": lambda steps: cdcd.mask_replace_schedule(
        num_steps=steps, vocab_size=K, first_keep=0.5
    ),
    "uniform": lambda steps: cdcd.mask_replace_schedule(
        num_steps=steps,
        vocab_size=K,
        final_keep=1e-3,
        final_uniform=0.999,
        first_keep=0.99,
        first_uniform=0.01,
    ),
}


class World:
    """Two tokens with a known joint under a schedule: everything by enumeration, in float64."""

    def __init__(self, schedule):
        self.schedule, total = schedule, schedule.num_steps
        forward = [jump_matrix(schedule, 0, t)[:K] for t in range(total + 1)]
        self.marginals = np.stack([np.einsum("ab,ai,bj->ij", JOINT, q, q) for q in forward])
        self.clean = np.zeros((total + 1, K + 1, K + 1, 2, K))
        for t, q in enumerate(forward):
            seen = np.einsum("ab,ai,bj->ijab", JOINT, q, q)
            # Of states that do not occur at t: a visible token is the clean one.
            likely = np.column_stack([np.eye(K), np.ones(K)])
            other = np.einsum("ab,ai,bj->ijab", JOINT, likely, likely)
            seen = np.where(seen.sum((2, 3), keepdims=True) > 0.0, seen, other)
            seen /= seen.sum((2, 3), keepdims=True)
            self.clean[t] = np.stack([seen.sum(3), seen.sum(2)], axis=2)
        table = jnp.log(jnp.asarray(np.maximum(self.clean, 1e-30), jnp.float32))
        self.denoise_fn = lambda zt, t, cond: table[t, zt[:, 0], zt[:, 1]]

    @functools.cache  # noqa: B019
    def kernel(self, z0, zt, s, t):
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(posterior(self.schedule, z0, zt, s, t))

    def step(self, law, s, t):
        """Carry a law of the states from t to s by the exact posterior, position by position."""
        found = np.zeros_like(law)
        for first, second in STATES:
            if law[first, second] == 0.0:
                continue
            each = [
                sum(p * self.kernel(z0, zt, s, t) for z0, p in enumerate(clean) if p > 0)
                for zt, clean in zip((first, second), self.clean[t, first, second], strict=True)
            ]
            found += law[first, second] * np.outer(*each)
        return found

    def prior(self):
        keep = self.schedule.keep_bar[-1]
        keep = 0.0 if keep < 1e-3 else keep
        one = np.append(np.full(K, keep / K), 1.0 - keep)
        return np.outer(one, one)

    def draw(self, law, key, count=COUNT):
        index = jax.random.choice(key, len(STATES), (count,), p=jnp.asarray(law.ravel()))
        return jnp.asarray(STATES, jnp.int32)[index]


def p_value(tokens, law):
    """Test counts of pairs, and of each token, by chi-square; return the smallest p."""
    tokens = np.asarray(tokens)
    size = law.shape[0]
    counts = np.bincount(tokens[:, 0] * size + tokens[:, 1], minlength=size**2).reshape(size, size)
    found = []
    for seen, expected in ((counts, law), (counts.sum(1), law.sum(1)), (counts.sum(0), law.sum(0))):
        seen, expected = seen.ravel(), len(tokens) * expected.ravel() / law.sum()
        large = expected >= 5.0
        assert seen[~large].sum() <= 10 + 3 * expected[~large].sum()
        statistic = np.sum((seen - expected)[large] ** 2 / expected[large])
        found.append(chi2.sf(statistic, max(large.sum() - 1, 1)))
    return min(found)


def draw(world, seed=0, **options):
    @jax.jit
    def run(key):
        return cdcd.sample(key, world.schedule, world.denoise_fn, None, shape=(COUNT, 2), **options)

    return run(jax.random.key(seed))


@pytest.mark.parametrize("total", [1, 2, 5, 20])
@pytest.mark.parametrize("name", ["absorbing", "mask_replace", "uniform"])
def test_ancestral_tokens_follow_the_enumerated_law(name, total):
    world = World(SCHEDULES[name](total))
    law = world.prior()
    for t in range(total, 0, -1):
        law = world.step(law, t - 1, t)
    assert law[K].sum() + law[:, K].sum() < 1e-4
    found = p_value(draw(world, sampler="ancestral"), law[:K, :K])
    print(f"ancestral {name} T={total}: p = {found:.3f}")
    assert found > 1e-4


@pytest.mark.parametrize("times", ["cosine", "polynomial", [20, 7, 3, 0]])
def test_any_grid_is_exact_for_its_steps(times):
    world = World(SCHEDULES["mask_replace"](20))
    num_steps = 4 if isinstance(times, str) else None
    visited = samplers.make_times(20, num_steps, times)
    law = world.prior()
    for t, s in itertools.pairwise(visited.tolist()):
        law = world.step(law, s, t)
    tokens = draw(world, times=times, num_steps=num_steps)
    found = p_value(tokens, law[:K, :K])
    print(f"grid {times}: p = {found:.3f}")
    assert found > 1e-4


ONE_BY_ONE = {
    "first_hitting": (samplers.FirstHitting(), "absorbing", 5, None),
    "first_hitting at T = 1": (samplers.FirstHitting(), "absorbing", 1, None),
    "first_hitting of the published": (samplers.FirstHitting(True), "published", 20, None),
    "entropy": (samplers.Entropy(budget=0.0), "absorbing", 5, 2),
    "margin": (samplers.Margin(), "absorbing", 2, None),
    "halton": (samplers.Halton(grid=(1, 2)), "absorbing", 2, None),
    "purity": (samplers.Purity(purity_weight=0.0), "halves", 2, None),
}


@pytest.mark.parametrize("case", ONE_BY_ONE)
def test_one_token_at_a_time_is_the_joint(case):
    """Each position is drawn given those before it, in any order that no token decides."""
    rule, name, total, num_steps = ONE_BY_ONE[case]
    schedule = SCHEDULES[name](total)
    found = p_value(draw(World(schedule), sampler=rule, num_steps=num_steps), JOINT)
    print(f"{case}: p = {found:.3f}")
    assert found > 1e-4


def test_first_hitting_is_the_limit_of_ancestral():
    """At 200 steps the two laws agree to what 50,000 samples can tell."""
    world = World(SCHEDULES["absorbing"](200))
    law = world.prior()
    for t in range(200, 0, -1):
        law = world.step(law, t - 1, t)
    assert np.abs(law[:K, :K] - JOINT).max() < 2e-3
    assert p_value(draw(world, sampler="first_hitting"), law[:K, :K]) > 1e-4


@pytest.mark.parametrize("name", ["absorbing", "mask_replace"])
@pytest.mark.parametrize(
    "rule",
    [
        samplers.Remask("cap", 0.3),
        samplers.Remask("rescale", 0.7),
        samplers.Remask("rescale", 0.0),
    ],
    ids=str,
)
def test_remasking_keeps_the_marginals_of_every_state(name, rule):
    """Of independent tokens every state has the law q(zt), however many are masked again."""
    schedule = SCHEDULES[name](6)
    weights = jnp.array([0.6, 0.3, 0.1])
    q = [np.asarray(weights) @ jump_matrix(schedule, 0, t)[:K] for t in range(7)]
    table = np.array(
        [[np.asarray(weights) * jump_matrix(schedule, 0, t)[:K, zt] for zt in range(K + 1)]
         for t in range(7)]
    )  # fmt: skip
    log_p = jnp.log(jnp.asarray(np.maximum(table, 1e-30), jnp.float32))

    @jax.jit
    def run(key):
        return cdcd.sample(
            key, schedule, lambda zt, t, cond: log_p[t[:, None], zt], None, shape=(COUNT, 2),
            sampler=rule, return_trajectory=True,
        )  # fmt: skip

    _, states = run(jax.random.key(0))
    smallest = 1.0
    for state, t in zip(np.asarray(states), range(6, -1, -1), strict=True):
        if t < 6:  # where it starts is the prior
            smallest = min(smallest, p_value(state, np.outer(q[t], q[t])))
    print(f"{rule} {name}: p = {smallest:.3f}")
    assert smallest > 1e-5
    before, after = states[2], states[3]
    again = float(((before != K) & (after == K)).mean())
    assert (again > 0.01) == (rule.remasking > 0.0)


@pytest.mark.parametrize("name", ["absorbing", "mask_replace"])
@pytest.mark.parametrize("s", [0, 2])
@pytest.mark.parametrize("corrector", [samplers.Gibbs(), samplers.Renoise()], ids=str)
def test_exact_correctors_leave_the_law_as_it_is(name, s, corrector):
    """From q(zs): Gibbs keeps it; forward and back by one fine step nearly does."""
    world = World(SCHEDULES[name](200 if isinstance(corrector, samplers.Renoise) else 5))
    schedule = world.schedule
    state = samplers.State(world.draw(world.marginals[s], jax.random.key(0)))

    @jax.jit
    def run(key, state):
        def predict(zt, t):
            log_p = jax.nn.log_softmax(world.denoise_fn(zt, t, None))
            return samplers.Prediction(log_p, log_p)

        steps = jnp.full(COUNT, s), jnp.full(COUNT, s + 1)
        return corrector.correct(key, schedule, predict, state, *steps)

    after = run(jax.random.key(1), state)
    found = p_value(after.zt, world.marginals[s])
    print(f"{corrector} {name} s={s}: p = {found:.3f}")
    assert found > 1e-4
    assert np.any(np.asarray(after.zt) != np.asarray(state.zt))


def test_gibbs_repairs_what_independent_draws_have_spoilt():
    world = World(SCHEDULES["absorbing"](1))
    spoilt = np.outer(JOINT.sum(1), JOINT.sum(0))

    def distance(tokens):
        counts = np.zeros((K, K))
        np.add.at(counts, tuple(np.asarray(tokens).T), 1.0)
        return np.abs(counts / COUNT - JOINT).sum()

    before = distance(draw(world))
    after = distance(draw(world, corrector=samplers.Gibbs(num_passes=6)))
    assert abs(before - np.abs(spoilt - JOINT).sum()) < 0.02
    assert after < 0.15 * before


def test_self_correction_finds_the_wrong_token():
    world = World(SCHEDULES["mask_replace"](20))
    state = samplers.State(jnp.tile(jnp.array([[0, 1]]), (1000, 1)))
    predict = lambda zt, t: samplers.Prediction(*[world.denoise_fn(zt, t + 14, None)] * 2)  # noqa: E731
    steps = jnp.zeros(1000, int), jnp.ones(1000, int)
    after = samplers.SelfCorrection().correct(
        jax.random.key(0), world.schedule, predict, state, *steps
    )
    changed = np.asarray(after.zt != state.zt)
    assert changed.sum(1).max() == 1
    assert changed.mean() > 0.02
    pairs = np.asarray(after.zt)[changed.any(1)]
    assert JOINT[tuple(pairs.T)].min() > JOINT[0, 1]


def test_a_probability_of_a_millionth_is_drawn_at_its_rate():
    """Of 20 million draws 20 are expected, from the posterior and from p(z0) alike."""
    schedule, shape = cdcd.absorbing_schedule(num_steps=1, vocab_size=2), (1000, 10_000)
    log_p0 = jnp.broadcast_to(jnp.log(jnp.array([1.0 - 1e-6, 1e-6])), (*shape, 2))

    @jax.jit
    def count(key, log_p0):
        masks, start = jnp.full(shape, 2), jnp.zeros(shape[0], int)
        one = sample_reverse(key, schedule, log_p0, masks, start, start + 1)
        return jnp.sum(one == 1), jnp.sum(draw_clean(jax.random.clone(key), schedule, log_p0) == 1)

    found = np.sum([count(key, log_p0) for key in jax.random.split(jax.random.key(0), 2)], axis=0)
    assert np.all((found >= 4) & (found <= 42)), found  # each with a chance below 1e-5


def test_the_prior_is_where_sampling_starts():
    schedule = SCHEDULES["uniform"](5)
    start = np.asarray(sample_prior(jax.random.key(0), schedule, (COUNT, 2)))
    one = np.append(np.full(K, schedule.keep_bar[-1] / K), schedule.gamma_bar[-1])
    assert p_value(start, np.outer(one, one)) > 1e-4
