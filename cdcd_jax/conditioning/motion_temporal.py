"""A motion encoder that keeps time: one token for every few frames, with its time."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cdcd_jax.conditioning.clip_layers import (
    apply_blocks,
    check_dtype,
    check_sizes,
    init_blocks,
    init_norm,
)
from cdcd_jax.conditioning.motion_reference import MotionEncoder
from cdcd_jax.nn import dense, init_dense, layer_norm
from cdcd_jax.typing import Params, PRNGKey

SMALLEST_STD = 1e-3
"""Smallest deviation that a feature is divided by: below, it is constant up to rounding."""

SWING = 2.0
"""Swings per second, 120 beats per minute, at which velocities are as large as positions."""

LONGEST_WAVE = 60.0
"""Period in seconds of the slowest sinusoid of the time; the fastest lasts two tokens."""


def make_temporal_motion(
    *,
    num_features: int,
    fps: float,
    frames: int,
    group: int,
    width: int,
    num_layers: int,
    num_heads: int,
    mean: np.ndarray,
    std: np.ndarray,
    compute_dtype: str = "float32",
) -> MotionEncoder:
    """Build the encoder: standardised positions and velocities, groups of frames, a transformer.

    Velocities are differences between frames, in units of deviations per 1 / (2 pi 2 Hz): a
    sinusoidal swing with two beats per second has velocities as large as its positions.

    Args:
        num_features: Of a frame.
        fps: Frames per second, > 0.
        frames: Of a dance.
        group: Frames that become one token; a divisor of ``frames``.
        width: Features of a token, even.
        num_layers: Blocks of the transformer, >= 1; each token sees all.
        num_heads: Attention heads; they divide ``width``.
        mean: [num_features] of the dances to train on.
        std: [num_features] >= 0, their deviations.
        compute_dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"``; norms and softmax are
            float32.

    Returns:
        The encoder; a motion [batch frames features] becomes [batch frames/group width].

    Raises:
        ValueError: If an option is out of range, or a motion has another shape.

    >>> encoder = make_temporal_motion(num_features=3, fps=60.0, frames=120, group=30, width=8,
    ...                                num_layers=1, num_heads=2, mean=np.zeros(3), std=np.ones(3))
    >>> encoder.seconds
    (0.25, 0.75, 1.25, 1.75)
    >>> params = jax.eval_shape(encoder.init, jax.random.key(0))
    >>> jax.eval_shape(encoder.apply, params, jnp.zeros((2, 120, 3))).shape
    (2, 4, 8)
    """
    sizes: dict[str, Any] = {
        "num_features": num_features, "frames": frames, "group": group, "width": width,
        "num_layers": num_layers, "num_heads": num_heads,
    }  # fmt: skip
    check_sizes(sizes, width=width, num_heads=num_heads)
    _check_motion(num_features, fps, frames, group, width, mean=mean, std=std)
    dtype = check_dtype(compute_dtype)
    shift = np.asarray(mean, np.float32)[None, None]
    scale = np.maximum(np.asarray(std, np.float32), SMALLEST_STD)[None, None]
    tokens = frames // group
    seconds = (np.arange(tokens) + 0.5) * (group / fps)
    clock = clock_features(seconds, width, shortest_wave=2 * group / fps)

    def init(key: PRNGKey) -> Params:
        fold_key, key = jax.random.split(key)
        return {
            "fold": init_dense(fold_key, 2 * group * num_features, width),
            "blocks": init_blocks(key, num_layers=num_layers, width=width),
            "final_norm": init_norm(width),
        }

    def apply(
        params: Params, motion: Float[Array, "batch frames features"]
    ) -> Float[Array, "batch tokens width"]:
        if motion.shape[1:] != (frames, num_features):
            raise ValueError(
                f"a motion must have {frames} frames of {num_features} features, but its shape is "
                f"{motion.shape}"
            )
        x = (jnp.asarray(motion, jnp.float32) - shift) / scale
        x = jnp.concatenate([x, velocities(x, fps)], axis=-1)
        x = x.reshape(x.shape[0], tokens, -1).astype(dtype)
        x = dense(x, **params["fold"]) + jnp.asarray(clock, dtype)[None]
        x = apply_blocks(params["blocks"], x, num_heads=num_heads, causal=False)
        return layer_norm(x, **params["final_norm"]).astype(jnp.float32)

    return MotionEncoder(jax.jit(init), apply, width, tuple(seconds.tolist()))


def clock_features(seconds: np.ndarray, width: int, *, shortest_wave: float) -> np.ndarray:
    """Encode times by sinusoids, from LONGEST_WAVE down to ``shortest_wave`` in geometric steps.

    Args:
        seconds: [tokens] times.
        width: Number of features, even.
        shortest_wave: Seconds, > 0.

    Returns:
        [tokens width] float32, -1..1: sines, then cosines.

    >>> clock_features(np.array([0.0, 0.5]), 2, shortest_wave=1.0).round(2).tolist()
    [[0.0, 1.0], [0.05, 1.0]]
    """
    waves = np.geomspace(LONGEST_WAVE, shortest_wave, width // 2)
    phase = 2 * np.pi * seconds[:, None] / waves[None]
    return np.concatenate([np.sin(phase), np.cos(phase)], axis=1).astype(np.float32)


def velocities(
    x: Float[Array, "batch frames features"], fps: float
) -> Float[Array, "batch frames features"]:
    """Return each frame's difference from the one before, per 1 / (2 pi SWING) seconds.

    The first frame, which has none before it, gets the second's.

    >>> velocities(jnp.array([[[0.0], [1.0], [1.0]]]), fps=2 * math.pi * SWING).tolist()
    [[[1.0], [1.0], [0.0]]]
    """
    difference = jnp.diff(x, axis=1) * (fps / (2 * math.pi * SWING))
    first = difference[:, :1] if x.shape[1] > 1 else jnp.zeros_like(x)
    return jnp.concatenate([first, difference], axis=1)


def _check_motion(
    num_features: int, fps: float, frames: int, group: int, width: int, **statistics: np.ndarray
) -> None:
    if not 0.0 < fps < math.inf:
        raise ValueError(f"fps = {fps} must be above 0")
    if frames % group:
        raise ValueError(
            f"group = {group} must divide the {frames} frames of a dance: no token may be cut short"
        )
    if width % 2:
        raise ValueError(f"width = {width} must be even: half of a token's time is sines")
    for name, values in statistics.items():
        values = np.asarray(values)
        if values.shape != (num_features,) or not np.isfinite(values).all():
            raise ValueError(
                f"{name} must be {num_features} finite numbers, one for each feature of a motion, "
                f"got the shape {values.shape}"
            )
    if np.min(statistics["std"]) < 0:
        raise ValueError(f"std = {np.min(statistics['std'])} may not be negative")
