"""Jukebox's VQ-VAE, the codec of music: encoders, codebooks, decoders (Dhariwal et al. 2020).

The published one codes 22,050 Hz at three levels, each trained on its own, of 8, 32 and 128 samples
to a token and 2048 codes each. The dance-to-music models use the last, the top.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.codecs.jukebox_layers import (
    Lengthen,
    ResidualBlock,
    Sequence,
    Shorten,
    draw_weights,
)
from cdcd_jax.codecs.jukebox_options import JukeboxOptions
from cdcd_jax.codecs.quantizer import look_up, nearest_codes
from cdcd_jax.nn import Conv
from cdcd_jax.typing import Params, PRNGKey


class Jukebox(NamedTuple):
    """A Jukebox codec as pure functions of its parameters, a nested dict of float32 arrays.

    ``level`` is a Python int, 0 for the bottom. Only the named level is run, and only its
    parameters, ``params["level_<number>"]``, need be there.

    Attributes:
        options: How it is built.
        init: ``init(key) -> params``, for each level with ``"encoder"``, ``"decoder"`` and
            ``"quantizer"``.
        encode: ``encode(params, audio, level) -> features [batch length code_dim]``, float32, of
            audio [batch samples] with values -1..1; length = floor(samples / hop).
        indices: ``indices(params, features, level) -> codes' numbers [batch length]``, int32.
        lookup: ``lookup(params, indices, level) -> codes [batch length code_dim]``.
        decode: ``decode(params, codes, level) -> audio [batch length*hop]``, float32, about -1..1,
            not clipped.
    """

    options: JukeboxOptions
    init: Callable[[PRNGKey], Params]
    encode: Callable[[Params, Array, int], Array]
    indices: Callable[[Params, Array, int], Array]
    lookup: Callable[[Params, Array, int], Array]
    decode: Callable[[Params, Array, int], Array]


def make_jukebox(**options: Any) -> Jukebox:
    """Build a Jukebox codec.

    Args:
        **options: The fields of :class:`JukeboxOptions`.

    Returns:
        Pure functions that work under jit, grad and ``jax.eval_shape``.

    Raises:
        ValueError: If an option is out of range.

    >>> jukebox = make_jukebox(downs=(1,), strides=(4,), multipliers=(1,), width=4, depth=1,
    ...                        code_dim=2, num_codes=5)
    >>> params = jax.eval_shape(jukebox.init, jax.random.key(0))
    >>> features = jax.eval_shape(lambda p, x: jukebox.encode(p, x, 0), params, jnp.zeros((1, 40)))
    >>> features.shape, jax.eval_shape(lambda p, x: jukebox.decode(p, x, 0), params, features).shape
    ((1, 10, 2), (1, 40))
    """
    checked = JukeboxOptions(**options)
    dtype = jnp.dtype(checked.compute_dtype)
    levels = range(checked.num_levels)

    encoders = [nnx.split(nnx.eval_shape(lambda i=i: _Encoder(checked, i))) for i in levels]
    decoders = [nnx.split(nnx.eval_shape(lambda i=i: _Decoder(checked, i))) for i in levels]

    def init(key: PRNGKey) -> Params:
        params: Params = {}
        for level, level_key in enumerate(jax.random.split(key, checked.num_levels)):
            network_key, code_key = jax.random.split(level_key)
            shapes = {
                "encoder": nnx.to_pure_dict(encoders[level][1]),
                "decoder": nnx.to_pure_dict(decoders[level][1]),
            }
            codes = jax.random.normal(code_key, (checked.num_codes, checked.code_dim))
            quantizer = {"codebook": 0.02 * codes}
            params |= {
                f"level_{level}": draw_weights(network_key, shapes) | {"quantizer": quantizer}
            }
        return params

    def of(params: Params, level: int, part: str) -> Params:
        checked.check_level(level)
        return params[f"level_{level}"][part]

    def encode(params: Params, audio: Float[Array, "batch samples"], level: int) -> Sequence:
        weights = of(params, level, "encoder")
        encoder = nnx.merge(encoders[level][0], weights)
        return encoder(audio[:, :, None].astype(dtype)).astype(jnp.float32)

    def decode(params: Params, codes: Sequence, level: int) -> Float[Array, "batch samples"]:
        weights = of(params, level, "decoder")
        decoder = nnx.merge(decoders[level][0], weights)
        return decoder(codes.astype(dtype))[:, :, 0].astype(jnp.float32)

    return Jukebox(
        options=checked,
        init=jax.jit(init),
        encode=encode,
        indices=lambda params, features, level: nearest_codes(
            of(params, level, "quantizer"), features
        ),
        lookup=lambda params, indices, level: look_up(of(params, level, "quantizer"), indices),
        decode=decode,
    )


def _residual_blocks(options: JukeboxOptions, level: int) -> list[ResidualBlock]:
    """Make the blocks between two changes of the length, with the smallest dilation first."""
    multiplier = options.multipliers[level]
    return [
        ResidualBlock(options.width * multiplier, options.dilation_growth**index)
        for index in range(options.depth * multiplier)
    ]


class _ShorteningStage(nnx.Module):
    def __init__(self, fan_in: int, options: JukeboxOptions, level: int, stride: int):
        width = options.width * options.multipliers[level]
        self.resize = Shorten(fan_in, width, stride)
        self.blocks = nnx.List(_residual_blocks(options, level))

    def __call__(self, x: Sequence) -> Array:
        x = self.resize(x)
        for block in self.blocks:
            x = block(x)
        return x


class _LengtheningStage(nnx.Module):
    def __init__(self, fan_out: int, options: JukeboxOptions, level: int, stride: int):
        # Largest dilations first, so that the decoder mirrors the encoder.
        self.blocks = nnx.List(_residual_blocks(options, level)[::-1])
        self.resize = Lengthen(options.width * options.multipliers[level], fan_out, stride)

    def __call__(self, x: Sequence) -> Array:
        for block in self.blocks:
            x = block(x)
        return self.resize(x)


class _EncoderBlock(nnx.Module):
    """The layers that one level adds to the level below, up to features of a code's length."""

    def __init__(self, fan_in: int, options: JukeboxOptions, level: int, number: int):
        width = options.width * options.multipliers[level]
        fans = [fan_in] + [width] * (options.downs[number] - 1)
        stride = options.strides[number]
        self.stages = nnx.List([_ShorteningStage(fan, options, level, stride) for fan in fans])
        self.last = Conv(width, options.code_dim, (3,))

    def __call__(self, x: Sequence) -> Array:
        for stage in self.stages:
            x = stage(x)
        return self.last(x)


