"""Calls at the edge of what is right: they have to give the right values."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import cdcd_jax as cdcd
from tests.adversarial.calls.common import (
    BEFORE,
    LOGITS,
    SCHEDULE,
    SHAPE,
    STEPS,
    Z0,
    K,
    key,
    loss,
    right,
    sample,
    uniform,
)
from tests.adversarial.cases import Case

FULL = cdcd.absorbing_schedule(num_steps=4, vocab_size=255)
ONE = cdcd.absorbing_schedule(num_steps=1, vocab_size=2)
FEW = cdcd.absorbing_schedule(num_steps=2, vocab_size=K)
LONG = cdcd.absorbing_schedule(num_steps=300, vocab_size=K)


def certain(zt, t, cond):
    """Say that every token is 3, in whatever the condition's dtype is."""
    return jnp.log(jax.nn.one_hot(jnp.full(zt.shape, 3), K)).astype(cond.dtype)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    noised = lambda z=Z0, t=STEPS, k=None: cdcd.q_sample(  # noqa: E731
        key() if k is None else k, SCHEDULE, z, t
    )
    for dtype in ("int8", "uint8", "int16", "uint16", "uint32", "int64"):
        yield right(
            f"q_sample: {dtype}", lambda d=dtype: noised(Z0.astype(d)) == K, lambda: noised() == K
        )
        yield right(
            f"log_q: steps of {dtype}",
            lambda d=dtype: cdcd.log_q(SCHEDULE, Z0, BEFORE.astype(d), STEPS.astype(d)),
            lambda: cdcd.log_q(SCHEDULE, Z0, BEFORE, STEPS),
        )
    top = np.full(SHAPE, 254, np.uint8)
    yield right("q_sample: uint8 holds a mask of 255", lambda: _all_masked(top), True)
    yield right(
        "log_q: steps beyond an int8",
        lambda: cdcd.log_q(
            LONG, Z0, np.array([255, 255], np.uint8), np.array([256, 256], np.int16)
        ),
        lambda: cdcd.log_q(LONG, Z0, np.array([255, 255]), np.array([256, 256])),
    )
    yield right("q_sample: JAX arrays", lambda: noised(jnp.asarray(Z0), jnp.asarray(STEPS)), noised)
    yield right("q_sample: a raw key", lambda: noised(k=jax.random.PRNGKey(1)), noised)
    yield right(
        "log_q: probabilities sum to 1",
        lambda: jnp.exp(cdcd.log_q(SCHEDULE, Z0, BEFORE, STEPS)).sum(-1),
        np.ones(SHAPE),
    )
    for dtype in ("float16", "bfloat16", "float32"):
        cond = jnp.zeros(2, dtype)
        run = lambda cond=cond: sample(certain, cond=cond)  # noqa: E731
        yield right(f"sample: {dtype} logits with -inf", run, np.full(SHAPE, 3))
    sure = {"denoise_fn": certain, "cond": jnp.zeros(2)}
    for what, options in (
        ("a temperature of 1e-37", {"temperature": 1e-37}),
        ("a temperature of 1e30", {"temperature": 1e30}),
        ("a temperature that is an array", {"temperature": jnp.float32(2.0)}),
        ("a truncation that is whole", {"truncation": 1}),
        ("a truncation of 1e-30", {"truncation": 1e-30}),
        ("top_k of more than K", {"top_k": 99}),
        ("a NumPy number of steps", {"num_steps": np.int64(2)}),
        ("a list for the shape", {"shape": list(SHAPE)}),
        ("a raw key", {"key": jax.random.PRNGKey(0)}),
    ):
        run = lambda options=options: sample(**sure, **options)  # noqa: E731
        yield right(f"sample: {what}", run, np.full(SHAPE, 3))
    for dtype in ("int32", "uint8", "int64"):
        run = lambda dtype=dtype: sample(known=Z0.astype(dtype))  # noqa: E731
        yield right(f"sample: all known, in {dtype}", run, Z0)
    yield right(
        "sample: T = 1 and K = 2",
        lambda: cdcd.sample(key(), ONE, lambda z, t, c: LOGITS[..., :2], None, shape=SHAPE) < 2,
        np.ones(SHAPE),
    )
    yield right(
        "sample: one token",
        lambda: cdcd.sample(key(), SCHEDULE, uniform, None, shape=(1, 1)) < K,
        np.ones((1, 1)),
    )
    guess = jax.nn.log_softmax(np.arange(K, dtype=np.float32))
    guess = np.broadcast_to(guess, LOGITS.shape)
    yield right("guide: a scale of 1", lambda: cdcd.guide(guess, LOGITS, 1), guess)
    yield right(
        "guide: a scale of 1e36 is finite",
        lambda: jnp.isfinite(cdcd.guide(guess, LOGITS, 1e36)).all(),
        True,
    )
    yield right(
        "guide: half precision",
        lambda: cdcd.guide(jnp.zeros(LOGITS.shape, "float16"), LOGITS, 9.0),
        lambda: cdcd.guide(LOGITS, LOGITS, 9.0),
    )
    yield right(
        "shuffle_chunks: no negatives",
        lambda: cdcd.shuffle_chunks(key(), Z0, num_chunks=2, num_negatives=0).shape,
        (2, 0, 6),
    )
    yield right(
        "shuffle_chunks: uint8",
        lambda: cdcd.shuffle_chunks(key(), Z0.astype(np.uint8), num_chunks=2, num_negatives=1),
        lambda: np.roll(Z0, 3, axis=1)[:, None],
    )
    yield right(
        "loss: negatives of another dtype",
        lambda: _own_chains(Z0.astype(np.uint8), Z0[:, None].astype(np.int16)),
        lambda: _own_chains(Z0, Z0[:, None]),
    )
    yield right("loss: NumPy and JAX", lambda: loss(jnp.asarray(Z0)), loss)
    yield right(
        "prior_kl: an absorbing schedule has none", lambda: cdcd.prior_kl(ONE), np.float32(0.0)
    )


def _own_chains(z0: np.ndarray, negatives: np.ndarray) -> jax.Array:
    made = cdcd.make_loss(FEW, contrast=cdcd.Contrast("step"))
    return made.draw(key(), z0, negatives=negatives).zt_negatives == K


def _all_masked(tokens: np.ndarray) -> bool:
    steps = np.array([4, 4])
    return bool((cdcd.q_sample(key(), FULL, tokens, steps) == 255).all())
