"""Schedules: sizes, shares and tables of one's own."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

import cdcd_jax as cdcd
from tests.adversarial.calls.common import SCHEDULE, Z0, K, T, key, refused, uniform
from tests.adversarial.cases import Case

NAN = float("nan")
REVERSED = {
    field.name: getattr(SCHEDULE, field.name)[::-1]
    for field in dataclasses.fields(SCHEDULE)
    if field.name != "vocab_size"
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for make in (cdcd.mask_replace_schedule, cdcd.absorbing_schedule):
        for option, values, says in (
            ("num_steps", (0, -2, 2.5, "4", None, True), "num_steps must be a whole number"),
            ("num_steps", (10**9,), "num_steps must be at most 1,000,000, got 1,000,000,000"),
            ("vocab_size", (0, -2, 2.5, "4", None), "vocab_size must be a whole number"),
            ("vocab_size", (1,), "vocab_size must be at least 2 real tokens, got 1"),
            ("vocab_size", (2**31, 2**40), "vocab_size must be at most 2,147,483,647"),
        ):
            for value in values:
                sizes: dict[str, Any] = {"num_steps": T, "vocab_size": K} | {option: value}
                run = lambda make=make, sizes=sizes: make(**sizes)  # noqa: E731
                yield refused(f"{make.__name__}: {option} = {value!r}", run, says)
    for option, values, says in (
        ("denominator", (0, -1, 1.5, "K"), "denominator must be a whole number"),
        ("denominator", (1, K - 1, K + 2, 10**400), "must be vocab_size, 5, or, for checkpoints"),
        ("final_keep", (0.0, 1.0, -1.0, NAN), "final_keep = "),
        ("first_keep", (2.0, NAN), "first_keep = "),
        ("final_uniform", (-0.1, 1.0, NAN), "final_uniform = "),
        ("first_uniform", (-0.1, 0.5, NAN), "first_uniform = "),
        ("final_keep", ("0.1", None, [0.1]), "final_keep must be a number"),
        ("curve", ("", "cosin", None), "is not a curve"),
        ("first_keep", (1e-9,), "these shares need a negative"),
    ):
        for value in values:
            run = lambda option=option, value=value: cdcd.mask_replace_schedule(  # noqa: E731
                **{"num_steps": T, "vocab_size": K, option: value}
            )
            yield refused(f"mask_replace_schedule: {option} = {value!r}", run, says)
    yield from _tables()


def _tables() -> Iterator[Case]:
    for name, change, says in (
        ("NaN", {"alpha_bar": np.full(T + 1, NAN)}, "schedule.alpha_bar[0] = nan is not a probab"),
        ("2", {"beta": np.full(T + 1, 2.0)}, "schedule.beta[0] = 2.0 is not a probability"),
        ("-1", {"gamma": np.full(T + 1, -1.0)}, "schedule.gamma[0] = -1.0 is not a probability"),
        ("other lengths", {"alpha": np.ones(T)}, "schedule.alpha must have T + 1 entries"),
        ("no steps", {"alpha_bar": np.ones(1)}, "schedule.alpha_bar must have T + 1 entries"),
        ("a number", {"alpha_bar": 1.0}, "schedule.alpha_bar must have T + 1 entries"),
        ("whole numbers", {"beta": np.zeros(T + 1, np.int32)}, "schedule.beta must be an array of"),
        ("lists", {"beta": [0.0] * (T + 1)}, "schedule.beta must be an array of floats, got a lis"),
        ("fewer tokens", {"vocab_size": K - 2}, "schedule.alpha[1] + 3 beta + gamma is not 1: a"),
        ("more tokens", {"vocab_size": K + 2}, "schedule.alpha[1] + 7 beta + gamma is not 1: a"),
        ("other masks", {"keep_bar": np.ones(T + 1)}, "schedule.keep_bar[1] = 1.0 is not 1 - gam"),
        ("a reversed order", REVERSED, "is less than the next entry: noise only grows"),
        ("no tokens", {"vocab_size": 0}, "schedule.vocab_size must be a whole number"),
    ):
        schedule = dataclasses.replace(SCHEDULE, **change)
        for function, run in {
            "sample": lambda s: cdcd.sample(key(), s, uniform, None, shape=(2, 6)),
            "make_loss": cdcd.make_loss,
            "bound": lambda s: cdcd.evaluate_bound(key(), s, uniform, Z0, None),
            "prior_kl": cdcd.prior_kl,
        }.items():
            run_it = lambda run=run, schedule=schedule: run(schedule)  # noqa: E731
            yield refused(f"{function}: tables of {name}", run_it, says)
    for function, run in {
        "bound": lambda: cdcd.evaluate_bound(key(), None, uniform, Z0, None),
        "prior_kl": lambda: cdcd.prior_kl(None),
        "q_sample": lambda: cdcd.q_sample(key(), None, Z0, np.array([1, 2])),
        "log_q": lambda: cdcd.log_q("published", Z0, np.array([0, 0]), np.array([1, 2])),
    }.items():
        yield refused(f"{function}: no schedule", run, "schedule must be a Schedule")
