"""CLIP's text tower, frozen: the condition of text to image (CDCD Appendix C.2).

A transformer reads 77 tokens, each seeing those before it. The denoiser attends to all 77 outputs
of its last norm, before the projection that CLIP compares with pictures.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cdcd_jax.typing import Params, PRNGKey

NORM_EPSILON = 1e-5
INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class ClipTextOptions:
    """Say how a text tower is built; the defaults are those of CLIP ViT-B/32.

    Attributes:
        vocab_size: Number of tokens.
        length: Tokens of a text.
        width: Features of a token.
        num_layers: Transformer blocks.
        num_heads: Attention heads; 64 features each in every CLIP.

    Raises:
        ValueError: If a value is out of range.
    """

    vocab_size: int = 49408
    length: int = 77
    width: int = 512
    num_layers: int = 12
    num_heads: int = 8

    def __post_init__(self):
        for name in ("vocab_size", "length", "width", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.width % self.num_heads:
            raise ValueError(
                f"width = {self.width} must be a multiple of num_heads = {self.num_heads}"
            )


class ClipText(NamedTuple):
    """A text tower as pure functions of its parameters.

    Attributes:
        options: How it is built.
        init: ``init(key) -> params``, a nested dict; blocks are stacked on a leading axis.
        apply: ``apply(params, tokens) -> features [batch length width]``, float32.
    """

    options: ClipTextOptions
    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Array], Array]


def make_clip_text(
    *, unit_norm: bool = True, compute_dtype: str = "float32", **options: int
) -> ClipText:
    """Build the text tower.

    Args:
        unit_norm: Divide each token's features by their length, as the published models do.
        compute_dtype: ``"float32"``, ``"float16"`` (the published code's on a GPU) or
            ``"bfloat16"``; norms and softmax are float32.
        **options: The fields of :class:`ClipTextOptions`.

    Returns:
        Pure functions that work under jit.

    Raises:
        ValueError: If an option is out of range.

    >>> clip = make_clip_text(vocab_size=9, length=5, width=8, num_layers=1, num_heads=2)
    >>> params = jax.eval_shape(clip.init, jax.random.key(0))
    >>> jax.eval_shape(clip.apply, params, jnp.zeros((2, 5), int)).shape
    (2, 5, 8)
    """
    checked = ClipTextOptions(**options)
    if compute_dtype not in ("float32", "float16", "bfloat16"):
        raise ValueError(
            f'compute_dtype = "{compute_dtype}" must be one of "float32", "float16", "bfloat16"'
        )
    dtype = jnp.dtype(compute_dtype)

    def apply(
        params: Params, tokens: Int[Array, "batch length"]
    ) -> Float[Array, "batch length width"]:
        if tokens.shape[1] != checked.length:
            raise ValueError(f"a text has {checked.length} tokens, got {tokens.shape[1]}")
        table = jnp.asarray(params["token"])
        x = table.at[tokens].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        x = (x + params["position"][None]).astype(dtype)
        x, _ = jax.lax.scan(
            lambda x, block: (_block(block, x, checked.num_heads), None), x, params["blocks"]
        )
        x = _norm(params["final_norm"], x).astype(jnp.float32)
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True) if unit_norm else x

    return ClipText(checked, jax.jit(lambda key: _init(key, checked)), apply)


def _init(key: PRNGKey, options: ClipTextOptions) -> Params:
    """Draw tables and kernels from N(0, 0.02); a tower that is used has its weights loaded."""
    width, layers = options.width, options.num_layers
    token_key, position_key, key = jax.random.split(key, 3)
    blocks: Params = {"norm1": _identity(layers, width), "norm2": _identity(layers, width)}
    sizes = {"qkv": (width, 3 * width), "out": (width, width)}
    sizes |= {"expand": (width, 4 * width), "contract": (4 * width, width)}
    for name, inner_key in zip(sizes, jax.random.split(key, len(sizes)), strict=True):
        kernel = INIT_STD * jax.random.normal(inner_key, (layers, *sizes[name]))
        blocks[name] = {"kernel": kernel, "bias": jnp.zeros((layers, sizes[name][1]))}
    return {
        "token": INIT_STD * jax.random.normal(token_key, (options.vocab_size, width)),
        "position": INIT_STD * jax.random.normal(position_key, (options.length, width)),
        "blocks": blocks,
        "final_norm": _identity(width),
    }


def _identity(*shape: int) -> Params:
    return {"scale": jnp.ones(shape), "bias": jnp.zeros(shape)}


def _block(block: Params, x: Array, num_heads: int) -> Array:
    x = x + _attend(block, _norm(block["norm1"], x), num_heads)
    hidden = _dense(block["expand"], _norm(block["norm2"], x))
    return x + _dense(block["contract"], hidden * jax.nn.sigmoid(1.702 * hidden))


def _attend(block: Params, x: Array, num_heads: int) -> Array:
    """Let each position attend to itself and those before it."""
    batch, length, width = x.shape
    qkv = _dense(block["qkv"], x).reshape(batch, length, 3, num_heads, width // num_heads)
    query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]  # [batch length heads depth]
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    visible = jnp.tril(jnp.ones((length, length), bool))[None, None]
    scores = jnp.where(visible, scores / math.sqrt(width // num_heads), -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(x.dtype)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
    return _dense(block["out"], mixed.reshape(batch, length, width))


def _dense(layer: Params, x: Array) -> Array:
    flat = x.reshape(-1, x.shape[-1])  # [batch*length features]
    flat = flat @ layer["kernel"].astype(x.dtype) + layer["bias"].astype(x.dtype)[None]
    return flat.reshape(*x.shape[:-1], -1)


def _norm(layer: Params, x: Array) -> Array:
    wide = x.astype(jnp.float32)
    wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(wide**2, axis=-1, keepdims=True)
    normed = wide * jax.lax.rsqrt(variance + NORM_EPSILON) * layer["scale"][None, None]
    return (normed + layer["bias"][None, None]).astype(x.dtype)
