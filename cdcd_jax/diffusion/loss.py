"""The objective of CDCD, composed from the bound, the auxiliary loss and the contrastive terms."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cdcd_jax.checks import (
    check_count,
    check_function,
    check_key,
    check_type,
    check_weight,
    is_traced,
)
from cdcd_jax.diffusion.chunks import denoise_chains, sum_over_chunks
from cdcd_jax.diffusion.contrastive import TIME_WEIGHTS, Contrast, time_weight
from cdcd_jax.diffusion.denoiser import check_network
from cdcd_jax.diffusion.eager import call_compiled
from cdcd_jax.diffusion.noise import (
    Noise,
    as_tuple,
    check_clean,
    check_noise,
    draw_noise,
    join_corrupted,
)
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.diffusion.terms import split_terms, sum_terms
from cdcd_jax.diffusion.timesteps import TimestepStats, check_stats, update_timestep_stats
from cdcd_jax.registry import CONTRASTS
from cdcd_jax.typing import DenoiseFn, HeadFn, Leaf, PRNGKey, Tokens, show_number


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class LossTerms:
    """The output of `make_loss`; minimise ``loss``.

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


@dataclasses.dataclass(frozen=True, repr=False)
class Loss:
    """The training loss, as one call or in its two halves; `make_loss` explains each field.

    Raises:
        ValueError: A weight is negative, or a choice or count is unknown or does not fit.
    """

    schedule: Schedule
    _: dataclasses.KW_ONLY
    aux_weight: float = 5e-4
    aux_time_weight: str = "decreasing"
    mask_weight: tuple[float, float] = (1.0, 1.0)
    contrasts: tuple[Contrast, ...] = ()
    chains_per_pass: int | None = None
    positions_per_pass: int | None = None
    stratified_timesteps: bool = False

    def __post_init__(self):
        check_schedule(self.schedule)
        for contrast in self.contrasts:
            check_type("contrast", contrast, Contrast, "cdcd.Contrast(mechanism)")
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
        for contrast in self.contrasts:
            if contrast.num_steps is not None and contrast.num_steps > self.schedule.num_steps:
                raise ValueError(
                    f"a contrastive term at {contrast.num_steps} steps needs as many diffusion "
                    f"steps, the schedule has {self.schedule.num_steps}"
                )

    def __repr__(self) -> str:
        terms = ", ".join(contrast.mechanism for contrast in self.contrasts) or "none"
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
        check_key(key)
        z0, given = self._check_tokens(z0, negatives)
        if stats is not None:
            check_stats(stats, self.schedule.num_steps)
        stratified = self.stratified_timesteps
        return draw_noise(
            key, self.schedule, self.contrasts, z0, given, stats, stratified=stratified
        )

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
        check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
        z0, given = self._check_tokens(z0, negatives)
        check_noise(noise, z0, given, self.contrasts)
        if head_fn is None and self.positions_per_pass is not None:
            raise ValueError(
                f"positions_per_pass = {self.positions_per_pass} needs head_fn, which turns the "
                "features that denoise_fn then returns into log-probabilities"
            )
        denoise_fn, head_fn = check_network(denoise_fn, head_fn)
        return evaluate_terms(self, noise, denoise_fn, z0, cond, given, head_fn)

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
        z0, given = self._check_tokens(z0, negatives)
        if stats is not None:
            check_stats(stats, self.schedule.num_steps)
        check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
        arguments = key, denoise_fn, z0, cond, given, stats, head_fn
        terms, stats = call_compiled(_draw_and_evaluate, _probe, self, *arguments)
        if (
            not is_traced(terms.aux)
            and terms.aux.is_fully_addressable
            and np.isnan(terms.aux).any()
        ):
            arguments = jax.random.clone(key), *arguments[1:]
            return _draw_and_evaluate(self, *arguments)  # which says where
        return terms, stats

    def _check_tokens(
        self, z0: Tokens, negatives: Array | Sequence[Array] | None
    ) -> tuple[Tokens, tuple[Array, ...]]:
        return check_clean(z0, as_tuple(negatives), self.contrasts, self.schedule.vocab_size)


