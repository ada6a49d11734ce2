"""Compiled functions of a trained model's parameters: sampling and bounds."""

import math
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh

from cdcd_jax.checks import check_drawn, check_known, check_tokens
from cdcd_jax.diffusion.bound import evaluate_bound
from cdcd_jax.diffusion.guidance import guide_denoiser
from cdcd_jax.diffusion.samplers.correctors import Corrector
from cdcd_jax.diffusion.samplers.rule import Rule
from cdcd_jax.diffusion.samplers.sample import find_parts, sample
from cdcd_jax.diffusion.samplers.times import Times
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.distributed.mesh import split_batch
from cdcd_jax.distributed.shard_batch import shard_batch
from cdcd_jax.training.model import Model
from cdcd_jax.typing import DenoiseFn, Number, Params, PRNGKey


@runtime_checkable
class BoundFn(Protocol):
    """A compiled bound, as `make_bound_fn` makes it."""

    def __call__(self, params: Params, key: PRNGKey, z0: Any, cond: Any) -> jax.Array:
        """Return nats summed over positions, [batch]."""
        ...


@runtime_checkable
class SampleFn(Protocol):
    """A compiled sampler, as `make_sample_fn` makes it."""

    def __call__(
        self,
        params: Params,
        key: PRNGKey,
        cond: Any,
        known: Any = None,
        truncation: float = 1.0,
        temperature: float = 1.0,
        guidance: float = 1.0,
        **options: Any,
    ) -> Any:
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
        features = model.encode(params, rows["cond"])
        denoise_fn = _denoise_rows(model, params, mesh)
        return evaluate_bound(key, schedule, denoise_fn, rows["z0"], features)[:count]

    run = shard_batch(bound, mesh)

    def bound_fn(params: Params, key: PRNGKey, z0: Any, cond: Any) -> Any:
        check_tokens("z0", z0, schedule.vocab_size)
        return run(params, key, {"z0": z0, "cond": cond})

    return bound_fn


def make_sample_fn(
    schedule: Schedule, model: Model, *, length: int, mesh: Mesh | None = None
) -> SampleFn:
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
        is named takes its options beside its name. ``known=`` tokens [batch length] stand, where
        they are not the mask. With ``return_trajectory=True`` also the intermediate states,
        [num_steps+1 batch length].
        All hosts of the mesh call it with all rows and get all samples, which are those of a single
        device.
    """
    static = ("num_steps", "top_k", "times", "guided", "return_trajectory")

    def draw(
        params: Params,
        key: PRNGKey,
        rows: Any,
        *,
        count: int,
        guided: bool,
        guidance: Number,
        return_trajectory: bool = False,
        **options: Any,
    ) -> Any:
        cond = rows["cond"]
        batch = jax.tree.leaves(cond)[0].shape[0]
        denoise_fn = _denoise_rows(model, params, mesh)
        if guided:
            assert model.null is not None
            denoise_fn = guide_denoiser(denoise_fn, model.null(params, batch), guidance)
        drawn = sample(
            key,
            schedule,
            denoise_fn,
            model.encode(params, cond),
            shape=(batch, length),
            known=rows.get("known"),
            return_trajectory=return_trajectory,
            **options,
        )
        if not return_trajectory:
            return drawn[:count]
        tokens, states = drawn
        return tokens[:count], states[:, :count]

    run = shard_batch(draw, mesh, static=static)

    def sample_fn(
        params: Params,
        key: PRNGKey,
        cond: Any,
        known: Any = None,
        truncation: float = 1.0,
        temperature: float = 1.0,
        guidance: float = 1.0,
        sampler: str | Rule = "ancestral",
        corrector: str | Corrector | None = None,
        num_steps: int | None = None,
        times: Times = "uniform",
        top_k: int | None = None,
        return_trajectory: bool = False,
        **options: Any,
    ) -> Any:
        check_truncation("truncation", truncation)
        check_temperature(temperature)
        check_guidance(guidance, model)
        rule, repair = find_parts(sampler, corrector, options)
        rows = {"cond": cond}
        if known is not None:
            check_known(known, (len(jax.tree.leaves(cond)[0]), length), schedule.vocab_size)
            rows["known"] = known
        drawn = run(
            params,
            key,
            rows,
            truncation=float(truncation),
            temperature=float(temperature),
            guidance=float(guidance),
            guided=guidance != 1.0,
            sampler=rule,
            corrector=repair,
            num_steps=num_steps,
            times=times if isinstance(times, str) else tuple(times),
            top_k=top_k,
            return_trajectory=return_trajectory,
        )
        tokens = drawn[0] if return_trajectory else drawn
        check_drawn(tokens, schedule.vocab_size)
        return drawn

    return sample_fn


def _denoise_rows(model: Model, params: Params, mesh: Mesh | None) -> DenoiseFn:
    """Return the network with the sharding of its rows."""
    denoise_fn = partial(model.denoise, params)
    if mesh is None:
        return denoise_fn
    rows = split_batch(mesh)
    # A model without a condition gives the compiler no other array with the batch's sharding.
    return lambda zt, t, cond: denoise_fn(jax.lax.with_sharding_constraint(zt, rows), t, cond)


def check_sampling(
    schedule: Schedule,
    model: Model,
    *,
    num_samples: int,
    num_steps: int | None,
    truncation: float,
    top_k: int | None,
    temperature: float,
    guidance: float = 1.0,
    sampler: str | Rule = "ancestral",
    corrector: str | Corrector | None = None,
    times: Times = "uniform",
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
        **options: Of the sampler and the corrector.

    Raises:
        ValueError: If a value is out of its range.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples = {num_samples} must be at least 1")
    check_num_steps(num_steps, schedule)
    check_truncation("truncation", truncation)
    if top_k is not None and not 1 <= top_k <= schedule.vocab_size:
        raise ValueError(f"top_k = {top_k} must be in 1..K = 1..{schedule.vocab_size}")
    check_temperature(temperature)
    check_guidance(guidance, model)
    rule, repair = find_parts(sampler, corrector, options)
    rule.prepare(schedule, num_steps, times, length=None)
    if repair is not None:
        repair.check(schedule)


def check_temperature(temperature: float) -> None:
    """Raise a ValueError unless a temperature is above 0 and finite."""
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature = {temperature} must be above 0")


def check_guidance(guidance: float, model: Model) -> None:
    """Raise a ValueError unless a model can be guided so."""
    if not 0.0 <= guidance < math.inf:
        raise ValueError(f"guidance = {guidance} must be at least 0; 1 is none")
    if guidance != 1.0 and model.null is None:
        raise ValueError(
            f"guidance = {guidance} needs a model that was trained without its condition now and "
            "then (condition.dropout above 0); leave it at 1"
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
