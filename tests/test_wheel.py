"""The package as pip installs it: a wheel, and a command that runs in any folder."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = int(importlib.metadata.version("setuptools").partition(".")[0])
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.mark.slow
@pytest.mark.skipif(SETUPTOOLS < 77, reason="pyproject.toml needs a newer setuptools to build")
def test_a_wheel_runs_an_experiment_from_another_folder(tmp_path):
    source, site, elsewhere = (tmp_path / name for name in ("source", "site", "elsewhere"))
    elsewhere.mkdir()
    shutil.copytree(ROOT / "cdcd_jax", source / "cdcd_jax")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], cwd=source, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    assert (site / "cdcd_jax" / "py.typed").is_file()
    (entry,) = site.glob("*.dist-info/entry_points.txt")
    assert "cdcd = cdcd_jax.main:run_command" in entry.read_text()

    script = tmp_path / "cdcd"
    script.write_text("from cdcd_jax.main import run_command\nrun_command()\n")
    config = ROOT / "configs" / "tiktok_step_intra.py"  # which imports its neighbours
    done = subprocess.run(
        [sys.executable, str(script), f"--config={config}", "--config.train.num_steps=0"],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr == f"Error: {config}: train.num_steps = 0 must be at least 1\n"
