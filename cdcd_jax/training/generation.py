"""Compiled functions of a trained model's parameters: sampling and bounds."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cdcd_jax.checks import check_count, check_drawn, check_function, check_known, check_tokens
from cdcd_jax.diffusion.bound import evaluate_bound
from cdcd_jax.diffusion.denoiser import check_network, check_outputs
from cdcd_jax.diffusion.guidance import LARGEST_SCALE, guide_by_reward, guide_denoiser
from cdcd_jax.diffusion.particles import run_particles
from cdcd_jax.diffusion.ramps import Varying, check_varying, is_constant, values_of
from cdcd_jax.diffusion.samplers.ancestral import Ancestral
from cdcd_jax.diffusion.samplers.correctors import Corrector
from cdcd_jax.diffusion.samplers.rule import Rule
from cdcd_jax.diffusion.samplers.sample import (
    Parts,
    Static,
    build_sampler,
    cut_at_start,
    prepare_parts,
    run_sampler,
)
from cdcd_jax.diffusion.samplers.times import Times
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.distributed.mesh import split_batch
from cdcd_jax.distributed.shard_batch import ShardedRows, shard_batch
from cdcd_jax.training.model import Model
from cdcd_jax.typing import DenoiseFn, HeadFn, Params, PRNGKey

MAX_PARTICLES = 10_000
"""Of one sample, which are in memory together."""

RewardFn: TypeAlias = Callable[[Any], Any]
"""``[samples length K] -> [samples]``, log p(y | z0), see `check_reward`."""


@runtime_checkable
class BoundFn(Protocol):
    """A compiled bound, as `make_bound_fn` makes it."""

    def __call__(self, params: Params, key: PRNGKey, z0: Any, cond: Any) -> jax.Array:
        """Return nats summed over positions, [batch]."""
        ...


@runtime_checkable
class SampleFn(Protocol):
    """A compiled sampler, as `make_sample_fn` makes it."""

    def __call__(self, params: Params, key: PRNGKey, cond: Any, **options: Any) -> Any:
        """Return tokens [batch length], and the states on the way where they are requested."""
        ...


def make_bound_fn(schedule: Schedule, model: Model, *, mesh: Mesh | None = None) -> BoundFn:
    """Compile the bound of a model.

    Args:
        schedule: The noise schedule.
        model: The network and its condition.
        mesh: Devices that share the examples; None computes where the parameters are.

    Returns:
        ``bound_fn(params, key, z0, cond) -> [batch]``, nats summed over positions. All hosts of the
        mesh call it with all examples and get all values, which are those of a single device.
    """

    def bound(params: Params, key: PRNGKey, rows: Any, *, count: int) -> Any:
        features = model.source(params, model.encode(params, rows["cond"]))
        denoise_fn, _ = _bind_network(model, params, mesh, whole=True)
        return evaluate_bound(key, schedule, denoise_fn, rows["z0"], features)[:count]

    run = shard_batch(bound, mesh)

    def bound_fn(params: Params, key: PRNGKey, z0: Any, cond: Any) -> Any:
        check_tokens("z0", z0, schedule.vocab_size)
        return run(params, key, {"z0": z0, "cond": cond})

    return bound_fn


def make_sample_fn(
    schedule: Schedule, model: Model, *, length: int, mesh: Mesh | None = None
) -> "CompiledSampler":
    """Compile the sampler of a model.

    Args:
        schedule: The noise schedule.
        model: The network and its condition.
        length: Number of tokens of a sample.
        mesh: Devices that share the samples; None computes where the parameters are.

    Returns:
        ``sample_fn(params, key, cond, num_steps=, times=, truncation=, top_k=, temperature=,
        guidance=, sampler=, corrector=) -> tokens`` [batch length], a sample for each row of
        ``cond``; compiled once for all values of ``truncation``, ``temperature``, ``guidance`` and
        the sampler's own numbers, but for a guidance of 1, which is half the work. A sampler that
        is named takes its options beside its name. ``known=`` tokens [batch length] stay, where
        they are not the mask; ``start=`` tokens are noised up to ``start_step=`` to begin with;
        ``negative=`` are conditions to guide away from, a row for each; ``reward=`` is followed,
        by ``num_particles=`` of each sample if they are given, see `check_reward`. With
        ``return_trajectory=True`` also the intermediate states, [num_steps+1 batch length].
        All hosts of the mesh call it with all rows and get all samples, which are those of a single
        device.
    """
    static = ("fixed", "guided", "start_step", "reward", "num_particles", "return_trajectory")

    def draw(
        params: Params,
        key: PRNGKey,
        rows: Any,
        *,
        count: int,
        parts: Parts,
        fixed: Static,
        guidance: Varying,
        guided: bool,
        start_step: int | None,
        reward: RewardFn | None,
        num_particles: int | None,
        return_trajectory: bool,
    ) -> Any:
        cond = rows["cond"]
        batch, total = jax.tree.leaves(cond)[0].shape[0], schedule.num_steps
        features = model.source(params, model.encode(params, cond))
        whole = guided or reward is not None
        denoise_fn, head_fn = _bind_network(model, params, mesh, whole=whole)
        if guided:
            if "negative" in rows:
                away = model.encode(params, rows["negative"])
            else:
                assert model.null is not None
                away = model.null(params, batch)
            away = model.source(params, away)
            denoise_fn = guide_denoiser(denoise_fn, away, guidance, num_steps=total)
        noise = schedule if start_step is None else schedule.until(start_step)
        given = {"known": rows.get("known"), "start": rows.get("start")}
        if reward is not None and num_particles is not None:
            key, choice_key = jax.random.split(key)
            found = run_particles(
                key,
                noise,
                check_outputs(denoise_fn),
                features,
                lambda z0: reward(jax.nn.one_hot(z0, schedule.vocab_size)),
                (parts, fixed),
                shape=(batch, length),
                num_particles=num_particles,
                total=total,
                **given,
            )
            return found.choose(choice_key)[:count]
        if reward is not None:
            denoise_fn = guide_by_reward(denoise_fn, reward)
        denoise_fn, head_fn = check_network(denoise_fn, head_fn)
        drawn = run_sampler(
            key,
            build_sampler(noise, denoise_fn, (parts, fixed), total=total, head_fn=head_fn),
            features,
            shape=(batch, length),
            mask_id=schedule.mask_id,
            return_trajectory=return_trajectory,
            **given,
        )
        if not return_trajectory:
            return drawn[:count]
        tokens, states = drawn
        return tokens[:count], states[:, :count]

    return CompiledSampler(schedule, model, length, shard_batch(draw, mesh, static=static))


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledSampler:
    """A compiled sampler of a model, see `make_sample_fn`.

    Attributes:
        schedule: The noise schedule.
        model: The network and its condition.
        length: Number of tokens of a sample.
        run: What is compiled.
    """

    schedule: Schedule
    model: Model
    length: int
    run: ShardedRows

    def __call__(self, params: Params, key: PRNGKey, cond: Any, **options: Any) -> Any:
        """Return tokens [batch length], and the states on the way where they are requested."""
        rows, given = self._prepare(cond, **options)
        drawn = self.run(params, key, rows, **given)
        tokens = drawn[0] if given["return_trajectory"] else drawn
        try:
            check_drawn(tokens, self.schedule.vocab_size)
        except ValueError as error:
            if given["reward"] is None:
                raise
            raise ValueError(f"the reward is NaN at some tokens, or {error}") from error
        return drawn

    def lower(self, params: Params, key: Any, cond: Any, **options: Any) -> jax.stages.Lowered:
        """Lower what a call compiles, of shapes in place of arrays: nothing is computed."""
        rows, given = self._prepare(cond, **options)
        return self.run.lower(params, key, rows, **given)

    def _prepare(
        self,
        cond: Any,
        *,
        known: Any = None,
        start: Any = None,
        start_step: int | None = None,
        negative: Any = None,
        guidance: Varying = 1.0,
        reward: RewardFn | None = None,
        num_particles: int | None = None,
        return_trajectory: bool = False,
        **sampling: Any,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check the options of a call, and divide them into rows and what all rows have."""
        schedule = self.schedule
        shape = jax.tree.leaves(cond)[0].shape[0], self.length
        check_guidance(guidance, self.model, negative)
        noise, start = cut_at_start(schedule, start, start_step, shape)
        parts, fixed = prepare_parts(noise, length=self.length, **sampling)
        check_reward(reward, num_particles, parts)
        if reward is not None:
            _call_abstractly(reward, (*shape, schedule.vocab_size))
        if num_particles is not None and return_trajectory:
            raise ValueError("num_particles: particles have no one trajectory; leave one out")
        if known is not None:
            check_known(known, shape, schedule.vocab_size)
        rows = {"cond": cond, "known": known, "start": start, "negative": negative}
        return {name: value for name, value in rows.items() if value is not None}, {
            "parts": parts,
            "fixed": fixed,
            "guidance": guidance,
            "guided": not is_constant(guidance, 1.0),
            "start_step": start_step,
            "reward": reward,
            "num_particles": num_particles,
            "return_trajectory": return_trajectory,
        }


