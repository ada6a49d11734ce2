"""All random numbers of one evaluation of the loss, drawn for the whole batch at once."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdcd_jax.checks import check_ids, check_negatives, check_tokens, check_type
from cdcd_jax.diffusion.contrastive import Contrast
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.timesteps import TimestepStats, init_timestep_stats, sample_timesteps
from cdcd_jax.diffusion.transitions import corrupt
from cdcd_jax.typing import Leaf, PRNGKey, Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """All that is random in an evaluation of the loss, row by row: it may be split as the batch is.

    Attributes:
        t: Steps [batch], 1..T.
        p_t: The probability with which each was drawn [batch].
        zt: Noised tokens [batch length].
        zt_negatives: Noised tokens of those negatives that have noise of their own
            [batch num_neg length], or None.
        kept: For each contrastive term whether it is applied to a row [batch], 0 or 1; None where
            it always is.
    """

    t: Leaf
    p_t: Leaf
    zt: Leaf
    zt_negatives: Leaf
    kept: Leaf


def draw_noise(
    key: PRNGKey,
    schedule: Schedule,
    contrasts: Sequence[Contrast],
    z0: Tokens,
    negatives: Sequence[Array] = (),
    stats: TimestepStats | None = None,
    *,
    stratified: bool = False,
) -> Noise:
    """Draw all that is random in an evaluation of the loss; nothing is checked here.

    Args:
        key: Random key.
        schedule: The noise schedule.
        contrasts: The contrastive terms, which say which negatives are corrupted on their own.
        z0: Clean tokens, values 0..K-1.
        negatives: One array for each contrastive term.
        stats: Running statistics by which steps are drawn; None draws uniformly.
        stratified: Spread the steps of a batch evenly over their distribution, see
            `cdcd_jax.diffusion.timesteps.sample_timesteps`.

    Returns:
        See `Noise`.
    """
    step_key, noise_key, term_key = jax.random.split(key, 3)
    negative_key, subset_key = jax.random.split(term_key)
    batch, num_steps = z0.shape[0], schedule.num_steps
    if stats is None and stratified:
        stats = init_timestep_stats(num_steps)  # by which all steps are as probable
    if stats is None:
        t = jax.random.randint(step_key, (batch,), 1, num_steps + 1)
        p_t = jnp.full((batch,), 1.0 / num_steps)
    else:
        t, p_t = sample_timesteps(step_key, stats, batch, stratified=stratified)

    # All negatives of an example are at its step t, each with noise of its own.
    zt_negatives, clean = None, join_corrupted(contrasts, negatives)
    if clean is not None:
        rows, steps = clean.reshape(-1, clean.shape[-1]), jnp.repeat(t, clean.shape[1])
        zt_negatives = corrupt(negative_key, schedule, rows, steps).reshape(clean.shape)

    # A term of Tc < T steps applies where the rank of t in a fresh random order is below Tc.
    kept: list[Array | None] = [None] * len(contrasts)
    for index, contrast in enumerate(contrasts):
        if contrast.num_steps is not None:
            rank = jax.random.permutation(jax.random.fold_in(subset_key, index), num_steps)
            kept[index] = (rank[t - 1] < contrast.num_steps).astype(jnp.float32)

    zt = corrupt(noise_key, schedule, z0, t)
    return Noise(t=t, p_t=p_t, zt=zt, zt_negatives=zt_negatives, kept=tuple(kept))


def join_corrupted(contrasts: Sequence[Contrast], negatives: Sequence[Array]) -> Array | None:
    """Join the negatives that are corrupted on their own; None where there are none."""
    own = [
        negative
        for contrast, negative in zip(contrasts, negatives, strict=True)
        if contrast.corrupts_negatives and negative.shape[1] > 0
    ]
    return jnp.concatenate(own, axis=1) if own else None


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
    own = join_corrupted(contrasts, given)
    for name, drawn, wanted in (
        ("zt", noise.zt, z0),
        ("zt_negatives", noise.zt_negatives, own),
    ):
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
