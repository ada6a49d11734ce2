"""The CDCD term: how badly the model must explain tokens that do not belong to the condition.

contrast = -(1/N) sum_j neg_j, so that minimising it pushes the negatives' bound up and, with the
ordinary bound pushed down, raises I(z0; cond) (CDCD Eq. 2-5, Algorithm 1).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.checks import check_count, check_weight
from cdcd_jax.diffusion.scores import Score
from cdcd_jax.typing import DenoiseFn, Negatives, Timesteps, Tokens

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
        check_weight("the contrastive weight", self.weight)
        if self.num_steps is not None:
            check_count("num_steps", self.num_steps)

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


def denoise_with_negatives(
    score: Score,
    denoise_fn: DenoiseFn,
    zt: Tokens,
    t: Timesteps,
    cond: object,
    *,
    own: Negatives | None = None,
    chains: Negatives | None = None,
    chunk: int | None = None,
) -> tuple[Array, Float[Array, "batch num_neg"]]:
    """Run the positive, and those negatives that have chains of their own, through the network.

    Args:
        score: From `cdcd_jax.diffusion.scores.make_score`.
        denoise_fn: ``(zt, t, cond) -> output``, what ``score`` takes.
        zt: The positive's noised tokens.
        t: Step of each example, 1..T.
        cond: Passed on to denoise_fn.
        own: Clean negatives that are noised on their own, or None.
        chains: Their noised tokens, from `cdcd_jax.diffusion.noise.noise_chains`.
        chunk: Negatives per pass through the network; None takes all together with the positive.

    Returns:
        The network's output for the positive; and of each negative's own chain
        KL(q(z_{t-1} | zt, z0) || p(z_{t-1} | zt, cond)), nats summed over positions.
    """
    if own is None or chains is None:
        return denoise_fn(zt, t, cond), jnp.zeros((zt.shape[0], 0))

    first = own.swapaxes(0, 1), chains.swapaxes(0, 1)  # chains first
    num_chains = own.shape[1]
    if chunk is None or chunk >= num_chains:
        output, of_chains = denoise_chains(denoise_fn, zt, chains, t, cond)
        return output, score.chains(of_chains, *first).T

    # One chunk's activations at a time; the backward pass computes them again.
    @jax.checkpoint
    def together(clean: Array, zt: Array) -> Float[Array, "num_neg batch"]:
        return score.chains(jax.vmap(lambda one: denoise_fn(one, t, cond))(zt), clean, zt)

    split = num_chains // chunk * chunk
    chunks = [x[:split].reshape(-1, chunk, *x.shape[1:]) for x in first]
    kl = jax.lax.map(lambda pair: together(*pair), chunks).reshape(split, -1)
    if split < num_chains:
        kl = jnp.concatenate([kl, together(*(x[split:] for x in first))])
    return denoise_fn(zt, t, cond), kl.T


def denoise_chains(
    denoise_fn: DenoiseFn, zt: Tokens, chains: Negatives, t: Timesteps, cond: object
) -> tuple[Array, Array]:
    """Run the positive and the negatives' noised chains through the network in one vectorised pass.

    All chains of an example share t and the condition, so under `jax.vmap` whatever the network
    computes from those alone is computed once, not N+1 times.

    Args:
        denoise_fn: ``(zt, t, cond) -> output``: log p(z0 | zt, cond), or features for a head.
        zt: The positive's noised tokens.
        chains: The negatives' noised tokens.
        t: Step of each example, 1..T.
        cond: Passed on to denoise_fn.

    Returns:
        The network's output for the positive, and for the N negatives (chains first).
    """
    together = jnp.concatenate([zt[:, None], chains], axis=1).swapaxes(0, 1)
    output = jax.vmap(lambda one: denoise_fn(one, t, cond))(together)
    return output[0], output[1:]
