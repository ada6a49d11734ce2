"""Tokens and steps: every function that takes them, with everything that is none."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

import cdcd_jax as cdcd
from tests.adversarial.calls.common import (
    BEFORE,
    LOGITS,
    NETWORK,
    SCHEDULE,
    SHAPE,
    STEPS,
    Z0,
    K,
    T,
    bound,
    key,
    loss,
    refused,
    sample,
    uniform,
)
from tests.adversarial.cases import Case

WIDE = cdcd.absorbing_schedule(num_steps=T, vocab_size=256)
SAMPLER = cdcd.make_sampler(SCHEDULE, uniform)

# Whether the mask may be among the tokens, what they are called, and the call.
OF_TOKENS = {
    "loss": (False, "z0", loss),
    "bound": (False, "z0", bound),
    "q_sample": (True, "zs", lambda z: cdcd.q_sample(key(), SCHEDULE, z, STEPS)),
    "log_q": (True, "zs", lambda z: cdcd.log_q(SCHEDULE, z, BEFORE, STEPS)),
    "log_posterior": (
        True,
        "zt",
        lambda z: cdcd.log_posterior(SCHEDULE, LOGITS, z, BEFORE, STEPS),
    ),
    "log_q_posterior of z0": (
        False,
        "z0",
        lambda z: cdcd.log_q_posterior(SCHEDULE, z, Z0, BEFORE, STEPS),
    ),
    "log_q_posterior of zt": (
        True,
        "zt",
        lambda z: cdcd.log_q_posterior(SCHEDULE, Z0, z, BEFORE, STEPS),
    ),
    "sampler.step": (
        True,
        "state.zt",
        lambda z: SAMPLER.step(key(), cdcd.samplers.State(z), 0, 2, None),
    ),
    "known": (True, "known", lambda z: sample(known=z)),
    "negatives": (False, "negatives", lambda z: loss(Z0, z)),
    "shuffle_chunks": (None, "z0", lambda z: cdcd.shuffle_chunks(key(), z, num_chunks=2)),
    "shuffle_patches": (
        None,
        "z0",
        lambda z: cdcd.shuffle_patches(key(), z, grid=(2, 3), patches=(2, 1)),
    ),
    "network": (True, "zt", lambda z: NETWORK.apply({}, z, STEPS, None)),
}

OF_STEPS = {
    "q_sample": lambda s, t: cdcd.q_sample(key(), SCHEDULE, Z0, t, s),
    "log_q": lambda s, t: cdcd.log_q(SCHEDULE, Z0, s, t),
    "log_posterior": lambda s, t: cdcd.log_posterior(SCHEDULE, LOGITS, Z0, s, t),
    "log_q_posterior": lambda s, t: cdcd.log_q_posterior(SCHEDULE, Z0, Z0, s, t),
    "network": lambda s, t: NETWORK.apply({}, Z0, t, None),
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _tokens()
    yield from _narrow_types()
    yield from _steps()


def _tokens() -> Iterator[Case]:
    for function, (mask, name, run) in OF_TOKENS.items():
        z = Z0[:, None] if function == "negatives" else Z0
        last = K if mask else K - 1
        for what, value, says in (
            ("a list", z.tolist(), f"{name} must be an array"),
            ("nothing", None, f"{name} must be an array"),
            ("a number", 3, f"{name} must be an array"),
            ("floats", z.astype(np.float32), f"{name} must hold integers"),
            ("booleans", z > 2, f"{name} must hold integers"),
            ("another order of bytes", z.astype(">i4"), f"{name} is >i4, in another machine's"),
            ("one axis more", z[..., None], name),
            ("one axis less", z[0], name),
            ("no rows", z[:0], name),
        ):
            if function in ("negatives", "known") and what == "nothing":
                continue
            if function == "negatives" and what == "a list":
                says = "sets of negatives"
            run_it = lambda run=run, value=value: run(value)  # noqa: E731
            yield refused(f"{function}: {what} for {name}", run_it, says)
        if mask is None:
            continue
        for bad in (last + 1, -1, 2**30):
            changed = z.copy()
            changed[(1,) + (0,) * (z.ndim - 1)] = bad
            place = "[1, 0, 0]" if z.ndim == 3 else "[1, 0]"
            run_it = lambda run=run, value=changed: run(value)  # noqa: E731
            sentence = f"{name}{place} = {bad} is not a token id: those are 0..{last}"
            yield refused(f"{function}: {bad} in {name}", run_it, sentence)


def _narrow_types() -> Iterator[Case]:
    for dtype, schedule, size in (
        ("uint8", WIDE, 256),
        ("int8", cdcd.absorbing_schedule(num_steps=T, vocab_size=128), 128),
    ):
        z = Z0.astype(dtype)
        flat = lambda zt, t, cond, size=size: jnp.zeros((*zt.shape, size))  # noqa: E731
        says = f"is {dtype}, which cannot hold the mask, {size}: use int32"
        for name, run in {
            "q_sample": lambda z, s, f: cdcd.q_sample(key(), s, z, STEPS),
            "log_q": lambda z, s, f: cdcd.log_q(s, z, BEFORE, STEPS),
            "log_q_posterior": lambda z, s, f: cdcd.log_q_posterior(s, z, z, BEFORE, STEPS),
            "loss": lambda z, s, f: cdcd.make_loss(s)(key(), f, z, None),
            "bound": lambda z, s, f: cdcd.evaluate_bound(key(), s, f, z, None),
            "known": lambda z, s, f: cdcd.sample(key(), s, f, None, shape=SHAPE, known=z),
            "sampler.step": lambda z, s, f: cdcd.make_sampler(s, f).step(
                key(), cdcd.samplers.State(z), 0, 2, None
            ),
        }.items():
            run_it = lambda run=run, z=z, s=schedule, f=flat: run(z, s, f)  # noqa: E731
            yield refused(f"{name}: {dtype} for {size} tokens", run_it, says)


def _steps() -> Iterator[Case]:
    for function, run in OF_STEPS.items():
        for what, t, says in (
            ("0", STEPS - STEPS, "t[0] = 0 is not a noised step: those are 1..T = 1..4"),
            ("T + 1", np.array([2, 5]), "t[1] = 5 is not a noised step"),
            ("-3", np.array([-3, 4]), "t[0] = -3 is not a noised step"),
            ("floats", STEPS.astype(np.float32), "t must hold integers"),
            ("a list", STEPS.tolist(), "t must be an array [batch], got a list"),
            ("a number", 2, "t must be an array [batch], got 2"),
            ("nothing", None, "t must be an array [batch], got None"),
            ("one too few", STEPS[:1], "t must"),
            ("a column", STEPS[:, None], "t must"),
        ):
            run_it = lambda run=run, t=t: run(BEFORE, t)  # noqa: E731
            yield refused(f"{function}: {what} for t", run_it, says)
        if function == "network":
            continue
        for what, s, says in (
            ("t", STEPS, "s[0] = 2 must be at least 0 and less than its t"),
            ("more than t", STEPS + 1, "s[0] = 3 must be at least 0 and less than its t"),
            ("-1", BEFORE - [0, 1], "s[1] = -1 must be at least 0 and less than its t"),
            ("floats", BEFORE.astype(np.float32), "s must hold integers"),
            ("a number", 0, "s must be an array [batch], got 0"),
            ("one too few", BEFORE[:1], "s must have shape [batch] = (2,)"),
        ):
            run_it = lambda run=run, s=s: run(s, STEPS)  # noqa: E731
            yield refused(f"{function}: {what} for s", run_it, says)
