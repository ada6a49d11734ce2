"""Noise schedules: how fast tokens are kept, replaced and masked.

One step from ``zs`` to ``zt`` keeps a real token with probability alpha, replaces it by any of the
K tokens with beta each and masks it with gamma (alpha + K beta + gamma = 1); a mask stays a mask
(VQ-Diffusion Eq. 7). The product of such steps has the same form, with cumulative rates written
``_bar``. Tables are computed in float64 NumPy: in float32 ``1 - alpha - gamma`` cancels.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from cdcd_jax.checks import check_count, check_scalar, check_type, is_traced, require
from cdcd_jax.typing import Leaf

MAX_STEPS = 1_000_000
"""Most steps of a schedule: with more of them, rates are no longer distinct in float32."""

CURVES = ("linear", "cosine", "polynomial")
"""How the shares of a schedule may run from the first step to the last."""

MAX_VOCAB_SIZE = 2**31 - 1
"""Most real tokens: the mask, one past them, must be an int32."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Schedule:
    """Rates of a mask-and-replace process; row t of a table belongs to step t, row 0 is clean data.

    Build one with `mask_replace_schedule` or `absorbing_schedule`. Tables [T+1] hold probabilities,
    float64 on the host; they become the default float type (float32) when a JAX function uses them.

    Attributes:
        alpha_bar: Probability of still being the original token after t steps, beyond chance.
        beta_bar: Probability of having become any one given token by replacement.
        gamma_bar: Probability of being masked.
        keep_bar: 1 - gamma_bar, stored because it is close to 0 where gamma_bar is close to 1.
        alpha: One-step rate of staying, t-1 -> t.
        beta: One-step rate of replacement by one given token.
        gamma: One-step rate of masking.
        vocab_size: K, the number of real tokens, mask excluded.
    """

    alpha_bar: Leaf
    beta_bar: Leaf
    gamma_bar: Leaf
    keep_bar: Leaf
    alpha: Leaf
    beta: Leaf
    gamma: Leaf
    vocab_size: int = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        size = f"num_steps={np.size(self.alpha_bar) - 1}, vocab_size={self.vocab_size}"
        if is_traced(self.alpha_bar) or not np.ndim(self.alpha_bar):
            return f"Schedule({size})"
        keep, replaced = self.alpha_bar[-1], self.keep_bar[-1] - self.alpha_bar[-1]
        return f"Schedule({size}, final_keep={keep:.6g}, final_uniform={replaced:.6g})"

    @property
    def num_steps(self) -> int:
        """T, the number of diffusion steps."""
        return self.alpha_bar.shape[0] - 1

    @property
    def mask_id(self) -> int:
        """The id of the mask: K, one past the real tokens."""
        return self.vocab_size

    def until(self, step: int) -> "Schedule":
        """Return the schedule of the steps 1..step, whose noise ends where that of step is.

        Example:
            >>> absorbing_schedule(num_steps=4, vocab_size=10).until(2).gamma_bar.tolist()
            [0.0, 0.25, 0.5]
        """
        check_count("step", step)
        if step > self.num_steps:
            raise ValueError(
                f"step must be at most the {self.num_steps} of the schedule, got {step}"
            )
        tables = (field.name for field in dataclasses.fields(self) if field.name != "vocab_size")
        cut = {name: getattr(self, name)[: step + 1] for name in tables}
        return dataclasses.replace(self, **cut)


