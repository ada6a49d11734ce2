"""The objective of CDCD, composed from the bound, the auxiliary loss and the contrastive terms."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cdcd_jax.checks import (
    check_count,
    check_function,
    check_key,
    check_type,
    check_weight,
    is_traced,
)
from cdcd_jax.diffusion.contrastive import (
    TIME_WEIGHTS,
    Contrast,
    denoise_with_negatives,
    time_weight,
)
from cdcd_jax.diffusion.denoiser import with_checked_output
from cdcd_jax.diffusion.eager import call_compiled
from cdcd_jax.diffusion.noise import (
    Noise,
    as_tuple,
    check_clean,
    check_noise,
    draw_noise,
    own_chains,
)
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.diffusion.scores import make_score
from cdcd_jax.diffusion.timesteps import TimestepStats, check_stats, update_timestep_stats
from cdcd_jax.typing import DenoiseFn, HeadFn, Leaf, PRNGKey, Tokens, show_number


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class LossTerms:
    """What `make_loss` computes; minimise ``loss``.

    Attributes:
        loss: Mean over the batch of ``total`` / length: nats per token, a scalar.
        total: [vb + aux_weight w_aux(t) aux + sum of weight w_c(t) contrast] / p_t, per example.
        vb: The bound's term at step t, nats summed over positions.
        aux: -log p(z0 | zt, cond), nats summed over positions.
        contrast: -(1/N) sum_j neg_j, nats summed over positions; summed over the contrastive terms
            when there are several, 0 when there is none.
        equal_negatives: Share of an example's negatives that equal their positive, which the term
            then pushes away from itself; of constant rows, shuffled, it is 1.
        t: The step each example was trained at, 1..T.
        p_t: The probability with which that step was drawn.
    """

    loss: Leaf
    total: Leaf
    vb: Leaf
    aux: Leaf
    contrast: Leaf
    equal_negatives: Leaf
    t: Leaf
    p_t: Leaf

    def __repr__(self) -> str:
        return f"LossTerms(loss={show_number(self.loss)}, batch={np.size(self.total)})"


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
    positions_per_pass: int | None = None

    def __post_init__(self):
        check_weight("aux_weight", self.aux_weight)
        if not isinstance(self.mask_weight, Sequence) or len(self.mask_weight) != 2:
            raise ValueError(
                f"mask_weight = {self.mask_weight} must be two weights, of masked and of unmasked "
                "positions"
            )
        for weight in self.mask_weight:
            check_weight("mask_weight", weight)
        if self.aux_time_weight not in TIME_WEIGHTS:
            raise ValueError(
                f"aux_time_weight must be one of {TIME_WEIGHTS}, got {self.aux_time_weight!r}"
            )
        for name in ("chains_per_pass", "positions_per_pass"):
            value = getattr(self, name)
            if value is not None:
                check_count(name, value)


@dataclasses.dataclass(frozen=True, repr=False)
class Loss:
    """The training loss, as one call or in its two halves.

    Attributes:
        schedule: The noise schedule.
        objective: The weights and terms.
    """

    schedule: Schedule
    objective: Objective

    def __repr__(self) -> str:
        terms = ", ".join(one.mechanism for one in self.objective.contrasts) or "none"
        return f"Loss(num_steps={self.schedule.num_steps}, contrast={terms})"

    def draw(
        self,
        key: PRNGKey,
        z0: Tokens,
        *,
        negatives: Array | Sequence[Array] | None = None,
        stats: TimestepStats | None = None,
    ) -> Noise:
        """Draw all that is random, see `cdcd_jax.diffusion.noise.draw_noise`."""
        terms = {"contrasts": self.objective.contrasts, "negatives": negatives, "stats": stats}
        return draw_noise(key, z0, schedule=self.schedule, **terms)

    def at(
        self,
        noise: Noise,
        denoise_fn: DenoiseFn,
        z0: Tokens,
        cond: Any,
        *,
        negatives: Array | Sequence[Array] | None = None,
        head_fn: HeadFn | None = None,
    ) -> LossTerms:
        """Evaluate the terms under given noise: rows may be worked through in parts."""
        given = {"negatives": negatives, "head_fn": head_fn}
        return loss_at(self.schedule, self.objective, noise, denoise_fn, z0, cond, **given)

    def __call__(
        self,
        key: PRNGKey,
        denoise_fn: DenoiseFn,
        z0: Tokens,
        cond: Any,
        *,
        negatives: Array | Sequence[Array] | None = None,
        stats: TimestepStats | None = None,
        head_fn: HeadFn | None = None,
    ) -> tuple[LossTerms, TimestepStats | None]:
        """Draw the noise, evaluate the terms and update the statistics; see `make_loss`."""
        check_key(key)
        z0, given = check_clean(
            z0, as_tuple(negatives), self.objective.contrasts, self.schedule.vocab_size
        )
        if stats is not None:
            check_stats(stats, self.schedule.num_steps)
        check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
        static = self.schedule, self.objective
        arguments = key, denoise_fn, z0, cond, given, stats, head_fn
        terms, stats = call_compiled(_draw_and_evaluate, _probe, static, *arguments)
        if (
            not is_traced(terms.aux)
            and terms.aux.is_fully_addressable
            and np.isnan(terms.aux).any()
        ):
            arguments = jax.random.clone(key), *arguments[1:]
            return _draw_and_evaluate(static, *arguments)  # which says where
        return terms, stats


def _draw_and_evaluate(
    static: tuple[Schedule, Objective],
    key: PRNGKey,
    denoise_fn: DenoiseFn,
    z0: Tokens,
    cond: Any,
    negatives: tuple[Array, ...],
    stats: TimestepStats | None,
    head_fn: HeadFn | None,
) -> tuple[LossTerms, TimestepStats | None]:
    loss = Loss(*static)
    noise = loss.draw(key, z0, negatives=negatives, stats=stats)
    terms = loss.at(noise, denoise_fn, z0, cond, negatives=negatives, head_fn=head_fn)
    return terms, None if stats is None else update_timestep_stats(stats, terms.t, terms.vb)


def _probe(
    static: Any, key: PRNGKey, denoise_fn: DenoiseFn, z0: Tokens, cond: Any, *_: Any
) -> None:
    denoise_fn(z0, jnp.ones(z0.shape[0], int), cond)


def make_loss(
    schedule: Schedule,
    *,
    aux_weight: float = 5e-4,
    aux_time_weight: str = "decreasing",
    mask_weight: tuple[float, float] = (1.0, 1.0),
    contrast: Contrast | Sequence[Contrast] | None = None,
    chains_per_pass: int | None = None,
    positions_per_pass: int | None = None,
) -> Loss:
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
        positions_per_pass: At how many positions of a sequence the network's head and the loss are
            evaluated at once, to bound memory: nothing of size [batch length K] is made then. It
            need not divide the length. None takes all at once.

    Returns:
        ``loss(key, denoise_fn, z0, cond, *, negatives=None, stats=None, head_fn=None) ->
        (terms, stats)``, see `Loss` for its halves. With several contrastive terms ``negatives`` is
        a sequence in their order. With ``stats`` the step is drawn by importance and the updated
        statistics are returned, else uniformly. With ``head_fn`` denoise_fn returns hidden features
        [batch length width] and ``head_fn(features)`` log p(z0 | zt, cond) at any number of
        positions; ``positions_per_pass`` needs it. Gradients flow through both.

    Raises:
        ValueError: A weight is negative; on calling, negatives or network outputs do not fit, or
            there is no head_fn where one is needed.

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
    check_schedule(schedule)
    for one in as_tuple(contrast):
        check_type("contrast", one, Contrast, "cdcd.Contrast(mechanism)")
    objective = Objective(
        aux_weight=aux_weight,
        aux_time_weight=aux_time_weight,
        mask_weight=mask_weight,
        contrasts=as_tuple(contrast),
        chains_per_pass=chains_per_pass,
        positions_per_pass=positions_per_pass,
    )
    for one in objective.contrasts:
        if one.num_steps is not None and one.num_steps > schedule.num_steps:
            raise ValueError(
                f"a contrastive term at {one.num_steps} steps needs as many diffusion steps, the "
                f"schedule has {schedule.num_steps}"
            )
    return Loss(schedule, objective)


def loss_at(
    schedule: Schedule,
    objective: Objective,
    noise: Noise,
    denoise_fn: DenoiseFn,
    z0: Tokens,
    cond: Any,
    *,
    negatives: Array | Sequence[Array] | None = None,
    head_fn: HeadFn | None = None,
) -> LossTerms:
    """Evaluate the objective under given noise.

    Args:
        schedule: The noise schedule.
        objective: The weights.
        noise: Steps and noised tokens.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)`` or logits, or hidden features with
            ``head_fn``.
        z0: Clean tokens, values 0..K-1.
        cond: Passed on to denoise_fn.
        negatives: One array for each contrastive term (or just the array, for one term).
        head_fn: ``(hidden) -> log p(z0 | zt, cond)`` at the positions given.

    Returns:
        Every term, see `LossTerms`.
    """
    check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
    if head_fn is not None:
        check_function("head_fn", head_fn, "(hidden)")
    denoise_fn = with_checked_output(denoise_fn, features=head_fn is not None)
    z0, given = check_clean(z0, as_tuple(negatives), objective.contrasts, schedule.vocab_size)
    check_noise(noise, z0, given, objective.contrasts)
    t, p_t, zt = noise.t, noise.p_t, noise.zt
    score = make_score(
        schedule,
        t,
        mask_weight=objective.mask_weight,
        head_fn=head_fn,
        positions_per_pass=objective.positions_per_pass,
    )
    output, own_kl = denoise_with_negatives(
        score,
        denoise_fn,
        zt,
        t,
        cond,
        own=own_chains(objective.contrasts, given),
        chains=noise.chains,
        chunk=objective.chains_per_pass,
    )
    pairs = list(zip(objective.contrasts, given, strict=True))
    shared = [negative for one, negative in pairs if not one.own_chains]
    clean = jnp.concatenate([z0[:, None], *shared], axis=1)
    kl, nll = score.sums(output, clean, zt)
    vb, aux = kl[:, 0], nll[:, 0]
    kl, nll = kl[:, 1:], nll[:, 1:]

    aux_time = time_weight(objective.aux_time_weight, t, schedule.num_steps)
    total = vb + objective.aux_weight * aux_time * aux
    contrast = jnp.zeros_like(vb)
    for (one, negative), kept in zip(pairs, noise.kept, strict=True):
        count = negative.shape[1]
        if count == 0:
            continue
        if one.own_chains:
            scores, own_kl = own_kl[:, :count], own_kl[:, count:]
        else:
            scores = (kl if one.mechanism == "step" else nll)[:, :count]
            kl, nll = kl[:, count:], nll[:, count:]
        term = -jnp.mean(scores, axis=1)
        if kept is not None:
            term = term * kept
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
        equal_negatives=_share_equal(z0, given),
        t=t,
        p_t=p_t,
    )


def _share_equal(z0: Tokens, given: tuple) -> Float[Array, " batch"]:
    """Return what share of all negatives of an example are the example itself."""
    same = [jnp.all(negative == z0[:, None], axis=-1) for negative in given if negative.shape[1]]
    if not same:
        return jnp.zeros(z0.shape[0])
    return jnp.mean(jnp.concatenate(same, axis=1).astype(jnp.float32), axis=1)