def _bind_network(
    model: Model, params: Params, mesh: Mesh | None, *, whole: bool
) -> tuple[DenoiseFn, HeadFn | None]:
    """Return the network with the sharding of its rows, and its head where it may be apart."""
    denoise_fn, head_fn = partial(model.denoise, params), None
    if not whole and model.hidden is not None and model.head is not None:
        denoise_fn, head_fn = partial(model.hidden, params), partial(model.head, params)
    if mesh is None:
        return denoise_fn, head_fn
    rows = split_batch(mesh)
    # A model without a condition gives the compiler no other array with the batch's sharding.
    return (
        lambda zt, t, cond: denoise_fn(jax.lax.with_sharding_constraint(zt, rows), t, cond),
        head_fn,
    )


def check_sampling(
    schedule: Schedule,
    model: Model,
    *,
    num_samples: int,
    num_steps: int | None,
    truncation: Varying,
    top_k: int | None,
    temperature: Varying,
    guidance: Varying = 1.0,
    sampler: str | Rule = "ancestral",
    corrector: str | Corrector | None = None,
    times: Times = "uniform",
    negative: Any = None,
    reward: RewardFn | None = None,
    num_particles: int | None = None,
    **options: Any,
) -> None:
    """Check what samples are requested.

    Args:
        schedule: The noise schedule.
        model: What is sampled.
        num_samples: >= 1.
        num_steps: 1..T, or None for T.
        truncation: In (0, 1].
        top_k: 1..K, or None for K.
        temperature: > 0.
        guidance: >= 0; anything but 1 needs a model that was trained for it.
        sampler: An entry of the table ``SAMPLERS``, or a rule.
        corrector: An entry of the table ``CORRECTORS``, a corrector, or None.
        times: A time grid by its name, or the steps themselves.
        negative: A request to guide away from, or None.
        reward: See `check_reward`, as for the next.
        num_particles: How many for each sample, or None.
        **options: Of the sampler and the corrector.

    Raises:
        ValueError: If a value is out of its range.
    """
    if isinstance(num_samples, bool) or not isinstance(num_samples, Integral):
        raise ValueError(f"num_samples = {num_samples!r} must be a whole number")
    if num_samples < 1:
        raise ValueError(f"num_samples = {num_samples} must be at least 1")
    check_num_steps(num_steps, schedule)
    if top_k is not None and not 1 <= top_k <= schedule.vocab_size:
        raise ValueError(f"top_k = {top_k} must be in 1..K = 1..{schedule.vocab_size}")
    check_guidance(guidance, model, negative)
    parts, _ = prepare_parts(
        schedule,
        sampler=sampler,
        corrector=corrector,
        num_steps=num_steps,
        times=times,
        truncation=truncation,
        top_k=top_k,
        temperature=temperature,
        **options,
    )
    check_reward(reward, num_particles, parts)


