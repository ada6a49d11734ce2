"""Small inputs that are right, and how a case is made of a call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import cdcd_jax as cdcd
from cdcd_jax.models.functional import make_denoiser
from tests.adversarial.cases import Case, Outcome, call

K, T, SHAPE = 5, 4, (2, 6)
SCHEDULE = cdcd.mask_replace_schedule(num_steps=T, vocab_size=K)
Z0 = np.arange(12, dtype=np.int32).reshape(SHAPE) % K
STEPS = np.array([2, 4], np.int32)
BEFORE = np.array([1, 0], np.int32)
LOGITS = np.zeros((*SHAPE, K), np.float32)
STEP_TERM = cdcd.Contrast("step", chains="shared")
SIZES = {"num_layers": 1, "width": 8, "num_heads": 2, "num_steps": T, "vocab_size": K}
NETWORK = make_denoiser(grid=(2, 3), **SIZES)
BY_CLASS = make_denoiser(grid=(2, 3), condition="class", num_classes=3, **SIZES)


def key(seed: int = 1) -> jax.Array:
    """Return a random key."""
    return jax.random.key(seed)


def uniform(zt: Any, t: Any, cond: Any) -> jax.Array:
    """Return a network's output that says nothing."""
    return jnp.zeros((*zt.shape, K))


def loss(z0: Any = Z0, negatives: Any = None, denoise_fn: Any = uniform, **given: Any) -> Any:
    """Evaluate the loss, contrastive if there are negatives."""
    made = cdcd.make_loss(SCHEDULE, contrast=None if negatives is None else STEP_TERM)
    random = given.pop("key", key())
    return made(random, denoise_fn, z0, None, negatives=negatives, **given)[0].loss


def sample(denoise_fn: Any = uniform, **options: Any) -> Any:
    """Draw a sample in two steps."""
    given = {"schedule": SCHEDULE, "shape": SHAPE, "num_steps": 2, "cond": None, "key": key()}
    given |= options
    return cdcd.sample(
        given.pop("key"), given.pop("schedule"), denoise_fn, given.pop("cond"), **given
    )


def bound(z0: Any = Z0, denoise_fn: Any = uniform) -> Any:
    """Evaluate the bound."""
    return cdcd.evaluate_bound(key(), SCHEDULE, denoise_fn, z0, None)


def refused(name: str, function: Callable[[], Any], *says: str) -> Case:
    """Return a case of a call that has to end in one sentence with these fragments."""

    def attack(folder: Path) -> Outcome:
        return call(function, ValueError)

    return Case(name, attack, says=says)


def right(name: str, function: Callable[[], Any], expected: Any) -> Case:
    """Return a case of a call that has to give certain values; of a function, whatever it says."""

    def attack(folder: Path) -> Outcome:
        def compare() -> str:
            value = function()
            wanted = expected() if callable(expected) else expected
            assert np.shape(value) == np.shape(wanted), (np.shape(value), np.shape(wanted))
            np.testing.assert_allclose(
                np.asarray(value, np.float64), np.asarray(wanted, np.float64), rtol=1e-6
            )
            return "as expected"

        return call(compare, ValueError)

    return Case(name, attack, codes=(0,), says=("as expected",))
