"""The objective of CDCD, composed from the bound, the auxiliary loss and the contrastive terms."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.diffusion.contrastive import (
    TIME_WEIGHTS,
    Contrast,
    denoise_with_negatives,
    time_weight,
    weighted_sums,
)
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.timesteps import (
    TimestepStats,
    sample_timesteps,
    update_timestep_stats,
)
from cdcd_jax.diffusion.transitions import q_sample
from cdcd_jax.typing import DenoiseFn, Leaf, PRNGKey, Timesteps, Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class LossTerms:
    """What `make_loss` computes; minimise ``loss``.

    Attributes:
        loss: Mean over the batch of ``total`` / length: nats per token, a scalar.
        total: [vb + aux_weight w_aux(t) aux + sum of weight w_c(t) contrast] / p_t, per example.
        vb: The bound's term at step t, nats summed over positions.
        aux: -log p(z0 | zt, cond), nats summed over positions.
        contrast: -(1/N) sum_j neg_j, nats summed over positions; summed over the contrastive terms
            when there are several, 0 when there is none.
        t: The step each example was trained at, 1..T.
        p_t: The probability with which that step was drawn.
    """

    loss: Leaf
    total: Leaf
    vb: Leaf
    aux: Leaf
    contrast: Leaf
    t: Leaf
    p_t: Leaf


LossFn: TypeAlias = Callable[..., tuple[LossTerms, TimestepStats | None]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised, see `make_loss` for the meaning of each value.

    Raises:
        ValueError: A weight is negative or a choice unknown.
    """

    aux_weight: float = 5e-4
    aux_time_weight: str = "decreasing"
    mask_weight: tuple[float, float] = (1.0, 1.0)
    contrasts: tuple[Contrast, ...] = ()
    chains_per_pass: int | None = None

    def __post_init__(self):
        if not (self.aux_weight >= 0.0 and min(self.mask_weight) >= 0.0):
            raise ValueError(
                f"aux_weight = {self.aux_weight} and mask_weight = {self.mask_weight} must be >= 0"
            )
        if self.aux_time_weight not in TIME_WEIGHTS:
            raise ValueError(
                f"aux_time_weight must be one of {TIME_WEIGHTS}, got {self.aux_time_weight!r}"
            )
        if self.chains_per_pass is not None and self.chains_per_pass < 1:
            raise ValueError(f"chains_per_pass must be None or >= 1, got {self.chains_per_pass}")


def make_loss(
    schedule: Schedule,
    *,
    aux_weight: float = 5e-4,
    aux_time_weight: str = "decreasing",
    mask_weight: tuple[float, float] = (1.0, 1.0),
    contrast: Contrast | Sequence[Contrast] | None = None,
    chains_per_pass: int | None = None,
) -> LossFn:
    """Compose the training loss of CDCD (Eq. 5, Algorithm 1).

    Args:
        schedule: The noise schedule.
        aux_weight: lambda_aux >= 0, weight of -log p(z0 | zt, cond).
        aux_time_weight: w_aux(t), see `cdcd_jax.diffusion.contrastive.time_weight`.
        mask_weight: Weights of masked and of unmasked positions in the divergences.
        contrast: One contrastive term, several (say intra and inter negatives), or None: vanilla.
        chains_per_pass: How many of the negatives' parallel chains go through the network at once,
            to bound memory: the chunks run one after the other and are computed again in the
            backward pass. None takes all of them and the positive in a single vectorised pass.

    Returns:
        ``loss(key, denoise_fn, z0, cond, *, negatives=None, stats=None) -> (terms, stats)``. With
        several contrastive terms ``negatives`` is a sequence in their order. With ``stats`` the
        step is drawn by importance and the updated statistics are returned, else uniformly.
        Gradients flow through denoise_fn.

    Raises:
        ValueError: A weight is negative; on calling, negatives or network outputs do not fit.

    Example:
        >>> from cdcd_jax.diffusion import negatives, schedule
        >>> noise = schedule.mask_replace_schedule(num_steps=10, vocab_size=4)
        >>> loss = make_loss(noise, contrast=Contrast("step", chains="shared"))
        >>> guess = lambda zt, t, cond: jnp.full((*zt.shape, 4), -jnp.log(4.0))
        >>> z0 = jnp.array([[0, 1, 2, 3]])
        >>> shuffled = negatives.shuffle_chunks(jax.random.key(0), z0, num_chunks=4)
        >>> terms, _ = loss(jax.random.key(1), guess, z0, None, negatives=shuffled)
        >>> bool(terms.vb[0] > 0), bool(terms.contrast[0] < 0)
        (True, True)
    """
    objective = Objective(
        aux_weight=aux_weight,
        aux_time_weight=aux_time_weight,
        mask_weight=mask_weight,
        contrasts=_as_tuple(contrast),
        chains_per_pass=chains_per_pass,
    )
    for one in objective.contrasts:
        if one.num_steps is not None and one.num_steps > schedule.num_steps:
            raise ValueError(
                f"a contrastive term at {one.num_steps} steps needs as many diffusion steps, the "
                f"schedule has {schedule.num_steps}"
            )

    def loss(
        key: PRNGKey,
        denoise_fn: DenoiseFn,
        z0: Tokens,
        cond: Any,
        *,
        negatives: Array | Sequence[Array] | None = None,
        stats: TimestepStats | None = None,
    ) -> tuple[LossTerms, TimestepStats | None]:
        step_key, noise_key, term_key = jax.random.split(key, 3)
        batch = z0.shape[0]
        if stats is None:
            t = jax.random.randint(step_key, (batch,), 1, schedule.num_steps + 1)
            p_t = jnp.full((batch,), 1.0 / schedule.num_steps)
        else:
            t, p_t = sample_timesteps(step_key, stats, batch)
        zt = q_sample(noise_key, schedule, z0, t)
        terms = loss_at(
            term_key, schedule, objective, denoise_fn, z0, zt, t, p_t, cond, negatives=negatives
        )
        return terms, None if stats is None else update_timestep_stats(stats, t, terms.vb)

    return loss


