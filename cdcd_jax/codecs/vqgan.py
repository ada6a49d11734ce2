"""VQGAN, the codec of images: encoder, codebook, decoder (Esser et al. 2021).

The published ones (taming-transformers) are the f16 codec of ImageNet (16384 codes, nearest
neighbour) and the f8 codec of OpenImages (8192 codes, a linear layer scores them: Gumbel).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.codecs.quantizer import init_quantizer, look_up, nearest_codes
from cdcd_jax.codecs.vqgan_layers import (
    Attention,
    Downsample,
    Maps,
    ResidualBlock,
    Upsample,
    draw_weights,
)
from cdcd_jax.nn import Conv, GroupNorm
from cdcd_jax.typing import Params, PRNGKey

Codes = Float[Array, "batch rows columns code_dim"]

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class VQGANOptions:
    """Options of a VQGAN.

    Attributes:
        image_size: Height and width of the images, a multiple of 2^halvings.
        channels: Features at full size.
        multipliers: Features at each size, in units of ``channels``; each entry but the first
            halves the image.
        num_res_blocks: Residual blocks at each size, one more on the way back.
        norm_groups: Groups that each norm divides its features into, or as many as divide. With a
            feature to a group a norm takes every feature's mean away, and with it the colours: give
            at least four.
        attention_resolutions: Sizes at which attention follows each residual block.
        latent_dim: Features between encoder and quantiser (``z_channels``).
        code_dim: Length of a code vector (``embed_dim``).
        num_codes: Number of codes.
        quantizer: ``"vq"`` takes the nearest code, ``"gumbel"`` the one that a linear layer scores
            highest.
        compute_dtype: ``"float32"`` or ``"bfloat16"``; norms and the choice of codes are float32.

    Raises:
        ValueError: If a value is out of range.
    """

    image_size: int = 256
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    norm_groups: int = 32
    attention_resolutions: tuple[int, ...] = (16,)
    latent_dim: int = 256
    code_dim: int = 256
    num_codes: int = 16384
    quantizer: str = "vq"
    compute_dtype: str = "float32"

    def __post_init__(self):
        for name in ("channels", "num_res_blocks", "norm_groups", "latent_dim", "code_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.num_codes < 2:
            raise ValueError(f"num_codes = {self.num_codes} must be at least 2")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"multipliers = {self.multipliers} must be one or more, each >= 1")
        if self.image_size < 1 or self.image_size % self.downsampling:
            raise ValueError(
                f"image_size = {self.image_size} must be a multiple of {self.downsampling}, as "
                f"{len(self.multipliers)} multipliers halve it {len(self.multipliers) - 1} times"
            )
        if self.quantizer not in ("vq", "gumbel"):
            raise ValueError(f'quantizer = "{self.quantizer}" must be one of "vq", "gumbel"')
        if self.compute_dtype not in DTYPES:
            raise ValueError(f'compute_dtype = "{self.compute_dtype}" must be one of {DTYPES}')

    @property
    def downsampling(self) -> int:
        """Pixels per token, down and across."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        side = self.image_size // self.downsampling
        return side, side


class VQGAN(NamedTuple):
    """A VQGAN as pure functions of its parameters, a nested dict of float32 arrays.

    Attributes:
        options: How it is built.
        init: ``init(key) -> params``, with ``"encoder"``, ``"decoder"`` and ``"quantizer"``.
        encode: ``encode(params, images) -> features [batch rows columns code_dim]``, float32, of
            images [batch height width 3] with values -1..1.
        indices: ``indices(params, features) -> codes' numbers [batch rows columns]``, int32.
        lookup: ``lookup(params, indices) -> codes [batch rows columns code_dim]``.
        decode: ``decode(params, codes) -> images``, float32, about -1..1, not clipped.
        decode_hidden: The first part of ``decode``: all but the last convolution.
        project: The rest: ``project(params, hidden) -> images``.
    """

    options: VQGANOptions
    init: Callable[[PRNGKey], Params]
    encode: Callable[[Params, Array], Array]
    indices: Callable[[Params, Array], Array]
    lookup: Callable[[Params, Array], Array]
    decode: Callable[[Params, Array], Array]
    decode_hidden: Callable[[Params, Array], Array]
    project: Callable[[Params, Array], Array]