class _DecoderBlock(nnx.Module):
    def __init__(self, options: JukeboxOptions, level: int, number: int):
        width = options.width * options.multipliers[level]
        fans = [width] * (options.downs[number] - 1) + [options.code_dim]
        stride = options.strides[number]
        self.first = Conv(options.code_dim, width, (3,))
        self.stages = nnx.List([_LengtheningStage(fan, options, level, stride) for fan in fans])

    def __call__(self, x: Sequence) -> Array:
        x = self.first(x)
        for stage in self.stages:
            x = stage(x)
        return x


class _Encoder(nnx.Module):
    def __init__(self, options: JukeboxOptions, level: int):
        fans = [1] + [options.code_dim] * level
        self.blocks = nnx.List(
            [_EncoderBlock(fan, options, level, number) for number, fan in enumerate(fans)]
        )

    def __call__(self, x: Sequence) -> Array:
        for block in self.blocks:
            x = block(x)
        return x


class _Decoder(nnx.Module):
    """The blocks are in the order they are run: the level's own first, the bottom's last."""

    def __init__(self, options: JukeboxOptions, level: int):
        self.blocks = nnx.List(
            [_DecoderBlock(options, level, number) for number in reversed(range(level + 1))]
        )
        self.last = Conv(options.code_dim, 1, (3,))

    def __call__(self, x: Sequence) -> Array:
        for block in self.blocks:
            x = block(x)
        return self.last(x)
