"""Options of a denoiser and their checks."""

import dataclasses
from typing import Literal, TypeAlias

import jax

from cdcd_jax.checks import check_count, check_pair, check_weight
from cdcd_jax.models.attention import Attention
from cdcd_jax.models.layers import Activation
from cdcd_jax.models.layout import platform

Remat: TypeAlias = Literal["none", "blocks", "dots"]
"""What the backward pass of a block recomputes: nothing, everything, or all but large products."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoiserOptions:
    """Options of a denoiser; ``make_denoiser`` explains each field."""

    vocab_size: int
    num_steps: int
    grid: tuple[int, int]
    num_layers: int
    width: int
    num_heads: int
    mlp: Literal["linear", "conv"] = "linear"
    mlp_ratio: int = 4
    condition: Literal["none", "class", "cross"] = "none"
    num_classes: int | None = None
    cond_dim: int | None = None
    seconds: float | None = None
    compute_dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    remat: Remat = "none"
    attention: Attention = "auto"
    activation: Activation = "gelu2"
    timestep: Literal["table", "sinusoidal"] = "table"
    class_norm: Literal["layer", "instance"] = "layer"
    embedding_grid: tuple[int, int] | None = None
    unroll: int | None = None

    def __post_init__(self):
        positive = ("vocab_size", "num_steps", "num_layers", "width", "num_heads", "mlp_ratio")
        for name in positive:
            check_count(name, getattr(self, name))
        if self.unroll is not None:
            check_count("unroll", self.unroll)
        self._check_choices()
        self._check_condition()
        self._check_grids()
        if self.width % self.num_heads:
            raise ValueError(
                f"width = {self.width} must be a multiple of num_heads = {self.num_heads}."
            )
        if self.timestep == "sinusoidal" and (self.width % 2 or self.width < 4):
            raise ValueError(
                f"timestep='sinusoidal' needs an even width of at least 4, but it is {self.width}."
            )
        if self.compute_dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise ValueError("compute_dtype='float64' needs JAX_ENABLE_X64=1 in the environment.")

    def _check_choices(self):
        for name, choices in {
            "mlp": ("linear", "conv"),
            "condition": ("none", "class", "cross"),
            "compute_dtype": ("float32", "bfloat16", "float64"),
            "remat": ("none", "blocks", "dots"),
            "attention": ("auto", "plain"),
            "activation": ("gelu2", "gelu"),
            "timestep": ("table", "sinusoidal"),
            "class_norm": ("layer", "instance"),
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, but it is "
                    f"{getattr(self, name)!r}."
                )

    def _check_condition(self):
        for name, condition in {"num_classes": "class", "cond_dim": "cross"}.items():
            value = getattr(self, name)
            if self.condition == condition and value is None:
                raise ValueError(
                    f"condition={condition!r} needs {name} of at least 1, but it is {value}."
                )
            if value is not None:
                check_count(name, value)
            if self.condition != condition and value is not None:
                raise ValueError(
                    f"{name}={value} has no use with condition={self.condition!r}; leave it out."
                )
        if self.seconds is not None:
            check_weight("seconds", self.seconds)
        if self.seconds is not None and (self.condition != "cross" or self.seconds <= 0):
            raise ValueError(
                f"seconds must be above 0, with condition='cross', but it is {self.seconds} with "
                f"condition={self.condition!r}."
            )

    def _check_grids(self):
        for name in ("grid", "embedding_grid"):
            grid = getattr(self, name)
            if grid is not None or name == "grid":
                check_pair(name, grid, "(height, width) or (1, length)")
        height, width = self.embedding_grid or self.grid
        if height * width < self.length:
            raise ValueError(
                f"embedding_grid must have a cell for each of the {self.length} tokens, but "
                f"{self.embedding_grid} has {height * width}."
            )

    @property
    def length(self) -> int:
        """Number of tokens in a sequence."""
        return self.grid[0] * self.grid[1]

    @property
    def blocks_per_iteration(self) -> int:
        """Blocks that one iteration of the scan over blocks computes.

        XLA on CPU copies parameters and activations in and out of the stacks that a scan carries,
        so four blocks an iteration make a training step a fifth faster there. It also merges what
        is recomputed with the original where both are in one iteration, so ``remat`` takes one.
        """
        if self.unroll is not None:
            return self.unroll
        return 4 if platform() == "cpu" and self.remat == "none" else 1
