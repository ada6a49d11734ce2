"""Options of the benchmarks that build a network: sizes, settings, and those of the paper."""

import argparse
from typing import Any

from cdcd_jax import Contrast

SETTINGS = {
    "vanilla": None,
    "step_shared": Contrast("step", chains="shared"),
    "sample": Contrast("sample"),
    "step_parallel": Contrast("step", chains="parallel"),
}
SAMPLERS = {"sampler": 1.0, "sampler_truncated": 0.86}
PRESETS: dict[str, dict[str, Any]] = {
    # Those of configs/imagenet.py and configs/aist.py, for two seconds of music.
    "imagenet": {
        "layers": 24, "width": 512, "heads": 16, "length": 256, "vocab": 974, "batch": 16,
        "condition": "class", "classes": 1000, "mlp": "conv", "dtype": "bfloat16",
        "remat": "blocks", "chains_per_pass": 1, "count": False,
    },
    "aist": {
        "layers": 19, "width": 1024, "heads": 16, "length": 344, "vocab": 2048, "batch": 16,
        "cond_length": 31, "cond_dim": 1024, "dtype": "bfloat16", "remat": "blocks",
        "chains_per_pass": 1, "seconds": 2.0, "count": False,
    },
}  # fmt: skip
"""Sizes of the published models. Parallel chains go through the network one after another, for the
memory of one."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_step",
        description="Time a training step of each setting and the sampler, interleaved.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_sizes(parser)
    parser.add_argument("--rounds", type=positive, default=12, help="turns of every variant")
    parser.add_argument(
        "--only", nargs="+", choices=["matmul", *SETTINGS, *SAMPLERS], help="a choice of variants"
    )
    parser.add_argument(
        "--count",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compile once more, without loops, for XLA to count operations",
    )
    parser.add_argument("--seconds", type=float, help="of music that an example holds, if it does")
    parser.add_argument("--preset", choices=list(PRESETS), help="sizes of a published model")
    parser.add_argument("--json", help="file for the measurements")
    preset = parser.parse_known_args()[0].preset
    parser.set_defaults(**PRESETS.get(preset, {}))
    return parser.parse_args()


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Add the options of network, loss and batch."""
    numbers = {
        "layers": (4, "transformer blocks"),
        "width": (128, "features per position"),
        "heads": (8, "attention heads"),
        "length": (256, "tokens in a sequence; a square number makes a square image"),
        "vocab": (1024, "real tokens K"),
        "batch": (4, "examples"),
        "steps": (80, "diffusion steps T, of training and sampling alike"),
        "negatives": (10, "negatives per example N"),
        "mlp-ratio": (4, "hidden features of the MLP per feature"),
        "cond-length": (77, "condition tokens of cross-attention"),
        "cond-dim": (512, "features per condition token"),
        "classes": (10, "classes, with --condition class"),
        "unroll": (None, "blocks per iteration of the scan over blocks; None: chosen by machine"),
    }
    for name, (default, meaning) in numbers.items():
        parser.add_argument(f"--{name}", type=positive, default=default, help=meaning)
    parser.add_argument(
        "--condition",
        choices=("cross", "class"),
        default="cross",
        help="how the network is conditioned",
    )
    parser.add_argument("--mlp", choices=("linear", "conv"), default="linear", help="kind of MLP")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation"
    )
    parser.add_argument(
        "--remat",
        choices=("none", "blocks", "dots"),
        default="none",
        help="what the backward pass recomputes",
    )
    parser.add_argument(
        "--attention", choices=("auto", "plain"), default="auto", help="the device's kernel or ours"
    )
    parser.add_argument(
        "--chains-per-pass", type=positive, help="parallel chains in one pass; all by default"
    )


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