def mask_replace_schedule(
    *,
    num_steps: int,
    vocab_size: int,
    final_keep: float = 9e-6,
    final_uniform: float = 1e-6,
    first_keep: float = 0.99999,
    first_uniform: float = 1e-6,
    denominator: int | None = None,
    curve: str = "linear",
    power: float = 2.0,
) -> Schedule:
    """Build the mask-and-replace schedule of VQ-Diffusion and CDCD.

    The shares of a token's fate after t steps run along a curve from t=1 to t=T: alpha_bar from
    ``first_keep`` to ``final_keep``, K beta_bar from ``first_uniform`` to ``final_uniform``, and
    gamma_bar takes the rest (VQ-Diffusion Sec. 4.1; CDCD Appendix C). The defaults are the
    published ones, a straight line whose uniform share is 1e-6 throughout: absorbing in all but
    name. The VQ-Diffusion paper describes ``final_uniform=0.1``.

    Args:
        num_steps: T >= 1. With T = 1 the only step has the final shares.
        vocab_size: K >= 2.
        final_keep: alpha_bar at t=T, in (0, 1).
        final_uniform: K beta_bar at t=T, in [0, 1).
        first_keep: alpha_bar at t=1, in (0, 1).
        first_uniform: K beta_bar at t=1, in [0, 1).
        denominator: Number that the uniform share is divided by to give beta: K, the default, or
            K+1 as in the published music code, so that its rates sum to 1 - beta; only its
            checkpoints need that.
        curve: How far the shares have run at u = (t-1) / (T-1): "linear" u, "cosine"
            sin(pi u / 2), of which the first reverse steps reveal few tokens (MaskGIT Sec. 3.3),
            or "polynomial" u**power (MD4 Sec. 2).
        power: Exponent of the polynomial, above 0; others do not use it.

    Returns:
        The schedule.

    Raises:
        ValueError: A value is out of range, or the rates of some step would be negative.

    Example:
        >>> schedule = mask_replace_schedule(num_steps=80, vocab_size=2887)
        >>> schedule.mask_id, round(float(schedule.gamma_bar[80]), 5)
        (2887, 0.99999)
    """
    _check_sizes(num_steps, vocab_size)
    if denominator is not None:
        check_count("denominator", denominator)
        if denominator not in (vocab_size, vocab_size + 1):
            raise ValueError(
                f"denominator = {denominator} must be vocab_size, {vocab_size}, or, for "
                "checkpoints of the published music code, one more: no other gives probabilities"
            )
    for name, share in (
        ("first_keep", first_keep),
        ("first_uniform", first_uniform),
        ("final_keep", final_keep),
        ("final_uniform", final_uniform),
    ):
        check_scalar(name, share)
    for name, keep, uniform in (
        ("first", first_keep, first_uniform),
        ("final", final_keep, final_uniform),
    ):
        if not (0.0 < keep < 1.0 and 0.0 <= uniform < 1.0 and keep + uniform <= 1.0):
            raise ValueError(
                f"{name}_keep = {keep:g} must be in (0, 1) and {name}_uniform = {uniform:g} in "
                "[0, 1), and the two may not exceed 1 together: the rest is the mask's share"
            )
    # Zero at t=1 and one at t=T; T=1 has the final shares.
    along = np.linspace(0.0, 1.0, num_steps) if num_steps > 1 else np.ones(1)
    along = _follow(curve, power, along)
    return _from_shares(
        keep=first_keep + along * (final_keep - first_keep),
        uniform=first_uniform + along * (final_uniform - first_uniform),
        vocab_size=vocab_size,
        denominator=vocab_size if denominator is None else denominator,
    )