def check_reward(reward: RewardFn | None, num_particles: int | None, parts: Parts) -> None:
    """Raise a ValueError unless samples can follow a reward so.

    Args:
        reward: ``[samples length K] -> [samples]``, log p(y | z0) of one-hot tokens, of JAX's
            operations. Without particles it is differentiated, at the probabilities of tokens.
        num_particles: How many of each sample find those that the reward prefers, exact in the
            limit of many; None tilts the network's prediction by the gradient instead.
        parts: Of the sampler.
    """
    if reward is not None:
        check_function("reward", reward, "(x)")
    if num_particles is None:
        return
    check_count("num_particles", num_particles)
    if num_particles > MAX_PARTICLES:
        raise ValueError(f"num_particles = {num_particles} must be at most {MAX_PARTICLES}")
    if reward is None:
        raise ValueError(
            f"num_particles = {num_particles} needs a reward to follow; give one, or leave it out"
        )
    if type(parts.rule) is not Ancestral or parts.corrector is not None:
        raise ValueError(
            'num_particles needs sampler = "ancestral" without a corrector; leave it out to follow '
            "the reward by its gradient, which goes with all"
        )


def _call_abstractly(reward: RewardFn, shape: tuple[int, int, int]) -> None:
    """Raise a ValueError unless a reward can be traced and gives a float for each sample."""
    try:
        found = jax.eval_shape(reward, jax.ShapeDtypeStruct(shape, jnp.float32))
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            f"reward must be made of JAX's operations, which work on tracers: {error.args[0]}"
        ) from error
    shaped = isinstance(found, jax.ShapeDtypeStruct) and found.shape == shape[:1]
    if not (shaped and jnp.issubdtype(found.dtype, jnp.floating)):
        raise ValueError(f"reward must return floats [{shape[0]}], one for each row, got {found}")


