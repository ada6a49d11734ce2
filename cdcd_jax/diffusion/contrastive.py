"""The contrastive term of CDCD: the bound of tokens that do not belong to the condition.

    contrast = -(1/N) sum_j neg_j

Minimising it pushes the negatives' bound up and, with the ordinary bound pushed down, raises
I(z0; cond) (CDCD Eq. 2-5, Algorithm 1). How a negative is scored is a `Mechanism`; where negatives
come from (intra: shuffled, inter: other examples) is the caller's choice and no part of it.
"""

import dataclasses
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.checks import check_count, check_weight
from cdcd_jax.registry import CONTRASTS, register
from cdcd_jax.typing import Timesteps

CHAINS = ("parallel", "shared")
TIME_WEIGHTS = ("increasing", "decreasing", "constant")


class SequenceTerms(NamedTuple):
    """Clean sequences under the prediction p(z0 | zt, cond), nats summed over positions.

    Attributes:
        kl: KL(q(z_{t-1} | zt, z) || p(z_{t-1} | zt, cond)), the bound's term at step t.
        nll: -log p(z0 = z | zt, cond); at t = 1 the same number as ``kl``.
    """

    kl: Float[Array, "batch num_neg"]
    nll: Float[Array, "batch num_neg"]


@runtime_checkable
class Mechanism(Protocol):
    """A way to score negatives; ``register("contrast", name, ...)`` adds one."""

    @property
    def corrupts_negatives(self) -> bool:
        """True if ``chains="parallel"`` gives every negative its own noise."""
        ...

    def score(self, terms: SequenceTerms) -> Float[Array, "batch num_neg"]:
        """Return how badly the model explains each sequence, nats."""
        ...

    def aggregate(
        self, negatives: Float[Array, "batch num_neg"], positive: Float[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """Return the term of each example, from the scores of its negatives and its own."""
        ...


class StepWise:
    """Step-wise parallel diffusion: a negative's bound at step t (CDCD Eq. 3)."""

    corrupts_negatives = True

    def score(self, terms: SequenceTerms) -> Float[Array, "batch num_neg"]:
        """Return the divergence of the reverse step."""
        return terms.kl

    def aggregate(
        self, negatives: Float[Array, "batch num_neg"], positive: Float[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """Return minus the mean over the negatives."""
        # -(1/N) sum_j L(negative j): minimising it raises the negatives' bound (CDCD Eq. 3, 4).
        return -jnp.mean(negatives, axis=1)


class SampleWise(StepWise):
    """Sample-wise auxiliary diffusion: -log p(zj0 | zt, cond) at the positive's zt (CDCD Eq. 4)."""

    corrupts_negatives = False

    def score(self, terms: SequenceTerms) -> Float[Array, "batch num_neg"]:
        """Return the negative log-likelihood."""
        return terms.nll


register("contrast", "step", StepWise())
register("contrast", "sample", SampleWise())


@dataclasses.dataclass(frozen=True)
class Contrast:
    """One contrastive term of the loss.

    Attributes:
        mechanism: ``"step"`` scores a negative by its bound at step t (step-wise parallel
            diffusion, CDCD Eq. 3), ``"sample"`` by -log p(zj0 | zt, cond) (sample-wise auxiliary
            diffusion, CDCD Eq. 4); or the name of a registered `Mechanism`.
        weight: lambda_c >= 0. The paper found 1e-5 to 5e-4 robust for music, less for images.
        chains: For ``"step"``: ``"parallel"`` corrupts each negative with noise of its own and
            runs N+1 chains through the network (the paper's parallel diffusion); ``"shared"``
            scores the negatives under the positive's zt (the published code), at almost no cost.
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
            ("mechanism", tuple(CONTRASTS)),
            ("chains", CHAINS),
            ("time_weight", TIME_WEIGHTS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        check_weight("the contrastive weight", self.weight)
        if self.num_steps is not None:
            check_count("num_steps", self.num_steps)

    @property
    def corrupts_negatives(self) -> bool:
        """True if every negative is corrupted and denoised on its own."""
        return self.chains == "parallel" and CONTRASTS[self.mechanism].corrupts_negatives


def time_weight(kind: str, t: Timesteps, num_steps: int) -> Float[Array, " batch"]:
    """Return 1 + (t-1)/T (``"increasing"``), 2 - (t-1)/T (``"decreasing"``) or 1 (``"constant"``).

    The contrastive term increases with t. The auxiliary term decreases in the paper and in the
    reference's image code, and increases in its music code.
    """
    progress = (t - 1) / num_steps
    if kind == "constant":
        return jnp.ones_like(progress)
    return 1.0 + progress if kind == "increasing" else 2.0 - progress
