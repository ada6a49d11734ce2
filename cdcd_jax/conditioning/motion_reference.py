"""The published motion encoder: a whole dance becomes one token (CDCD Table 5).

Its convolutions run along the features that the first layer makes; the frames of the dance are
their channels. So the encoder is bound to one number of frames, and what it gives has no time.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.nn import convolve, dense, init_dense
from cdcd_jax.typing import Params, PRNGKey

FIRST_SIZE, SIZE = 6, 4
"""Kernel of the first convolution, and of the others between the stages; none of them pads."""

DILATIONS = (1, 3, 9, 27)
"""Of the residual blocks of each stage."""

BLOCK_SIZES = {"dilated": 3, "mix": 1, "shortcut": 1}
"""Kernels of a residual block, by the names of its convolutions."""

SLOPE = 0.2
"""Of the rectifier below zero."""


class MotionEncoder(NamedTuple):
    """An encoder of dances as pure functions of its parameters.

    Attributes:
        init: ``init(key) -> params``, a nested dict of float32 arrays.
        apply: ``apply(params, motion [batch frames features]) -> tokens [batch tokens dim]``,
            float32.
        width: Features of a token, dim.
        seconds: When the middle of each token is, from the start of the dance; None for tokens
            of no time.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Array], Array]
    width: int
    seconds: tuple[float, ...] | None


def make_reference_motion(
    *,
    num_features: int,
    frames: int,
    hidden: int = 800,
    channels: tuple[int, ...] = (512, 512, 1024),
    out: int = 1024,
) -> MotionEncoder:
    """Build the published motion encoder.

    A dense layer takes each frame to ``hidden`` features. Then a stage for each of ``channels``:
    a convolution without padding and four residual blocks, shortcut(x) + block(x), dilated by 1,
    3, 9 and 27, whose kernels are g v / |v| (weight normalisation). A last convolution leaves one
    channel, which a dense layer takes to ``out``.

    Args:
        num_features: Of a frame: 219 for AIST++, 75 for TikTok.
        frames: Of a dance: 120, 240 or 360 for 2, 4 and 6 s of AIST++, 60 for TikTok.
        hidden: Features that the convolutions run along; more than 27 must be left of them.
        channels: Of the stages, (256, 512, 1024) for TikTok.
        out: Features of the token.

    Returns:
        The encoder, whose motion is [batch frames features] or, as TikTok's, [batch frames joints
        axes]; the result is [batch 1 out].

    Raises:
        ValueError: If an option is out of range, or a motion has another shape.

    Note:
        Kernels start from N(0, 1 / inputs); published ones outside the blocks from N(0, 0.02),
        which is about the same at published sizes.

    >>> encoder = make_reference_motion(num_features=3, frames=4, hidden=50, channels=(2, 2), out=5)
    >>> params = jax.eval_shape(encoder.init, jax.random.key(0))
    >>> jax.eval_shape(encoder.apply, params, jnp.zeros((7, 4, 3))).shape
    (7, 1, 5)
    """
    sizes = {"num_features": num_features, "frames": frames, "out": out}
    sizes |= {f"channels[{index}]": width for index, width in enumerate(channels)}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} = {size} must be at least 1")
    if not channels:
        raise ValueError("channels must name one stage at least")
    joined = hidden - (FIRST_SIZE - 1) - len(channels) * (SIZE - 1)
    if joined + SIZE - 1 <= max(DILATIONS):
        raise ValueError(
            f"hidden = {hidden} is too small: convolutions leave {joined + SIZE - 1} of its "
            f"features to the last stage, which needs more than {max(DILATIONS)}"
        )

    def init(key: PRNGKey) -> Params:
        key, first_key, last_key, out_key = jax.random.split(key, 4)
        widths = (frames, *channels)
        stages = {
            str(index): _init_stage(
                stage_key, widths[index], widths[index + 1], FIRST_SIZE if index == 0 else SIZE
            )
            for index, stage_key in enumerate(jax.random.split(key, len(channels)))
        }
        return {
            "widen": init_dense(first_key, num_features, hidden),
            "stages": stages,
            "last": {"kernel": _draw(last_key, SIZE, channels[-1], 1), "bias": jnp.zeros(1)},
            "out": init_dense(out_key, joined, out),
        }

    def apply(
        params: Params, motion: Float[Array, "batch frames *features"]
    ) -> Float[Array, "batch 1 out"]:
        x = jnp.asarray(motion, jnp.float32)
        x = x.reshape(*x.shape[:2], -1)
        if x.shape[1:] != (frames, num_features):
            raise ValueError(
                f"a motion must have {frames} frames of {num_features} features, but its shape is "
                f"{motion.shape}"
            )
        x = jnp.swapaxes(dense(x, **params["widen"]), 1, 2)  # [batch hidden frames]
        for index in range(len(channels)):
            stage = params["stages"][str(index)]
            x = _leak(_convolve(stage["enter"], x)) if index == 0 else _convolve(stage["enter"], x)
            for number, dilation in enumerate(DILATIONS):
                x = _apply_block(stage["blocks"][str(number)], x, dilation)
            x = _leak(x)
        x = jnp.swapaxes(_convolve(params["last"], x), 1, 2)
        return dense(x, **params["out"])

    return MotionEncoder(jax.jit(init), apply, out, None)


def _init_stage(key: PRNGKey, narrow: int, wide: int, size: int) -> Params:
    enter_key, *keys = jax.random.split(key, 4)
    # All blocks' kernels of a kind at once: fewer, larger draws compile much faster.
    kernels = {
        name: _draw(kind_key, inner, wide, wide, count=len(DILATIONS))
        for name, inner, kind_key in zip(BLOCK_SIZES, BLOCK_SIZES.values(), keys, strict=True)
    }
    return {
        "enter": {"kernel": _draw(enter_key, size, narrow, wide), "bias": jnp.zeros(wide)},
        "blocks": {
            str(number): {name: _norm_of(kernels[name][number]) for name in BLOCK_SIZES}
            for number in range(len(DILATIONS))
        },
    }


def _norm_of(direction: Array) -> Params:
    width = direction.shape[-1]
    length = jnp.linalg.norm(direction.reshape(-1, width), axis=0)
    return {"direction": direction, "length": length, "bias": jnp.zeros(width)}


def _draw(key: PRNGKey, size: int, narrow: int, wide: int, *, count: int | None = None) -> Array:
    counted = () if count is None else (count,)
    return jax.random.normal(key, (*counted, size, narrow, wide)) / math.sqrt(size * narrow)


def _apply_block(block: Params, x: Array, dilation: int) -> Array:
    padded = jnp.pad(_leak(x), ((0, 0), (dilation, dilation), (0, 0)), mode="reflect")
    inner = _convolve(_normed(block["dilated"]), padded, dilation)
    return _convolve(_normed(block["shortcut"]), x) + _convolve(_normed(block["mix"]), _leak(inner))


def _normed(layer: Params) -> Params:
    """Return the kernel g v / |v|, where |v| is over all that one channel is made of."""
    direction = jnp.asarray(layer["direction"])
    squares = jnp.sum(direction**2, axis=(0, 1), keepdims=True)
    kernel = direction * jax.lax.rsqrt(squares) * jnp.asarray(layer["length"])[None, None]
    return {"kernel": kernel, "bias": layer["bias"]}


def _convolve(layer: Params, x: Array, dilation: int = 1) -> Array:
    return convolve(x, **layer, padding="VALID", dilation=dilation)


def _leak(x: Array) -> Array:
    return jnp.where(x > 0, x, SLOPE * x)
