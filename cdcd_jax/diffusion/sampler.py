"""Sampling: from masks to clean tokens in any number of exact reverse steps."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cdcd_jax.checks import (
    check_count,
    check_drawn,
    check_function,
    check_key,
    check_known,
    check_pair,
    check_steps,
    check_tokens,
)
from cdcd_jax.diffusion.denoiser import check_outputs, log_probs
from cdcd_jax.diffusion.eager import call_compiled
from cdcd_jax.diffusion.posterior import reverse_probs, reverse_rates
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.diffusion.sharding import vary_like_result
from cdcd_jax.diffusion.transitions import LOG_FLOOR, sample_prior
from cdcd_jax.diffusion.truncation import (
    apply_temperature,
    check_temperature,
    check_truncation,
    keep_top_k,
    truncate,
)
from cdcd_jax.registry import SAMPLERS, register
from cdcd_jax.typing import DenoiseFn, LogProbs, Number, PRNGKey, Timesteps, Tokens


class Sampler(NamedTuple):
    """A sampler as two pure functions and the steps to visit.

    Attributes:
        init: ``(key, batch, length) -> zT``, from the prior: all masks with noise that absorbs, see
            `cdcd_jax.diffusion.transitions.sample_prior`.
        step: ``(key, zt, s, t, cond) -> zs``, one draw from the reverse process; s and t scalars.
        times: The steps visited, T = times[0] > ... > times[-1] = 0.
    """

    init: Callable[[PRNGKey, int, int], Tokens]
    step: Callable[..., Tokens]
    times: np.ndarray

    def __repr__(self) -> str:
        return f"Sampler(num_steps={len(self.times) - 1}, times={self.times[0]}..{self.times[-1]})"


class MakeSampler(Protocol):
    """An entry of the table ``SAMPLERS``, such as `make_sampler`, whose arguments it takes."""

    def __call__(
        self,
        schedule: Schedule,
        denoise_fn: DenoiseFn,
        *,
        num_steps: int | None = None,
        truncation: Number = 1.0,
        top_k: int | None = None,
        temperature: Number = 1.0,
    ) -> Sampler:
        """Return a sampler; ``num_steps`` of None is T."""
        ...


def make_sampler(
    schedule: Schedule,
    denoise_fn: DenoiseFn,
    *,
    num_steps: int | None = None,
    truncation: Number = 1.0,
    top_k: int | None = None,
    temperature: Number = 1.0,
) -> Sampler:
    """Build a sampler; `sample` runs one from start to end.

    Args:
        schedule: The noise schedule the network was trained with.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits.
        num_steps: Reverse steps, 1..T, spread evenly over 1..T; T when None. Steps that skip use
            the exact posterior p(zs | zt), not one step's.
        truncation: Mass of the network's prediction to keep at each step, in (0, 1]; CDCD uses
            0.86. It may be traced, so that trying several values under ``jax.jit`` compiles once.
        top_k: Number of most likely tokens to keep; None keeps all.
        temperature: Of the network's prediction, applied first; above 0. It may be traced, too.

    Returns:
        The sampler.

    Raises:
        ValueError: A value is out of its range.
    """
    check_schedule(schedule)
    check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
    if num_steps is None:
        num_steps = schedule.num_steps
    check_count("num_steps", num_steps)
    if top_k is not None:
        check_count("top_k", top_k)
    if not 1 <= num_steps <= schedule.num_steps:
        raise ValueError(
            f"num_steps must be between 1 and the {schedule.num_steps} steps of the schedule, "
            f"got {num_steps}"
        )
    check_truncation(truncation)
    check_temperature(temperature)
    predict = check_outputs(denoise_fn)

    def init(key: PRNGKey, batch: int, length: int) -> Tokens:
        check_key(key)
        check_pair("shape", (batch, length), "(batch, length)")
        return sample_prior(key, schedule, (batch, length))

    def step(key: PRNGKey, zt: Tokens, s: Int[Array, ""], t: Int[Array, ""], cond: Any) -> Tokens:
        check_key(key)
        check_tokens("zt", zt, schedule.vocab_size, mask=True)
        zt = jnp.asarray(zt)
        s, t = (jnp.full(zt.shape[:1], step) for step in (s, t))
        check_steps(t, zt.shape[0], schedule.num_steps, s)
        # Noise in float32 whatever the network computes in: a bfloat16 draw is far too peaked.
        log_p0 = log_probs(predict(zt, t, cond), zt, schedule.vocab_size)
        log_p0 = apply_temperature(log_p0, temperature)
        if top_k is not None:
            log_p0 = keep_top_k(log_p0, top_k)
        return sample_reverse(key, schedule, truncate(log_p0, truncation), zt, s, t)

    times = np.round(np.linspace(schedule.num_steps, 0, num_steps + 1)).astype(np.int32)
    return Sampler(init, step, times)


register("sampler", "ancestral", make_sampler)


def sample_reverse(
    key: PRNGKey, schedule: Schedule, log_p0: LogProbs, zt: Tokens, s: Timesteps, t: Timesteps
) -> Tokens:
    """Draw zs ~ p(zs | zt, cond) from log p(z0 | zt, cond), which may hold -inf.

    The largest of probability / exponential noise wins, which is the Gumbel-max draw without its
    logarithms (log p + Gumbel = log(p / E) for E exponential). See `exponential` for its range.
    """
    p0 = jnp.where(jnp.isneginf(log_p0), 0.0, jnp.exp(jnp.maximum(log_p0, LOG_FLOOR)))
    tokens, mask = reverse_probs(reverse_rates(schedule, s, t), p0, zt)
    token_key, mask_key = jax.random.split(key)
    token_noise = exponential(token_key, tokens.shape).astype(tokens.dtype)
    mask_noise = exponential(mask_key, mask.shape).astype(mask.dtype)
    race = tokens / token_noise
    best = jnp.max(race, axis=-1)
    # Cheaper than argmax on CPU, whose reduction of pairs XLA does not vectorise.
    index = jnp.arange(race.shape[-1], dtype=zt.dtype)[None, None]
    winner = jnp.min(jnp.where(race == best[..., None], index, race.shape[-1]), axis=-1)
    return jnp.where(mask / mask_noise > best, schedule.mask_id, winner)


def exponential(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw float32 exponential noise down to 2**-33, so that its Gumbel goes up to 22.9.

    What matters for rare events is the smallest values. Those of `jax.random.exponential` and
    `jax.random.gumbel` end at 2**-24, a Gumbel of 16: tokens below about exp(-16) would hardly ever
    be drawn, which in effect lowers the temperature ("Masked Diffusion Models are Secretly
    Time-Agnostic Masked Models", Sec. 4). ``jax.random.gumbel(mode="high")`` has the range too, at
    six times the cost on CPU.
    """
    u = (jax.random.bits(key, shape, jnp.uint32).astype(jnp.float32) + 0.5) * 2.0**-32
    # -log(1 - u), by its series where 1 - u would round; the next term is below 1e-9 relative.
    series = u * (1.0 + u * (1 / 2 + u * (1 / 3 + u * (1 / 4))))
    return jnp.where(u < 2.0**-7, series, -jnp.log(jnp.maximum(1.0 - u, 2.0**-25)))