def check_guidance(guidance: Varying, model: Model, negative: Any = None) -> None:
    """Raise a ValueError unless a model can be guided so."""
    check_varying("guidance", guidance)
    for value in values_of(guidance):
        if not 0.0 <= value < math.inf:
            raise ValueError(f"guidance = {value} must be at least 0; 1 is none")
        if value > LARGEST_SCALE:
            raise ValueError(f"guidance = {value} must be at most {LARGEST_SCALE:g}")
    if is_constant(guidance, 1.0) and negative is not None:
        raise ValueError(
            "negative has no effect with a guidance of 1; give one above 1, or 0..1 for what is "
            "between the two requests"
        )
    if not is_constant(guidance, 1.0) and model.null is None and negative is None:
        raise ValueError(
            f"guidance = {guidance} needs a model that was trained without its condition now and "
            "then (condition.dropout above 0); leave it at 1, or give a negative request"
        )


def check_num_steps(num_steps: int | None, schedule: Schedule) -> None:
    """Raise a ValueError unless a number of sampling steps is None or is in 1..T."""
    if num_steps is not None and not 1 <= num_steps <= schedule.num_steps:
        raise ValueError(
            f"num_steps = {num_steps} must be in 1..T = 1..{schedule.num_steps}, "
            "as schedule.num_steps says"
        )


def check_truncation(name: str, truncation: float) -> None:
    """Raise a ValueError with the given name unless a truncation rate is in (0, 1]."""
    if not 0.0 < truncation <= 1.0:
        raise ValueError(f"{name} = {truncation} must be in (0, 1]; 1 keeps everything")
