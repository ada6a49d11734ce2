"""The CDCD term: how badly the model must explain tokens that do not belong to the condition.

contrast = -(1/N) sum_j neg_j, so that minimising it pushes the negatives' bound up and, with the
ordinary bound pushed down, raises I(z0; cond) (CDCD Eq. 2-5, Algorithm 1).
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.diffusion.bound import step_terms
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.transitions import q_sample
from cdcd_jax.typing import DenoiseFn, LogProbs, Negatives, PRNGKey, Timesteps, Tokens

MECHANISMS = ("step", "sample")
CHAINS = ("parallel", "shared")
TIME_WEIGHTS = ("increasing", "decreasing", "constant")


@dataclasses.dataclass(frozen=True)
class Contrast:
    """One contrastive term of the objective.

    Attributes:
        mechanism: ``"step"`` scores a negative by its bound at step t (step-wise parallel
            diffusion, CDCD Eq. 3), ``"sample"`` by -log p(zj0 | zt, cond) (sample-wise auxiliary
            diffusion, CDCD Eq. 4).
        weight: lambda_c >= 0. The paper found 1e-5 to 5e-4 robust for music, less for images.
        chains: For ``"step"``: ``"parallel"`` noises each negative on its own and runs N+1 chains
            through the network (the paper); ``"shared"`` scores the negatives under the positive's
            zt (the published code), at almost no cost.
        time_weight: w_c(t), see `time_weight`.
        num_steps: Apply the term at a fresh random subset of so many of the T steps in every call
            (CDCD Appendix E.3); None applies it at all.

    Raises:
        ValueError: A value is not one of those named, or out of range.
    """

    mechanism: str
    _: dataclasses.KW_ONLY
    weight: float = 5e-5
    chains: str = "parallel"
    time_weight: str = "increasing"
    num_steps: int | None = None

    def __post_init__(self):
        for name, choices in (
            ("mechanism", MECHANISMS),
            ("chains", CHAINS),
            ("time_weight", TIME_WEIGHTS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"the contrastive weight must be finite and >= 0, got {self.weight}")
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"num_steps must be None or at least 1, got {self.num_steps}")

    @property
    def own_chains(self) -> bool:
        """Whether every negative is noised and denoised on its own."""
        return self.mechanism == "step" and self.chains == "parallel"


def time_weight(kind: str, t: Timesteps, num_steps: int) -> Float[Array, " batch"]:
    """Return 1 + (t-1)/T (``"increasing"``), 2 - (t-1)/T (``"decreasing"``) or 1 (``"constant"``).

    The contrastive term increases with t. The auxiliary term decreases in the paper and in the
    reference's image code, and increases in its music code.
    """
    progress = (t - 1) / num_steps
    if kind == "constant":
        return jnp.ones_like(progress)
    return 1.0 + progress if kind == "increasing" else 2.0 - progress


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


def denoise_with_negatives(
    key: PRNGKey,
    schedule: Schedule,
    denoise_fn: DenoiseFn,
    zt: Tokens,
    own: Sequence[Array],
    t: Timesteps,
    cond: object,
    *,
    mask_weight: tuple[float, float] = (1.0, 1.0),
    chunk: int | None = None,
) -> tuple[LogProbs, Float[Array, "batch num_neg"]]:
    """Run the positive, and those negatives that have chains of their own, through the network.

    Args:
        key: Random key for the negatives' noise.
        schedule: The noise schedule.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``.
        zt: The positive's noised tokens.
        own: Clean negatives [batch num_neg length] to be noised on their own; may be empty.
        t: Step of each example, 1..T.
        cond: Passed on to denoise_fn.
        mask_weight: Weight of masked and of unmasked positions.
        chunk: Negatives per pass through the network; None takes all together with the positive.

    Returns:
        log p(z0 | zt, cond) of the positive; and of each negative's own chain
        KL(q(z_{t-1} | zt, z0) || p(z_{t-1} | zt, cond)), nats summed over positions.

    Raises:
        ValueError: denoise_fn returns another shape than [batch length K].
    """
    expected = (*zt.shape, schedule.vocab_size)

    def checked(zt: Tokens, t: Timesteps, cond: object) -> LogProbs:
        log_p0 = denoise_fn(zt, t, cond)
        if log_p0.shape != expected:
            raise ValueError(
                f"denoise_fn must return log-probabilities of shape {expected} (batch, length, K; "
                f"the mask is not among the K), got {log_p0.shape}"
            )
        return log_p0

    if not own:
        return checked(zt, t, cond), jnp.zeros((zt.shape[0], 0))
    clean = jnp.concatenate(own, axis=1)
    chains = noise_chains(key, schedule, clean, t)

    def score(log_p0: LogProbs, clean: Tokens, zt: Tokens) -> Float[Array, " batch"]:
        return weighted_sums(schedule, log_p0, clean[:, None], zt, t, mask_weight)[0][:, 0]

    first = clean.swapaxes(0, 1), chains.swapaxes(0, 1)  # chains first
    if chunk is None or chunk >= clean.shape[1]:
        log_p0, log_p0_chains = denoise_chains(checked, zt, chains, t, cond)
        return log_p0, jax.vmap(score)(log_p0_chains, *first).T
    # One chunk's activations at a time; the backward pass computes them again.
    one = jax.checkpoint(lambda pair: score(checked(pair[1], t, cond), *pair))
    return checked(zt, t, cond), jax.lax.map(one, first, batch_size=chunk).T


def denoise_chains(
    denoise_fn: DenoiseFn, zt: Tokens, chains: Negatives, t: Timesteps, cond: object
) -> tuple[LogProbs, Float[Array, "num_neg batch length K"]]:
    """Run the positive and the negatives' noised chains through the network in one vectorised pass.

    All chains of an example share t and the condition, so under `jax.vmap` whatever the network
    computes from those alone is computed once, not N+1 times.

    Args:
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``.
        zt: The positive's noised tokens.
        chains: The negatives' noised tokens.
        t: Step of each example, 1..T.
        cond: Passed on to denoise_fn.

    Returns:
        The network's log-probabilities for the positive, and for the N negatives (chains first).
    """
    together = jnp.concatenate([zt[:, None], chains], axis=1).swapaxes(0, 1)
    log_p0 = jax.vmap(lambda one: denoise_fn(one, t, cond))(together)
    return log_p0[0], log_p0[1:]


def noise_chains(key: PRNGKey, schedule: Schedule, clean: Negatives, t: Timesteps) -> Negatives:
    """Draw an own zt for every clean sequence, all of an example at the same step."""
    batch, num_chains, length = clean.shape
    flat = clean.reshape(batch * num_chains, length)
    return q_sample(key, schedule, flat, jnp.repeat(t, num_chains)).reshape(clean.shape)
