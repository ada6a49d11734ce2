"""The layers of both towers of CLIP: pre-norm transformer blocks (Radford et al. 2021)."""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cdcd_jax.nn import INIT_STD, attend, dense, gelu2, layer_norm
from cdcd_jax.typing import Params, PRNGKey

COMPUTE_DTYPES = ("float32", "float16", "bfloat16")


def check_sizes(sizes: dict[str, int | None], *, width: int, num_heads: int) -> None:
    """Raise a ValueError if a size is not a positive number, or heads do not divide the width."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} = {size} must be at least 1")
    if width % num_heads:
        raise ValueError(f"width = {width} must be a multiple of num_heads = {num_heads}")


def check_dtype(compute_dtype: str) -> jnp.dtype:
    """Return the type that a tower computes in, or raise a ValueError if there is none such."""
    if compute_dtype not in COMPUTE_DTYPES:
        allowed = ", ".join(f'"{name}"' for name in COMPUTE_DTYPES)
        raise ValueError(f'compute_dtype = "{compute_dtype}" must be one of {allowed}')
    return jnp.dtype(compute_dtype)


def init_blocks(key: PRNGKey, *, num_layers: int, width: int) -> Params:
    """Draw kernels from N(0, 0.02); a tower that is used has its weights loaded.

    Args:
        key: Randomness.
        num_layers: Blocks, stacked on a leading axis of every array.
        width: Features of a position.

    Returns:
        The blocks' parameters.
    """
    sizes = {"qkv": (width, 3 * width), "out": (width, width)}
    sizes |= {"expand": (width, 4 * width), "contract": (4 * width, width)}
    blocks: Params = {"norm1": init_norm(num_layers, width), "norm2": init_norm(num_layers, width)}
    for name, inner_key in zip(sizes, jax.random.split(key, len(sizes)), strict=True):
        kernel = draw(inner_key, num_layers, *sizes[name])
        blocks[name] = {"kernel": kernel, "bias": jnp.zeros((num_layers, sizes[name][1]))}
    return blocks


def init_norm(*shape: int) -> Params:
    """Return a norm that changes no scale."""
    return {"scale": jnp.ones(shape), "bias": jnp.zeros(shape)}


def draw(key: PRNGKey, *shape: int) -> Array:
    """Draw a kernel or a table from N(0, 0.02)."""
    return INIT_STD * jax.random.normal(key, shape)


def apply_blocks(
    blocks: Params, x: Float[Array, "batch length width"], *, num_heads: int, causal: bool
) -> Float[Array, "batch length width"]:
    """Apply all blocks, one after the other.

    Args:
        blocks: What :func:`init_blocks` gives.
        x: Features; their type is computed in, except for norms and softmax (float32).
        num_heads: Attention heads, a divisor of the width.
        causal: Whether a position sees itself and those before it only.

    Returns:
        Features.
    """

    def step(x: Array, block: Params) -> tuple[Array, None]:
        x = x + _attend(block, layer_norm(x, **block["norm1"]), num_heads, causal)
        hidden = dense(layer_norm(x, **block["norm2"]), **block["expand"])
        return x + dense(gelu2(hidden), **block["contract"]), None

    return jax.lax.scan(step, x, blocks)[0]


def project(
    kernel: Float[Array, "width dim"], features: Float[Array, "batch width"], dtype: DTypeLike
) -> Float[Array, "batch dim"]:
    """Project an image's or a text's features to the common embedding; float32."""
    return (features.astype(dtype) @ kernel.astype(dtype)).astype(jnp.float32)


def _attend(block: Params, x: Array, num_heads: int, causal: bool) -> Array:
    batch, length, width = x.shape
    qkv = dense(x, **block["qkv"]).reshape(batch, length, 3, num_heads, width // num_heads)
    query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]  # [batch length heads depth]
    query = query / math.sqrt(width // num_heads)
    bias = None
    if causal:
        bias = jnp.where(jnp.tril(jnp.ones((length, length), bool)), 0.0, -jnp.inf)[None, None]
    return dense(attend(query, key, value, bias), **block["out"])