def sample(
    key: PRNGKey,
    schedule: Schedule,
    denoise_fn: DenoiseFn,
    cond: Any,
    *,
    shape: tuple[int, int],
    num_steps: int | None = None,
    truncation: Number = 1.0,
    top_k: int | None = None,
    temperature: Number = 1.0,
    sampler: str = "ancestral",
    known: Tokens | None = None,
    return_trajectory: bool = False,
) -> Tokens | tuple[Tokens, Int[Array, "times batch length"]]:
    """Generate tokens.

    Called by itself it compiles once for a network and its options; parameters that are bound as in
    ``functools.partial(apply, params)`` are arguments of that program. Pure: put it under `jax.jit`
    together with the parameters, e.g.
    ``jax.jit(lambda params, key, cond: sample(key, schedule, partial(apply, params), cond, ...))``.

    Args:
        key: Random key.
        schedule: The noise schedule the network was trained with.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits.
        cond: Passed on to denoise_fn.
        shape: Batch and length of the tokens to make.
        num_steps: Reverse steps, 1..T; T when None. See `make_sampler` for this and the following.
        truncation: Mass of the network's prediction to keep, in (0, 1]; may be traced.
        top_k: Number of most likely tokens to keep.
        temperature: Of the network's prediction; may be traced.
        sampler: An entry of the table ``SAMPLERS``; "ancestral" is `make_sampler`.
        known: Tokens to keep, of that shape, values 0..K: they stand from the first step to the
            last, and the others are generated around them; the mask where there is none.
        return_trajectory: Return every state as well, for images of the progress.

    Returns:
        Tokens 0..K-1; with ``return_trajectory`` also the num_steps + 1 states, the first drawn
        from the prior but for what is known, the last the tokens themselves.

    Note:
        Known tokens are not noised. This is exact for an absorbing schedule, where a visible token
        is the clean one at any step and the network's prediction does not depend on how many are
        visible beside t, and as good for the published one, which is absorbing but for 1e-6. Where
        the noise replaces tokens it is an approximation: the network then takes a known token for
        one that may have been replaced, and leans on it too little, the more so the larger t is.

    Raises:
        ValueError: A value is out of its range, ``known`` has another shape or holds other numbers
            than token ids and the mask, or the network's output is not [batch length K] or NaN.

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> schedule = absorbing_schedule(num_steps=8, vocab_size=4)
        >>> certain = lambda zt, t, cond: jnp.log(jax.nn.one_hot(cond, 4) + 1e-9)
        >>> sample(jax.random.key(0), schedule, certain, jnp.array([[3, 1]]), shape=(1, 2)).tolist()
        [[3, 1]]
    """
    check_key(key)
    check_pair("shape", shape, "(batch, length)")
    check_schedule(schedule)
    if known is not None:
        check_known(known, shape, schedule.vocab_size)
        known = jnp.asarray(known)
    options = SampleOptions((shape[0], shape[1]), num_steps, top_k, sampler, return_trajectory)
    check = {"num_steps": num_steps, "top_k": top_k}
    make: MakeSampler = SAMPLERS.find(sampler, "sampler")
    make(schedule, denoise_fn, truncation=truncation, temperature=temperature, **check)
    arrays = cond, known, truncation, temperature
    drawn = call_compiled(_run_sampler, _probe, (schedule, options), key, denoise_fn, *arrays)
    check_drawn(drawn[0] if return_trajectory else drawn, schedule.vocab_size)
    return drawn