def loss_at(
    key: PRNGKey,
    schedule: Schedule,
    objective: Objective,
    denoise_fn: DenoiseFn,
    z0: Tokens,
    zt: Tokens,
    t: Timesteps,
    p_t: Float[Array, " batch"],
    cond: Any,
    *,
    negatives: Array | Sequence[Array] | None = None,
) -> LossTerms:
    """Evaluate the objective at given steps and noised tokens.

    Args:
        key: Random key, for the negatives' own chains and for downsampled contrastive steps.
        schedule: The noise schedule.
        objective: The weights.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``.
        z0: Clean tokens, values 0..K-1.
        zt: Noised tokens at step t, values 0..K.
        t: Steps, 1..T.
        p_t: Probability with which each step was drawn.
        cond: Passed on to denoise_fn.
        negatives: One array for each contrastive term (or just the array, for one term).

    Returns:
        Every term, see `LossTerms`.
    """
    given = _as_tuple(negatives)
    _check_negatives(given, objective.contrasts, z0)
    chain_key, subset_key = jax.random.split(key)

    pairs = list(zip(objective.contrasts, given, strict=True))
    own = [negative for one, negative in pairs if one.own_chains and negative.shape[1] > 0]
    log_p0, own_kl = denoise_with_negatives(
        chain_key,
        schedule,
        denoise_fn,
        zt,
        own,
        t,
        cond,
        mask_weight=objective.mask_weight,
        chunk=objective.chains_per_pass,
    )
    shared = [negative for one, negative in pairs if not one.own_chains]
    clean = jnp.concatenate([z0[:, None], *shared], axis=1)
    kl, nll = weighted_sums(schedule, log_p0, clean, zt, t, objective.mask_weight)
    vb, aux = kl[:, 0], nll[:, 0]
    kl, nll = kl[:, 1:], nll[:, 1:]

    aux_time = time_weight(objective.aux_time_weight, t, schedule.num_steps)
    total = vb + objective.aux_weight * aux_time * aux
    contrast = jnp.zeros_like(vb)
    for index, (one, negative) in enumerate(pairs):
        count = negative.shape[1]
        if count == 0:
            continue
        if one.own_chains:
            scores, own_kl = own_kl[:, :count], own_kl[:, count:]
        else:
            scores = (kl if one.mechanism == "step" else nll)[:, :count]
            kl, nll = kl[:, count:], nll[:, count:]
        term = -jnp.mean(scores, axis=1)
        if one.num_steps is not None:
            key = jax.random.fold_in(subset_key, index)
            term = term * _in_subset(key, t, schedule.num_steps, one.num_steps)
        contrast = contrast + term
        weight = one.weight * time_weight(one.time_weight, t, schedule.num_steps)
        total = total + weight * term
    total = total / p_t
    return LossTerms(
        loss=jnp.mean(total) / z0.shape[1],
        total=total,
        vb=vb,
        aux=aux,
        contrast=contrast,
        t=t,
        p_t=p_t,
    )


def _in_subset(key: PRNGKey, t: Timesteps, num_steps: int, size: int) -> Float[Array, " batch"]:
    """Return 1 where t is in a random subset of ``size`` of the steps 1..T, else 0."""
    rank = jax.random.permutation(key, num_steps)
    return (rank[t - 1] < size).astype(jnp.float32)


def _as_tuple(value: Any) -> tuple:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _check_negatives(given: tuple, contrasts: tuple[Contrast, ...], z0: Tokens) -> None:
    if len(given) != len(contrasts):
        raise ValueError(
            f"the loss has {len(contrasts)} contrastive terms and was given {len(given)} sets of "
            "negatives: pass one array for each"
        )
    for negative in given:
        batch, length = z0.shape
        if negative.ndim != 3 or (negative.shape[0], negative.shape[2]) != (batch, length):
            raise ValueError(
                f"negatives must have shape (batch, N, length) = ({batch}, N, {length}), "
                f"got {negative.shape}"
            )
