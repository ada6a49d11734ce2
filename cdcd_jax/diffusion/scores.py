"""From what a network says of zt to numbers: sums of the bound's terms over positions.

At every position log p(z0 | zt, cond) has K entries, and its terms are three numbers. Where memory
counts, the network's last layer is therefore taken together with them, a few positions at a time.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.diffusion.bound import step_terms
from cdcd_jax.diffusion.denoiser import log_probs
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.typing import HeadFn, LogProbs, Negatives, Timesteps, Tokens


class Score(NamedTuple):
    """How a network's output is scored.

    Attributes:
        sums: ``(output, clean, zt) -> (kl, nll)``, [batch num_neg] each, of clean sequences
            [batch num_neg length] under the output at one zt, see `weighted_sums`.
        chains: ``(output, clean, zt) -> kl`` [num_neg batch] of chains that each have an output and
            a zt of their own; all three have the chains first.
    """

    sums: Callable[..., Any]
    chains: Callable[..., Any]


def make_score(
    schedule: Schedule,
    t: Timesteps,
    *,
    mask_weight: tuple[float, float] = (1.0, 1.0),
    head_fn: HeadFn | None = None,
    positions_per_pass: int | None = None,
) -> Score:
    """Return the functions that turn a network's output into `weighted_sums`.

    Args:
        schedule: The noise schedule.
        t: Step of each example, 1..T.
        mask_weight: Weight of masked and of unmasked positions.
        head_fn: ``(hidden) -> log p(z0 | zt, cond)``, position by position, where the output is
            hidden features; None where it is log p itself. Either may be logits.
        positions_per_pass: At how many positions log p exists at once; they are computed again in
            the backward pass. None takes all.

    Returns:
        See `Score`. Chains are scored all at once, or one after another where positions are.

    Raises:
        ValueError: There is no head_fn to go position by position, or, on calling, log p has
            another shape than [batch positions K].
    """
    if positions_per_pass is not None and head_fn is None:
        raise ValueError(
            f"positions_per_pass = {positions_per_pass} needs head_fn, which turns the features "
            "that denoise_fn then returns into log-probabilities"
        )

    name = "denoise_fn" if head_fn is None else "head_fn"

    def sums(output: Array, clean: Negatives, zt: Tokens) -> tuple[Array, Array]:
        log_p0 = output if head_fn is None else head_fn(output)
        log_p0 = log_probs(log_p0, zt, schedule.vocab_size, name=name)
        return weighted_sums(schedule, log_p0, clean, zt, t, mask_weight)

    if positions_per_pass is None:
        return Score(sums, jax.vmap(partial(_kl_of_chain, sums)))
    in_chunks = partial(_sum_over_chunks, sums, positions_per_pass)
    return Score(
        in_chunks, lambda *chains: jax.lax.map(lambda one: _kl_of_chain(in_chunks, *one), chains)
    )


def _kl_of_chain(
    sums: Callable[..., Any], output: Array, clean: Tokens, zt: Tokens
) -> Float[Array, " batch"]:
    return sums(output, clean[:, None], zt)[0][:, 0]


def _sum_over_chunks(
    score: Callable[..., Any], size: int, output: Array, clean: Negatives, zt: Tokens
) -> tuple[Array, Array]:
    """Score so many positions at a time and add up, with the rest of the length at the end."""
    if output.ndim != 3 or output.shape[:2] != zt.shape:
        raise ValueError(
            f"denoise_fn must return features of shape ({zt.shape[0]}, {zt.shape[1]}, width) for "
            f"head_fn, got {output.shape}"
        )
    num_chunks = zt.shape[1] // size
    split = num_chunks * size
    # The batch stays in one piece, because it is what devices share between them.
    score = jax.checkpoint(score, prevent_cse=False)
    sums = []
    if num_chunks:
        chunks = [
            jnp.moveaxis(x[..., :split, :].reshape(*x.shape[:-2], num_chunks, size, -1), -3, 0)
            for x in (output, clean[..., None], zt[..., None])
        ]
        parts = jax.lax.map(
            lambda chunk: score(chunk[0], chunk[1][..., 0], chunk[2][..., 0]), chunks
        )
        sums.append(jax.tree.map(lambda x: jnp.sum(x, axis=0), parts))
    if split < zt.shape[1]:
        sums.append(score(output[:, split:], clean[:, :, split:], zt[:, split:]))
    return jax.tree.map(lambda *x: sum(x), *sums)


def weighted_sums(
    schedule: Schedule,
    log_p0: LogProbs,
    clean: Negatives,
    zt: Tokens,
    t: Timesteps,
    mask_weight: tuple[float, float],
) -> tuple[Float[Array, "batch num_neg"], Float[Array, "batch num_neg"]]:
    """Sum `step_terms` over positions, weighted where zt is masked and where it is not.

    The weights apply to t > 1; the decoder's likelihood at t = 1 counts every position once.
    """
    kl, nll = step_terms(schedule, log_p0, clean, zt, t)
    masked, unmasked = mask_weight
    weight = jnp.where(zt == schedule.mask_id, masked, unmasked)
    weight = jnp.where(t[:, None] == 1, 1.0, weight)[:, None]
    return jnp.sum(kl * weight, axis=-1), jnp.sum(nll * weight, axis=-1)
