"""Options of losses, samplers and shuffles, and statistics and noise of other sizes."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import cdcd_jax as cdcd
from cdcd_jax.diffusion.samplers.filters import apply_temperature, truncate
from tests.adversarial.calls.common import (
    LOGITS,
    SCHEDULE,
    STEP_TERM,
    Z0,
    T,
    key,
    loss,
    refused,
    sample,
    uniform,
)
from tests.adversarial.cases import Case

NAN, INF = float("nan"), float("inf")


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _sampling()
    yield from _losses()
    yield from _statistics()
    yield from _shuffles()


def _sampling() -> Iterator[Case]:
    for option, values, says in (
        ("num_steps", (0, -1, 2.5, "2", True, [2], NAN), "num_steps must be a whole number"),
        ("num_steps", (5, 10**12), "num_steps must be between 1 and the 4 steps"),
        ("top_k", (0, -3, 1.5, "1", True, NAN), "top_k must be a whole number, at least 1"),
        ("truncation", (0.0, -0.1, 1.01, 86, NAN, INF), "truncation must be in (0, 1], got"),
        ("truncation", ("0.9", None, True, np.ones(2)), "truncation must be a number, got"),
        ("temperature", (0.0, 0, -1.0, NAN, INF, 1e-46, 1e39), "temperature must be positive"),
        ("temperature", ("1", None, False, np.ones(2)), "temperature must be a number, got"),
        ("shape", ((0, 6), (2, 0), (2,), (2, 3, 4), 6, "26", (2.0, 6), (-2, 6), None), "shape = "),
        ("schedule", (None, 4, "published"), "schedule must be a Schedule"),
        ("known", (Z0[:1], Z0[:, :3]), "known must have the shape of the samples, (2, 6)"),
    ):
        for value in values:
            run = lambda option=option, value=value: sample(**{option: value})  # noqa: E731
            shown = np.shape(value) if isinstance(value, np.ndarray) else repr(value)
            yield refused(f"sample: {option} = {shown}", run, says)
    made = cdcd.make_sampler(SCHEDULE, uniform)
    for batch in (-1, 0, 2.5, "2", None):
        run = lambda batch=batch: made.init(key(), batch, 6)  # noqa: E731
        yield refused(f"sampler.init: a batch of {batch!r}", run, f"shape = ({batch!r}, 6) must")
    for option, value, check, says in (
        ("truncation", 1.5, truncate, "truncation must be in (0, 1], got 1.5"),
        ("truncation", NAN, truncate, "truncation must be in (0, 1], got nan"),
        ("temperature", -1.0, apply_temperature, "temperature must be positive"),
        ("temperature", 0.0, apply_temperature, "temperature must be positive"),
    ):
        run = lambda check=check, value=value: cdcd.checked(  # noqa: E731
            lambda x, check=check: check(LOGITS, x)
        )(value)
        yield refused(f"checked: {option} = {value}", run, says)


def _losses() -> Iterator[Case]:
    def contrast(**options: Any):
        return cdcd.Contrast(options.pop("mechanism", "step"), **options)

    def make_loss(**options: Any):
        return cdcd.make_loss(options.pop("schedule", SCHEDULE), **options)

    for make, option, values, says in (
        (contrast, "num_steps", (1.5, 0, -1, "2", True, NAN), "num_steps must be a whole number"),
        (contrast, "weight", (-1e-5, NAN, INF, 1e39), "the contrastive weight = "),
        (contrast, "weight", ("1", None, [1.0], True), "the contrastive weight must be a number"),
        (contrast, "mechanism", ("Step", None, 1), "mechanism must be one of"),
        (contrast, "chains", ("both", None), "chains must be one of"),
        (contrast, "time_weight", ("up", None), "time_weight must be one of"),
        (make_loss, "aux_weight", (-1.0, NAN, INF, 1e39), "aux_weight = "),
        (make_loss, "aux_weight", ("x", None), "aux_weight must be a number"),
        (make_loss, "mask_weight", ((1.0, -1.0), (NAN, 1.0), (INF, INF)), "mask_weight = "),
        (make_loss, "mask_weight", ((1e39, 1e39),), "mask_weight = 1e+39 must be finite and >= 0"),
        (make_loss, "mask_weight", (1.0, (1.0,), (1.0, 1.0, 1.0), None), "must be two weights"),
        (make_loss, "chains_per_pass", (0, 1.5, "2"), "chains_per_pass must be a whole number"),
        (make_loss, "positions_per_pass", (0, 2.5), "positions_per_pass must be a whole number"),
        (make_loss, "aux_time_weight", ("up", None), "aux_time_weight must be one of"),
        (make_loss, "contrast", ("step", 3, [None]), "contrast must be a Contrast"),
        (make_loss, "schedule", (None, {}), "schedule must be a Schedule"),
    ):
        for value in values:
            run = lambda make=make, option=option, value=value: make(**{option: value})  # noqa: E731
            yield refused(f"{make.__name__}: {option} = {value!r}", run, says)
    yield refused(
        "make_loss: a term at more steps than there are",
        lambda: cdcd.make_loss(SCHEDULE, contrast=cdcd.Contrast("step", num_steps=T + 1)),
        "a contrastive term at 5 steps needs as many diffusion steps, the schedule has 4",
    )
    yield refused(
        "loss: a traced weight",
        lambda: jax.jit(lambda w: cdcd.make_loss(SCHEDULE, aux_weight=w)(key(), uniform, Z0, None))(
            1.0
        ),
        "aux_weight must be a number that is known before compiling",
    )
    for what, negatives in (
        ("other rows", Z0[:1, None]),
        ("another length", Z0[:, None, :4]),
        ("two sets for one term", (Z0[:, None], Z0[:, None])),
    ):
        run = lambda negatives=negatives: loss(Z0, negatives)  # noqa: E731
        says = "1 contrastive terms" if what.startswith("two") else "negatives must have shape"
        yield refused(f"loss: negatives of {what}", run, says)
    yield refused(
        "loss: no negatives for a term",
        lambda: cdcd.make_loss(SCHEDULE, contrast=STEP_TERM)(key(), uniform, Z0, None),
        "was given 0 sets of negatives",
    )
    yield refused(
        "loss: positions_per_pass without a head",
        lambda: cdcd.make_loss(SCHEDULE, positions_per_pass=2)(key(), uniform, Z0, None),
        "positions_per_pass = 2 needs head_fn",
    )
    yield refused("loss: a head of no use", lambda: loss(head_fn=3), "head_fn must be a function")


def _statistics() -> Iterator[Case]:
    for value in (0, -1, 2.5, "4", None, True):
        run = lambda value=value: cdcd.init_timestep_stats(value)  # noqa: E731
        yield refused(f"init_timestep_stats({value!r})", run, "num_steps must be a whole number")
    yield refused(
        "init_timestep_stats: more than memory",
        lambda: cdcd.init_timestep_stats(10**12),
        "num_steps must be at most 1,000,000",
    )
    stats = cdcd.init_timestep_stats(T)
    changed = lambda **change: dataclasses.replace(stats, **change)  # noqa: E731
    for what, given, says in (
        ("another T", cdcd.init_timestep_stats(T + 1), "stats are of 5 steps, and the schedule"),
        ("another T of one", changed(second_moment=jnp.zeros(9)), "stats are of 9 steps"),
        ("NaN", changed(second_moment=jnp.full(T, NAN)), "stats.second_moment[0] = nan must be"),
        ("inf", changed(second_moment=jnp.full(T, INF)), "stats.second_moment[0] = inf must be"),
        ("negative counts", changed(count=jnp.full(T, -1.0)), "stats.count[0] = -1.0 must be"),
        ("a number", 3, "stats must be a TimestepStats"),
        ("a dict", {"count": stats.count}, "stats must be a TimestepStats"),
    ):
        yield refused(f"loss: stats of {what}", lambda given=given: loss(stats=given), says)
    made = cdcd.make_loss(SCHEDULE)
    for what, noise, says in (
        ("other rows", lambda: made.draw(key(), Z0[:1]), "noise.zt has shape (1, 6)"),
        ("another length", lambda: made.draw(key(), Z0[:, :3]), "noise.zt has shape (2, 3)"),
        ("nothing", lambda: None, "noise must be a Noise"),
    ):
        run = lambda noise=noise: made.at(noise(), uniform, Z0, None)  # noqa: E731
        yield refused(f"loss.at: noise of {what}", run, says)
    own = cdcd.make_loss(SCHEDULE, contrast=cdcd.Contrast("step"))
    yield refused(
        "loss.at: noise of fewer negatives",
        lambda: own.at(
            own.draw(key(), Z0, negatives=Z0[:, None]),
            uniform,
            Z0,
            None,
            negatives=np.stack([Z0, Z0], 1),
        ),
        "noise.zt_negatives has shape (2, 1, 6) where the loss has (2, 2, 6)",
    )
    yield refused(
        "loss.at: noise of another loss",
        lambda: own.at(made.draw(key(), Z0), uniform, Z0, None, negatives=Z0[:, None]),
        "noise.zt_negatives has shape None",
    )


def _shuffles() -> Iterator[Case]:
    def chunks(**options: Any):
        return cdcd.shuffle_chunks(key(), Z0, **{"num_chunks": 2, **options})

    def patches(**options: Any):
        return cdcd.shuffle_patches(key(), Z0, **{"grid": (2, 3), "patches": (2, 1), **options})

    for make, option, values, says in (
        (chunks, "num_chunks", (0, 2.5, "2", None, True), "num_chunks must be a whole number"),
        (chunks, "num_chunks", (1, 7), "num_chunks must cut 6 tokens in 2 to 6 pieces"),
        (chunks, "num_negatives", (-1, 1.5, None), "num_negatives must be a whole number"),
        (patches, "num_negatives", (-1, 1.5), "num_negatives must be a whole number"),
        (chunks, "num_negatives", (10**12, 2**40), "more than the 2,147,483,647 that one array"),
        (patches, "num_negatives", (10**12,), "more than the 2,147,483,647 that one array may"),
        (patches, "grid", ((2.0, 3), 6, (6,), None, (0, 6), "23"), "grid = "),
        (patches, "grid", ((2, 2),), "grid 2 x 2 does not have the 6 tokens"),
        (patches, "patches", ((2.0, 1), 2, (0, 3), (-2, -3)), "patches = "),
        (patches, "patches", ((2, 2),), "patches 2 x 2 must divide the token grid 2 x 3"),
        (patches, "patches", ((1, 1),), "patches must cut 6 tokens"),
    ):
        for value in values:
            run = lambda make=make, option=option, value=value: make(**{option: value})  # noqa: E731
            yield refused(f"shuffle_{make.__name__}: {option} = {value!r}", run, says)
