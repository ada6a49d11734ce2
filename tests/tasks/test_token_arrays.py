"""Anybody's tokens, as plain .npy files, through the command line."""

import json
import re

import numpy as np
import pytest

import cdcd_jax as cdcd
from cdcd_jax.experiment.experiment import build
from cdcd_jax.settings.config_file import load_config


def write_tokens(folder, labels=True, high=6, dtype=np.uint8):
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, count in {"train": 48, "test": 20}.items():
        classes = np.arange(count) % 3
        tokens = 2 * classes[:, None, None] + random.integers(0, 2, (count, 4, 4))
        np.save(folder / f"{split}.npy", (tokens + high - 6).astype(dtype))
        if labels:
            np.save(folder / f"{split}_labels.npy", classes)
    (folder / "class_names.txt").write_text("low\nmiddle\nhigh\n")
    return folder


def load(folder, kind="class", grid=(4, 4)):
    config = load_config("configs/arrays.py:smoke")
    config.data.path = str(folder)
    config.codec.update(vocab_size=6, grid=grid)
    config.condition.kind = kind
    return config


def without_seconds(rows):
    return [{key: row[key] for key in row if "seconds" not in key} for row in rows]


@pytest.mark.parametrize("labels", [True, False])
def test_arrays_are_trained_on_evaluated_and_sampled(run_here, tmp_path, labels):
    folder, run = write_tokens(tmp_path / "tokens", labels), tmp_path / "run"
    flags = [
        "--config=configs/arrays.py:smoke", f"--config.data.path={folder}", f"--workdir={run}",
        "--config.codec.vocab_size=6", "--config.codec.grid=(4, 4)", "--config.train.num_steps=2",
        "--config.optimizer.warmup_steps=1", "--config.denoiser.width=8",
        "--config.denoiser.num_layers=1", "--config.schedule.num_steps=4",
        "--config.eval.num_steps=(2,)", "--config.eval.truncations=(1.0,)",
        "--config.eval.num_samples=6", "--config.eval.batch_size=10",
        *([] if labels else ["--config.condition.kind=none"]),
    ]  # fmt: skip
    code, printed = run_here(*flags)
    assert code == 0, printed
    summary = json.loads((run / "summary.json").read_text())
    assert summary["bits_per_token"] > 0
    assert ("accuracy" in summary) == labels
    assert ("codes_used" in summary) != labels
    test = np.load(folder / "test.npy").reshape(20, 16).astype(np.int32)
    train = np.load(folder / "train.npy").reshape(48, 16).astype(np.int32)
    code, printed = run_here("--mode=evaluate", f"--workdir={run}")  # which describes itself
    assert code == 0, printed
    (again,) = (run / "evaluations").glob("*/summary.json")
    again = json.loads(again.read_text())
    assert again["bits_per_token"] == summary["bits_per_token"]
    assert without_seconds(again["rows"]) == without_seconds(summary["rows"])

    for file in folder.iterdir():
        file.unlink()
    code, printed = run_here("--mode=evaluate", f"--workdir={run}")
    assert code == 2
    assert re.search(r"train\.npy.*; an evaluation needs the data of the run", printed)
    generator = cdcd.load(run)
    if labels:  # on arrays the same examples have the same scores
        evaluation = summary["config"]["eval"]
        found = cdcd.evaluate(
            generator,
            generator.decode(test),
            np.arange(20) % 3,
            metrics=["classifier"],
            train=(generator.decode(train), np.arange(48) % 3),
            num_samples=6,
            num_steps=2,
            truncation=1.0,
            batch_size=10,
            seed=evaluation["seed"],
        )
        assert found["bits_per_token"] == summary["bits_per_token"]
        assert without_seconds(found["rows"]) == without_seconds(summary["rows"])
    assert generator.conditioning.class_names == (("low", "middle", "high") if labels else ("all",))
    tokens = generator.sample(num_samples=3, output="tokens", num_steps=2)
    assert tokens.shape == (3, 16)
    assert 0 <= tokens.min() <= tokens.max() < 6


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"high": 7}, {}, r"must be in 0\.\.5 \(vocab_size 6\), found 6"),
        ({}, {"grid": (4, 5)}, r"so codec\.grid = \(4, 5\) must be that"),
        ({"labels": False}, {}, r"^data\.path = .* has no train_labels\.npy.*take condition\.kind"),
        ({"dtype": np.float32}, {}, r"train\.npy must hold integers \[examples, length\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, options, message):
    folder = write_tokens(tmp_path / "tokens", **changes)
    with pytest.raises(ValueError, match=message):
        build(load(folder, **options), tmp_path / "run")
