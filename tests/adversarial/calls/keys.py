"""Random keys: every function that takes one, with everything that is none."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import cdcd_jax as cdcd
from tests.adversarial.calls.common import (
    NETWORK,
    SCHEDULE,
    STEPS,
    Z0,
    key,
    loss,
    refused,
    sample,
    uniform,
)
from tests.adversarial.cases import Case

OF_KEYS = {
    "loss": lambda key: loss(key=key),
    "bound": lambda key: cdcd.evaluate_bound(key, SCHEDULE, uniform, Z0, None),
    "sample": lambda key: sample(key=key),
    "q_sample": lambda key: cdcd.q_sample(key, SCHEDULE, Z0, STEPS),
    "shuffle_chunks": lambda key: cdcd.shuffle_chunks(key, Z0, num_chunks=2),
    "shuffle_patches": lambda key: cdcd.shuffle_patches(key, Z0, grid=(2, 3), patches=(2, 1)),
    "sampler.init": lambda key: cdcd.make_sampler(SCHEDULE, uniform).init(key, 2, 6),
    "network.init": lambda key: NETWORK.init(key),
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for function, run in OF_KEYS.items():
        for what, value, says in (
            ("nothing", lambda: None, "key must be a random key, as of jax.random.key(0), got"),
            ("a seed", lambda: np.int32(0), "key must be a random key"),
            ("floats", lambda: jnp.zeros(2), "key must be a random key"),
            ("four words", lambda: jnp.zeros(4, jnp.uint32), "got one of 4 words where threefry"),
            ("a batch", lambda: jax.random.split(key(), 3), "got a batch of keys of shape (3,)"),
            (
                "a batch of raw",
                lambda: jax.random.key_data(jax.random.split(key(), 3)),
                "got a batch of keys of shape (3,): use key[0] or jax.vmap",
            ),
        ):
            run_it = lambda run=run, value=value: run(value())  # noqa: E731
            yield refused(f"{function}: {what} for the key", run_it, says)