def absorbing_schedule(
    *, num_steps: int, vocab_size: int, curve: str = "linear", power: float = 2.0
) -> Schedule:
    """Build the pure absorbing schedule: tokens are masked, never replaced.

    gamma_bar_t runs along a curve from 0 at t=0 to 1 at t=T, and alpha_bar_t = 1 - gamma_bar_t;
    the linear one is gamma_bar_t = t/T (D3PM Sec. 3.1). An unmasked token is the original for
    certain, so reverse steps carry it over whatever the network says.

    Args:
        num_steps: T >= 1.
        vocab_size: K >= 2.
        curve: As for `mask_replace_schedule`, with u = t/T.
        power: Exponent of the polynomial.

    Returns:
        The schedule; its beta tables are zero.

    Example:
        >>> absorbing_schedule(num_steps=4, vocab_size=10).gamma_bar.tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    _check_sizes(num_steps, vocab_size)
    keep = 1.0 - _follow(curve, power, np.arange(1, num_steps + 1) / num_steps)
    return _from_shares(
        keep=keep, uniform=np.zeros_like(keep), vocab_size=vocab_size, denominator=vocab_size
    )


def _follow(curve: str, power: float, u: np.ndarray) -> np.ndarray:
    """Return how far the shares have run at the fractions u of the steps, from 0 to 1."""
    if curve == "linear":
        return u
    if curve == "cosine":
        return np.where(u == 1.0, 1.0, np.sin(0.5 * np.pi * u))
    if curve == "polynomial":
        check_scalar("power", power)
        if not 0.0 < power < np.inf:
            raise ValueError(f"power = {power:g} of a polynomial schedule must be above 0")
        return u**power
    raise ValueError(f'curve = "{curve}" is not a curve; there are {", ".join(CURVES)}')


def log_snr(schedule: Schedule) -> np.ndarray:
    """Return log(alpha_bar_t / (1 - alpha_bar_t)) at every step 0..T, [T+1].

    The signal-to-noise ratio of a token, kept against masked or replaced: the training objective of
    absorbing diffusion depends on the schedule through it alone (MD4 Sec. 4).

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> log_snr(absorbing_schedule(num_steps=4, vocab_size=8)).round(2).tolist()
        [inf, 1.1, 0.0, -1.1, -inf]
    """
    keep = np.asarray(schedule.alpha_bar, np.float64)
    with np.errstate(divide="ignore"):
        return np.log(keep) - np.log1p(-keep)


def check_schedule(schedule: Schedule) -> None:
    """Raise a ValueError unless a value is a schedule whose tables hold rates of its vocab_size.

    `mask_replace_schedule` and `absorbing_schedule` make no other; a table of one's own may be. The
    values are checked where they are concrete.
    """
    check_type("schedule", schedule, Schedule, "mask_replace_schedule")
    tables = {
        field.name: getattr(schedule, field.name)
        for field in dataclasses.fields(schedule)
        if field.name != "vocab_size"
    }
    check_count("schedule.vocab_size", schedule.vocab_size)
    shape = np.shape(schedule.alpha_bar)
    for name, table in tables.items():
        dtype = getattr(table, "dtype", None)
        if np.ndim(table) and (dtype is None or not jnp.issubdtype(dtype, jnp.floating)):
            kind = dtype or f"a {type(table).__name__}"
            raise ValueError(f"schedule.{name} must be an array of floats, got {kind}")
        if np.shape(table) != shape or len(shape) != 1 or shape[0] < 2:
            raise ValueError(
                f"schedule.{name} must have T + 1 entries as schedule.alpha_bar, which has "
                f"{shape[0] if shape else 'none'}, got shape {np.shape(table)}"
            )
        require(
            lambda p: (p >= 0.0) & (p <= 1.0 + 1e-6),
            f"schedule.{name}{{place}} = {{value}} is not a probability",
            table,
        )
    coarsest = max(float(jnp.finfo(table.dtype).eps) for table in tables.values())
    _check_rates(schedule, max(1e-9, 64 * coarsest))


def _check_rates(schedule: Schedule, error: float) -> None:
    """Raise a ValueError unless the rates of a token sum to one and it is kept ever less."""
    size = float(schedule.vocab_size)

    def sum_to_one(keep: np.ndarray, replace: np.ndarray, mask: np.ndarray) -> np.ndarray:
        sums = [keep + number * replace + mask for number in (size, size + 1)]  # see denominator
        return (abs(sums[0] - 1.0) <= error) | (abs(sums[1] - 1.0) <= error)

    for bar in ("", "_bar"):
        rates = [getattr(schedule, f"{name}{bar}") for name in ("alpha", "beta", "gamma")]
        require(
            sum_to_one,
            f"schedule.alpha{bar}{{place}} + {schedule.vocab_size} beta{bar} + gamma{bar} is not "
            "1: a schedule is made for one vocab_size, as by mask_replace_schedule",
            *rates,
        )
    require(
        lambda keep, mask: abs(keep + mask - 1.0) <= error,
        "schedule.keep_bar{place} = {value} is not 1 - gamma_bar",
        schedule.keep_bar,
        schedule.gamma_bar,
    )
    for name in ("alpha_bar", "keep_bar"):
        require(
            lambda keep: keep[1:] <= keep[:-1] + error,
            f"schedule.{name}{{place}} = {{value}} is less than the next entry: noise only grows, "
            "from row 0, which is clean data",
            getattr(schedule, name),
        )


def check_total_steps(num_steps: int) -> None:
    """Raise a ValueError unless a number of steps is one that a schedule can have."""
    check_count("num_steps", num_steps)
    if num_steps > MAX_STEPS:
        raise ValueError(f"num_steps must be at most {MAX_STEPS:,}, got {num_steps:,}")


def _check_sizes(num_steps: int, vocab_size: int) -> None:
    check_total_steps(num_steps)
    check_count("vocab_size", vocab_size)
    if vocab_size < 2:
        raise ValueError(f"vocab_size must be at least 2 real tokens, got {vocab_size}")
    if vocab_size > MAX_VOCAB_SIZE:
        raise ValueError(
            f"vocab_size must be at most {MAX_VOCAB_SIZE:,}, as the mask is an int32, got "
            f"{vocab_size:,}"
        )


def _from_shares(
    *, keep: np.ndarray, uniform: np.ndarray, vocab_size: int, denominator: int
) -> Schedule:
    """Complete the tables from the kept and the uniformly replaced share of steps 1..T."""
    alpha_bar = np.concatenate([[1.0], keep])
    beta_bar = np.concatenate([[0.0], uniform]) / denominator
    keep_bar = alpha_bar + np.concatenate([[0.0], uniform])
    alpha = alpha_bar[1:] / alpha_bar[:-1]
    tables = {
        "alpha": alpha,
        "beta": (beta_bar[1:] - beta_bar[:-1] * alpha) / keep_bar[:-1],
        "gamma": 1.0 - keep_bar[1:] / keep_bar[:-1],
    }
    for name, table in tables.items():
        if np.any(table < 0.0):
            step = int(np.argmax(table < 0.0)) + 1
            raise ValueError(
                f"these shares need a negative {name} at step {step}: the kept share must fall and "
                "the masked share must rise from step to step"
            )
    identity = {"alpha": 1.0, "beta": 0.0, "gamma": 0.0}
    return Schedule(
        alpha_bar=alpha_bar,
        beta_bar=beta_bar,
        gamma_bar=1.0 - keep_bar,
        keep_bar=keep_bar,
        vocab_size=vocab_size,
        **{name: np.concatenate([[identity[name]], table]) for name, table in tables.items()},
    )