def make_vqgan(**options: Any) -> VQGAN:
    """Build a VQGAN.

    Images may be of another size than ``image_size``, as long as it divides.

    Args:
        **options: The fields of :class:`VQGANOptions`.

    Returns:
        Pure functions that work under jit, grad and ``jax.eval_shape``.

    Raises:
        ValueError: If an option is out of range.

    >>> vqgan = make_vqgan(image_size=8, channels=4, multipliers=(1, 2), num_res_blocks=1,
    ...                    attention_resolutions=(), latent_dim=4, code_dim=2, num_codes=5)
    >>> params = jax.eval_shape(vqgan.init, jax.random.key(0))
    >>> features = jax.eval_shape(vqgan.encode, params, jnp.zeros((1, 8, 8, 3)))
    >>> features.shape, jax.eval_shape(vqgan.decode, params, features).shape
    ((1, 4, 4, 2), (1, 8, 8, 3))
    """
    checked = VQGANOptions(**options)
    dtype = jnp.dtype(checked.compute_dtype)

    encoder, encoder_shapes = nnx.split(nnx.eval_shape(lambda: _Encoder(checked)))
    decoder, decoder_shapes = nnx.split(nnx.eval_shape(lambda: _Decoder(checked)))
    shapes = {
        "encoder": nnx.to_pure_dict(encoder_shapes),
        "decoder": nnx.to_pure_dict(decoder_shapes),
    }

    def init(key: PRNGKey) -> Params:
        network_key, quantizer_key = jax.random.split(key)
        quantizer = init_quantizer(quantizer_key, checked)
        return draw_weights(network_key, shapes) | {"quantizer": quantizer}

    def encode(params: Params, images: Float[Array, "batch height width 3"]) -> Codes:
        return nnx.merge(encoder, params["encoder"])(images.astype(dtype)).astype(jnp.float32)

    def decode_hidden(params: Params, codes: Codes) -> Array:
        return nnx.merge(decoder, params["decoder"]).hidden(codes.astype(dtype))

    def project(params: Params, hidden: Maps) -> Float[Array, "batch height width 3"]:
        return nnx.merge(decoder, params["decoder"]).project(hidden).astype(jnp.float32)

    def decode(params: Params, codes: Codes) -> Float[Array, "batch height width 3"]:
        return project(params, decode_hidden(params, codes))

    return VQGAN(
        options=checked,
        init=jax.jit(init),
        encode=encode,
        indices=lambda params, features: nearest_codes(params["quantizer"], features),
        lookup=lambda params, indices: look_up(params["quantizer"], indices),
        decode=decode,
        decode_hidden=decode_hidden,
        project=project,
    )


class _Middle(nnx.Module):
    def __init__(self, features: int, groups: int):
        self.block_1 = ResidualBlock(features, features, groups)
        self.attention = Attention(features, groups)
        self.block_2 = ResidualBlock(features, features, groups)

    def __call__(self, x: Maps) -> Array:
        return self.block_2(self.attention(self.block_1(x)))


class _Level(nnx.Module):
    """The blocks at one size, each with its attention or None, and what changes the size after."""

    def __init__(
        self,
        fan_in: int,
        features: int,
        *,
        num_blocks: int,
        groups: int,
        attends: bool,
        resize: type[Downsample] | type[Upsample] | None,
    ):
        widths = [fan_in] + [features] * num_blocks
        self.blocks = nnx.List([ResidualBlock(a, b, groups) for a, b in pairwise(widths)])
        self.attentions = nnx.List(
            [Attention(features, groups) for _ in range(num_blocks if attends else 0)]
        )
        self.resize = None if resize is None else resize(features)

    def __call__(self, x: Maps) -> Array:
        for index, block in enumerate(self.blocks):
            x = block(x)
            if self.attentions:
                x = self.attentions[index](x)
        return x if self.resize is None else self.resize(x)


class _Encoder(nnx.Module):
    def __init__(self, options: VQGANOptions):
        widths = [options.channels * multiplier for multiplier in options.multipliers]
        last = len(widths) - 1
        self.first = Conv(3, options.channels, (3, 3))
        self.levels = nnx.List(
            [
                _Level(
                    widths[max(level - 1, 0)] if level else options.channels,
                    width,
                    num_blocks=options.num_res_blocks,
                    groups=options.norm_groups,
                    attends=options.image_size >> level in options.attention_resolutions,
                    resize=Downsample if level < last else None,
                )
                for level, width in enumerate(widths)
            ]
        )
        self.middle = _Middle(widths[-1], options.norm_groups)
        self.norm = GroupNorm(widths[-1], options.norm_groups)
        self.last = Conv(widths[-1], options.latent_dim, (3, 3))
        self.to_codes = Conv(options.latent_dim, options.code_dim, (1, 1))

    def __call__(self, x: Maps) -> Array:
        x = self.first(x)
        for level in self.levels:
            x = level(x)
        return self.to_codes(self.last(jax.nn.swish(self.norm(self.middle(x)))))


class _Decoder(nnx.Module):
    """The levels are in the order they are run: the smallest maps first."""

    def __init__(self, options: VQGANOptions):
        widths = [options.channels * multiplier for multiplier in options.multipliers]
        last = len(widths) - 1
        self.from_codes = Conv(options.code_dim, options.latent_dim, (1, 1))
        self.first = Conv(options.latent_dim, widths[-1], (3, 3))
        self.middle = _Middle(widths[-1], options.norm_groups)
        self.levels = nnx.List(
            [
                _Level(
                    widths[min(level + 1, last)],
                    widths[level],
                    num_blocks=options.num_res_blocks + 1,
                    groups=options.norm_groups,
                    attends=options.image_size >> level in options.attention_resolutions,
                    resize=Upsample if level else None,
                )
                for level in reversed(range(len(widths)))
            ]
        )
        self.norm = GroupNorm(widths[0], options.norm_groups)
        self.last = Conv(widths[0], 3, (3, 3))

    def hidden(self, codes: Maps) -> Array:
        """Return the input of the last convolution."""
        x = self.middle(self.first(self.from_codes(codes)))
        for level in self.levels:
            x = level(x)
        return jax.nn.swish(self.norm(x))

    def project(self, hidden: Maps) -> Array:
        return self.last(hidden)
