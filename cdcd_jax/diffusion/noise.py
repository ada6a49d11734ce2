"""All that is random in an evaluation of the loss, drawn for the whole batch before it is used."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.checks import check_ids, check_key, check_negatives, check_tokens, check_type
from cdcd_jax.diffusion.contrastive import Contrast
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.timesteps import TimestepStats, check_stats, sample_timesteps
from cdcd_jax.diffusion.transitions import q_sample
from cdcd_jax.typing import Leaf, Negatives, PRNGKey, Timesteps, Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """All that is random in an evaluation of the loss, row by row: it may be split as the batch is.

    Attributes:
        t: Steps [batch], 1..T.
        p_t: The probability with which each was drawn [batch].
        zt: Noised tokens [batch length].
        chains: Noised tokens of those negatives that have chains of their own
            [batch num_neg length], or None.
        kept: For each contrastive term whether it is applied to a row [batch], 0 or 1; None where
            it always is.
    """

    t: Leaf
    p_t: Leaf
    zt: Leaf
    chains: Leaf
    kept: Leaf


def draw_noise(
    key: PRNGKey,
    z0: Tokens,
    *,
    schedule: Schedule,
    contrasts: Sequence[Contrast],
    negatives: Array | Sequence[Array] | None = None,
    stats: TimestepStats | None = None,
) -> Noise:
    """Draw all that is random in an evaluation of the loss.

    Args:
        key: Random key.
        z0: Clean tokens, values 0..K-1.
        schedule: The noise schedule.
        contrasts: The contrastive terms, which say which negatives have chains of their own.
        negatives: One array for each contrastive term (or just the array, for one term).
        stats: Running statistics by which steps are drawn; None draws uniformly.

    Returns:
        See `Noise`.
    """
    check_key(key)
    z0, given = check_clean(z0, as_tuple(negatives), contrasts, schedule.vocab_size)
    if stats is not None:
        check_stats(stats, schedule.num_steps)
    step_key, noise_key, term_key = jax.random.split(key, 3)
    batch = z0.shape[0]
    if stats is None:
        t = jax.random.randint(step_key, (batch,), 1, schedule.num_steps + 1)
        p_t = jnp.full((batch,), 1.0 / schedule.num_steps)
    else:
        t, p_t = sample_timesteps(step_key, stats, batch)
    zt = q_sample(noise_key, schedule, z0, t)
    return noise_at(term_key, schedule, contrasts, z0, zt, t, p_t, negatives=given)


def noise_at(
    key: PRNGKey,
    schedule: Schedule,
    contrasts: Sequence[Contrast],
    z0: Tokens,
    zt: Tokens,
    t: Timesteps,
    p_t: Float[Array, " batch"],
    *,
    negatives: Array | Sequence[Array] | None = None,
) -> Noise:
    """Draw what is still random at given steps and noised tokens.

    Args:
        key: Random key, for the negatives' own chains and for downsampled contrastive steps.
        schedule: The noise schedule.
        contrasts: The contrastive terms, which say which negatives have chains of their own.
        z0: Clean tokens, values 0..K-1.
        zt: Noised tokens at step t, values 0..K.
        t: Steps, 1..T.
        p_t: Probability with which each step was drawn.
        negatives: One array for each contrastive term (or just the array, for one term).

    Returns:
        See `Noise`.
    """
    given = as_tuple(negatives)
    chain_key, subset_key = jax.random.split(key)
    own = own_chains(contrasts, given)
    kept = tuple(
        None
        if one.num_steps is None
        else _in_subset(jax.random.fold_in(subset_key, index), t, schedule.num_steps, one.num_steps)
        for index, one in enumerate(contrasts)
    )
    chains = None if own is None else noise_chains(chain_key, schedule, own, t)
    return Noise(t=t, p_t=p_t, zt=zt, chains=chains, kept=kept)


def noise_chains(key: PRNGKey, schedule: Schedule, clean: Negatives, t: Timesteps) -> Negatives:
    """Draw an own zt for every clean sequence, all of an example at the same step."""
    batch, num_chains, length = clean.shape
    flat = clean.reshape(batch * num_chains, length)
    return q_sample(key, schedule, flat, jnp.repeat(t, num_chains)).reshape(clean.shape)


def own_chains(contrasts: Sequence[Contrast], given: tuple) -> Negatives | None:
    """Join the negatives that are noised on their own; None where there are none."""
    own = [
        negative
        for one, negative in zip(contrasts, given, strict=True)
        if one.own_chains and negative.shape[1] > 0
    ]
    return jnp.concatenate(own, axis=1) if own else None


def _in_subset(key: PRNGKey, t: Timesteps, num_steps: int, size: int) -> Float[Array, " batch"]:
    """Return 1 where t is in a random subset of ``size`` of the steps 1..T, else 0."""
    rank = jax.random.permutation(key, num_steps)
    return (rank[t - 1] < size).astype(jnp.float32)


def as_tuple(value: Any) -> tuple:
    """Return several as a tuple, one as a tuple of one, None as an empty one."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, Sequence) else (value,)


def check_clean(
    z0: Tokens, given: tuple, contrasts: Sequence[Contrast], vocab_size: int
) -> tuple[Tokens, tuple]:
    """Check that z0 is clean tokens, with one array of negatives for each contrastive term.

    Returns:
        z0 and the negatives, as JAX arrays of one dtype.

    Raises:
        ValueError: One is not, and which.
    """
    check_tokens("z0", z0, vocab_size)
    if len(given) != len(contrasts):
        raise ValueError(
            f"the loss has {len(contrasts)} contrastive terms and was given {len(given)} sets of "
            "negatives: pass one array for each"
        )
    for index, negative in enumerate(given):
        name = f"negatives[{index}]" if len(given) > 1 else "negatives"
        check_negatives(name, negative, z0)
        check_ids(name, negative, vocab_size)
    z0 = jnp.asarray(z0)
    return z0, tuple(jnp.asarray(negative).astype(z0.dtype) for negative in given)


def check_noise(noise: Noise, z0: Tokens, given: tuple, contrasts: Sequence[Contrast]) -> None:
    """Raise a ValueError unless noise was drawn for tokens and negatives of these shapes."""
    check_type("noise", noise, Noise, "loss.draw(key, z0)")
    own = own_chains(contrasts, given)
    for name, drawn, wanted in (("zt", noise.zt, z0), ("chains", noise.chains, own)):
        shapes = [None if x is None else x.shape for x in (drawn, wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"noise.{name} has shape {shapes[0]} where the loss has {shapes[1]}: draw the "
                "noise for the same tokens and negatives"
            )
    if len(noise.kept) != len(contrasts):
        raise ValueError(
            f"noise was drawn for {len(noise.kept)} contrastive terms, the loss has "
            f"{len(contrasts)}"
        )
