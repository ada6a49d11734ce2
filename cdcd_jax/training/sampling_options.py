"""Options of sampling as a user gives them."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from cdcd_jax.diffusion.ramps import Interval, Ramp
from cdcd_jax.diffusion.samplers.sample import option_names
from cdcd_jax.registry import suggest

MAX_SEED = 2**32 - 1
"""Of a random key, which has no more bits where JAX_ENABLE_X64 is not set."""

MAX_SAMPLES = 10_000
"""Of one call, which are in memory together."""

SAMPLING = (
    *("num_steps", "truncation", "top_k", "temperature", "guidance", "sampler", "corrector"),
    "times",
)
"""Options of sampling, beside those of a sampler and a corrector that are named."""


def complete_options(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Add the options that are not given; a whole number serves as a float.

    Raises:
        ValueError: If there is no such option, or a value is not a number.
    """
    sampler = options.get("sampler", defaults.get("sampler", "ancestral"))
    corrector = options.get("corrector", defaults.get("corrector"))
    names = (*SAMPLING, *option_names(sampler, corrector))
    if unknown := sorted({*options} - {*names}):
        which = f'sampler = "{sampler}"' if isinstance(sampler, str) else "this sampler"
        raise ValueError(
            f"{unknown[0]} is not an option of sampling with {which}: {suggest(unknown[0], names)}"
        )
    found = {name: defaults[name] for name in names if name in defaults} | {**options}
    for name in ("truncation", "temperature", "guidance"):
        value = found.get(name, 1.0)
        if isinstance(value, Ramp | Interval):
            continue
        if isinstance(value, bool | str) or not isinstance(value, Real):
            raise ValueError(f"{name} = {value!r} must be a number, a Ramp or an Interval")
        found[name] = float(value)
    for name in ("num_steps", "top_k"):
        value = found.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
            raise ValueError(f"{name} = {value!r} must be a whole number")
        if value is not None:
            found[name] = int(value)
    return found


def with_grid(sampling: Mapping[str, Any], grid: tuple[int, int]) -> dict[str, Any]:
    """Add the codec's grid to options of a sampler that needs one and has none."""
    needs = "grid" in option_names(sampling.get("sampler", "ancestral"))
    default = {"grid": grid} if needs and sampling.get("grid") is None else {}
    return {**sampling, **default}


def check_seed(seed: int) -> None:
    """Raise a ValueError unless a seed has a random key of its own."""
    _check_whole("seed", seed, 0, MAX_SEED)


def check_count(num_samples: int | None) -> None:
    """Raise a ValueError unless so many samples can be drawn at once, or None is given."""
    if num_samples is not None:
        _check_whole("num_samples", num_samples, 1, MAX_SAMPLES)


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not low <= int(value) <= high:
        raise ValueError(f"{name} = {value!r} must be a whole number, {low}..{high}")