def evaluate_terms(
    loss: Loss,
    noise: Noise,
    denoise_fn: DenoiseFn,
    z0: Tokens,
    cond: Any,
    negatives: Sequence[Array] = (),
    head_fn: HeadFn | None = None,
) -> LossTerms:
    """Evaluate the loss under given noise; nothing is checked here but what the network returns.

    Args:
        loss: From `make_loss`.
        noise: From `draw_noise`, for the same tokens and negatives.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)`` or logits, or hidden features with
            ``head_fn``.
        z0: Clean tokens, values 0..K-1.
        cond: Passed on to denoise_fn.
        negatives: One array for each contrastive term.
        head_fn: ``(hidden) -> log p(z0 | zt, cond)`` or logits at the positions given.

    Returns:
        Every term, see `LossTerms`.
    """
    num_steps, t, p_t = loss.schedule.num_steps, noise.t, noise.p_t
    terms_fn = partial(sum_terms, loss.schedule, t, mask_weight=loss.mask_weight, head_fn=head_fn)
    if loss.positions_per_pass is not None:
        terms_fn = partial(sum_over_chunks, terms_fn, loss.positions_per_pass)

    # The network: once for the example, and once for each negative with noise of its own.
    corrupted, own = join_corrupted(loss.contrasts, negatives), None
    if corrupted is None:
        output = denoise_fn(noise.zt, t, cond)
    else:
        output, own = denoise_chains(
            terms_fn,
            lambda zt: denoise_fn(zt, t, cond),
            noise.zt,
            corrupted,
            noise.zt_negatives,
            chains_per_pass=loss.chains_per_pass,
            one_by_one=loss.positions_per_pass is not None,
        )

    # One pass over the output scores the example and all negatives that share its zt.
    used = [i for i, negative in enumerate(negatives) if negative.shape[1]]  # N may be 0
    alone = [i for i in used if loss.contrasts[i].corrupts_negatives]
    shared = [i for i in used if i not in alone]
    parts = [z0[:, None], *(negatives[i] for i in shared)]
    joint = terms_fn(output, jnp.concatenate(parts, axis=1), noise.zt)
    positive, *scored = split_terms(joint, parts)
    if own is not None:
        scored += split_terms(own, [negatives[i] for i in alone])
    of_negatives = dict(zip([*shared, *alone], scored, strict=True))

    # total = [vb + lambda_aux w_aux(t) aux + sum lambda_c w_c(t) contrast] / p_t   (CDCD Eq. 5)
    vb, aux = positive.kl[:, 0], positive.nll[:, 0]
    total = vb + loss.aux_weight * time_weight(loss.aux_time_weight, t, num_steps) * aux
    contrast = jnp.zeros_like(vb)
    for i in used:
        one, mechanism = loss.contrasts[i], CONTRASTS[loss.contrasts[i].mechanism]
        term = mechanism.aggregate(
            mechanism.score(of_negatives[i]), mechanism.score(positive)[:, 0]
        )
        if noise.kept[i] is not None:
            term = term * noise.kept[i]
        contrast = contrast + term
        total = total + one.weight * time_weight(one.time_weight, t, num_steps) * term
    total = total / p_t  # importance sampling: an unbiased estimate of the sum over all t

    # Share of negatives that equal their positive, which the contrastive term then works against.
    same = [jnp.all(negatives[i] == z0[:, None], axis=-1) for i in used]
    equal = jnp.concatenate(same, axis=1) if same else jnp.zeros((z0.shape[0], 1))
    return LossTerms(
        loss=jnp.mean(total) / z0.shape[1],
        total=total,
        vb=vb,
        aux=aux,
        contrast=contrast,
        equal_negatives=jnp.mean(equal.astype(jnp.float32), axis=1),
        t=t,
        p_t=p_t,
    )


def _draw_and_evaluate(
    loss: Loss,
    key: PRNGKey,
    denoise_fn: DenoiseFn,
    z0: Tokens,
    cond: Any,
    negatives: tuple[Array, ...],
    stats: TimestepStats | None,
    head_fn: HeadFn | None,
) -> tuple[LossTerms, TimestepStats | None]:
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
    stratified_timesteps: bool = False,
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
        stratified_timesteps: Spread the steps t of a batch evenly over their distribution instead
            of drawing each on its own: the same expectation with less variance, see
            `cdcd_jax.diffusion.timesteps.sample_timesteps`.

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
    return Loss(
        schedule,
        aux_weight=aux_weight,
        aux_time_weight=aux_time_weight,
        mask_weight=mask_weight,
        contrasts=as_tuple(contrast),
        chains_per_pass=chains_per_pass,
        positions_per_pass=positions_per_pass,
        stratified_timesteps=stratified_timesteps,
    )
