"""The plateau of the paper-size runs on simulated losses: it waits for as long as they fall."""

import importlib
import re
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdcd_jax.training.plateau import scale_on_plateau

ROOT = Path(__file__).parents[2]
DATA_SETS = ("aist", "tiktok", "coco", "cub200", "imagenet")
PARAMS = {"w": jnp.zeros(())}
SHARES = (0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
NOISE = (-0.442, -0.353, -0.257, -0.166, -0.129, -0.058, 0.008, 0.065, 0.115, 0.141, 0.199, 0.285,
         0.335)  # fmt: skip
"""Quantiles of log(loss of a step / running mean of 101) in steps 200 to 1,862 of
``configs/digits_vanilla.py`` with ``train.batch_size=16``."""


def simulate(num_steps, factor):
    """Draw losses with the noise of a real run that fall by a factor, ever more slowly."""
    noise = np.interp(np.random.default_rng(0).random(num_steps), SHARES, NOISE)
    falling = 6.0 * factor ** (-np.arange(num_steps) / num_steps)
    return jnp.asarray(falling * np.exp(noise), jnp.float32)


def scales(plateau, losses):
    """Follow the factor of the rate; nothing else is computed."""

    def after(state, loss):
        state = plateau.update((), state, value=loss)[1]
        return state, state.scale

    return np.array(jax.jit(lambda x: jax.lax.scan(after, plateau.init(PARAMS), x)[1])(losses))


def plateau_of(data_set, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    config = importlib.import_module(f"configs.{data_set}_vanilla").get_config()
    section = config.optimizer
    plateau = scale_on_plateau(
        factor=section.plateau_factor,
        patience=section.plateau_patience,
        threshold=section.plateau_threshold,
        min_scale=section.end_lr / section.lr,
        warmup_steps=section.warmup_steps,
    )
    return config, plateau


def shares_in_docs():
    """Read the table of the docs: what is left of the rate, by factor of the loss and data set."""
    lines = (ROOT / "docs" / "results" / "settings.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| by a factor of")]
    assert len(rows) == 3
    return {
        float(re.search(r"[\d.]+", name)[0]): dict(
            zip(DATA_SETS, map(Fraction, cells), strict=True)
        )
        for name, *cells in rows
    }


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_the_rate_stays_at_its_peak_while_the_loss_falls(data_set, monkeypatch):
    config, plateau = plateau_of(data_set, monkeypatch)
    assert scales(plateau, simulate(config.train.num_steps, 3.0)).min() == 1.0
    for factor, shares in shares_in_docs().items():
        found = scales(plateau, simulate(config.train.num_steps, factor))[-1]
        assert found == shares[data_set], factor


def test_the_rate_of_500_000_steps_stays_where_windows_of_100_would_have_ended_it(monkeypatch):
    """They were compared from the first update on; eight in a row brought the cut."""
    config, plateau = plateau_of("imagenet", monkeypatch)
    losses = simulate(500_000, 3.0)
    assert scales(plateau, losses).min() == 1.0
    floor = config.optimizer.end_lr / config.optimizer.lr
    windows = optax.contrib.reduce_on_plateau(
        factor=0.5, patience=8, rtol=0.1, accumulation_size=100, min_scale=floor
    )
    assert scales(windows, losses[:10_000])[-1] == pytest.approx(floor)


def test_the_rate_is_halved_where_the_loss_stagnates(monkeypatch):
    config, plateau = plateau_of("cub200", monkeypatch)
    found = scales(plateau, simulate(60_000, 1.0))
    assert found[25_000 + config.optimizer.warmup_steps - 1] == 1.0
    assert found[-1] in (0.5, 0.25)