class SampleOptions(NamedTuple):
    """The static options of `sample`."""

    shape: tuple[int, int]
    num_steps: int | None
    top_k: int | None
    sampler: str
    return_trajectory: bool


def _run_sampler(
    static: tuple[Schedule, SampleOptions],
    key: PRNGKey,
    denoise_fn: DenoiseFn,
    cond: Any,
    known: Tokens | None,
    truncation: Number,
    temperature: Number,
) -> Any:
    schedule, options = static
    make: MakeSampler = SAMPLERS[options.sampler]
    sampler = make(
        schedule,
        denoise_fn,
        num_steps=options.num_steps,
        truncation=truncation,
        top_k=options.top_k,
        temperature=temperature,
    )

    def keep(tokens: Tokens) -> Tokens:
        if known is None:
            return tokens
        return jnp.where(known == schedule.mask_id, tokens, known.astype(tokens.dtype))

    def step(zt: Tokens, now: tuple[PRNGKey, Array, Array]) -> tuple[Tokens, Any]:
        key, t, s = now
        zs = keep(sampler.step(key, zt, s, t, cond))
        return zs, zs if options.return_trajectory else None

    times = jnp.asarray(sampler.times)
    keys = jax.random.split(key, len(times))
    visits = keys[:-1], times[:-1], times[1:]
    start = keep(sampler.init(keys[-1], *options.shape))
    start = vary_like_result(lambda zt: step(zt, jax.tree.map(lambda x: x[0], visits))[0], start)
    tokens, states = jax.lax.scan(step, start, visits)
    if options.return_trajectory:
        return tokens, jnp.concatenate([start[None], states])
    return tokens


def _probe(
    static: tuple[Schedule, SampleOptions], key: PRNGKey, denoise_fn: DenoiseFn, cond: Any, *_: Any
) -> None:
    schedule, options = static
    denoise_fn(jnp.full(options.shape, schedule.mask_id), jnp.ones(options.shape[0], int), cond)
