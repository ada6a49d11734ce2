"""Measure how much memory it takes to load a checkpoint that holds a trainer's state as well.

    python -m benchmarks.load_memory --megabytes 200 --json FILE

The file is what VQ-Diffusion's code saves with PyTorch: the last weights, their average and AdamW's
two moments, so that a quarter of it is wanted. Each way of loading has a process of its own, which
reports the memory it had before and its peak (Linux only).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.timing import describe_environment, write_json
from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.experiment.load import load
from cdcd_jax.interop import (
    denoiser_from_reference,
    denoiser_to_reference,
    read_published,
    read_state_dict,
    vqgan_to_state_dict,
)
from cdcd_jax.interop.torch_writer import write_torch
from cdcd_jax.models import make_denoiser

WIDTH, NUM_CODES = 512, 128
BLOCK_BYTES = 4 * 17 * WIDTH**2
"""Of a block's attention, adaptive norms and MLP."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load_memory",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--megabytes", type=int, default=200, help="size of what is wanted")
    parser.add_argument("--folder", help="where to write; a temporary folder by default")
    parser.add_argument("--json", help="file for the measurements")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, path = options.measure
        print(json.dumps(measure(LOADS[name], Path(path))))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = write_checkpoint(Path(folder) / "trained.pth", options.megabytes)
        for name in LOADS:
            command = [sys.executable, "-m", "benchmarks.load_memory", "--measure", name, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = {"name": name, "file_mb": path.stat().st_size / 1e6}
            row |= json.loads(done.stdout.splitlines()[-1])
            row["ratio"] = row["more_mb"] / row["wanted_mb"]
            rows.append(row)
            print(
                f"{name:<12}{row['wanted_mb']:.0f} MB wanted of {row['file_mb']:.0f}: "
                f"+{row['more_mb']:.0f} MB, {row['ratio']:.2f}x",
                flush=True,
            )
    if options.json:
        shown = {name: value for name, value in vars(options).items() if name != "measure"}
        write_json(
            options.json,
            {"environment": describe_environment(), "options": shown, "rows": rows},
        )


def load_arrays(path: Path) -> Any:
    """Read the averaged weights by name."""
    return read_state_dict(path, "ema")


def load_parameters(path: Path) -> Any:
    """Read the averaged weights as our denoiser's parameters."""
    found = read_published(path)
    network = make_denoiser(**found.architecture, grid=(16, 16), num_heads=16)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return denoiser_from_reference(found.denoiser, shapes, prefix="")


def load_model(path: Path) -> Any:
    """Convert and load what ``--reference_checkpoint`` samples."""
    return load(path, folder=path.parent / "converted").params


LOADS: dict[str, Callable[[Path], Any]] = {
    "arrays": load_arrays,
    "parameters": load_parameters,
    "model, first": load_model,
    "model, again": load_model,
}


def measure(load: Callable[[Path], Any], path: Path) -> dict[str, float]:
    """Load once; compare the process's peak with what it held before."""
    jax.block_until_ready(jax.numpy.zeros(1))
    before = read_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    loaded = jax.block_until_ready(load(path))
    peak = read_status("VmHWM")
    wanted = sum(leaf.nbytes for leaf in jax.tree.leaves(loaded))
    return {
        "wanted_mb": wanted / 1e6,
        "before_mb": before,
        "peak_mb": peak,
        "more_mb": peak - before,
    }


def read_status(name: str) -> float:
    """Return a size from the kernel's account of this process, in MB of 1e6 bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1.024e-3


def write_checkpoint(path: Path, megabytes: int) -> Path:
    """Write model, average and optimizer of a model of classes, whose codec is a small one."""
    network = make_denoiser(
        vocab_size=NUM_CODES, num_steps=100, grid=(32, 32), width=WIDTH, num_heads=16,
        num_layers=max(1, round(megabytes * 1e6 / BLOCK_BYTES)), condition="class", num_classes=100,
    )  # fmt: skip
    vqgan = make_vqgan(channels=4, latent_dim=8, code_dim=8, num_codes=NUM_CODES)
    shapes = [jax.eval_shape(part.init, jax.random.key(0)) for part in (network, vqgan)]
    random = np.random.default_rng(0)

    def draw(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: random.standard_normal(leaf.shape, np.float32), tree)

    codec = vqgan_to_state_dict(draw(shapes[1]))
    denoiser = denoiser_to_reference(draw(shapes[0]), prefix="transformer.")
    model = {f"content_codec.{half}.{key}": codec[key] for half in ("enc", "dec") for key in codec}
    model |= {f"transformer.{key}": array for key, array in denoiser.items()}
    moments = [dict(enumerate(denoiser.values())) for _ in range(2)]
    tree = {"last_epoch": 9, "model": model, "ema": denoiser, "optimizer_and_scheduler": moments}
    return write_torch(path, tree)


if __name__ == "__main__":
    main()
