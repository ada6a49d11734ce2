"""The Python of the guides on sampling and editing runs as pasted, on a small model of digits."""

import importlib
import re
from pathlib import Path

import jax
import pytest

import cdcd_jax as cdcd
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build

GUIDES = Path(__file__).parents[1] / "docs" / "guides"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    config = importlib.import_module("configs.digits_vanilla").get_config("smoke")
    changes = {"denoiser.num_layers": 1, "denoiser.width": 16, "schedule.num_steps": 4}
    config.update_from_flattened_dict(changes)
    config.eval.num_steps, config.sample.num_steps = (2,), 2
    folder = tmp_path_factory.mktemp("run")
    built = build(config.lock(), folder, mesh=make_mesh(jax.devices()[:1]))
    return built.generator(built.model.init(jax.random.key(0)))


@pytest.mark.parametrize("page", ["editing.md", "sampling.md"])
def test_a_guide_runs_as_pasted(page, digits, monkeypatch):
    monkeypatch.setattr(cdcd, "load", lambda path: digits)
    text = (GUIDES / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = {}
    for block in blocks:
        exec(compile(block, page, "exec"), found)
    results = {"editing.md": ("inpainted", "varied", "both"), "sampling.md": ("tokens", "drawn")}
    assert all(len(found[name]) for name in results[page])
