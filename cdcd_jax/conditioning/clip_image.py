"""CLIP's image tower, a Vision Transformer, for scores that compare images with texts."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.conditioning.clip_layers import (
    apply_blocks,
    check_dtype,
    check_sizes,
    draw,
    init_blocks,
    init_norm,
    project,
)
from cdcd_jax.nn import layer_norm
from cdcd_jax.typing import Params, PRNGKey

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue in the images that CLIP was trained on, values 0..1."""


@dataclass(frozen=True, kw_only=True)
class ClipImageOptions:
    """Options of an image tower; the defaults are those of CLIP ViT-B/32.

    Attributes:
        image_size: Height and width that images are brought to.
        patch_size: Height and width of a patch, a divisor of the image's.
        width: Features of a patch.
        num_layers: Transformer blocks.
        num_heads: Attention heads; 64 features each in every CLIP.
        embed_dim: Numbers of an image's embedding.

    Raises:
        ValueError: If a value is out of range.
    """

    image_size: int = 224
    patch_size: int = 32
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    embed_dim: int = 512

    def __post_init__(self):
        check_sizes(asdict(self), width=self.width, num_heads=self.num_heads)
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size = {self.image_size} must be a multiple of patch_size = "
                f"{self.patch_size}"
            )


class ClipImage(NamedTuple):
    """An image tower as pure functions of its parameters.

    Attributes:
        options: How it is built.
        init: ``init(key) -> params``, a nested dict; blocks are stacked on a leading axis.
        embed: ``embed(params, images) -> embeddings [batch embed_dim]``, float32, of any length;
            images are [batch height width 3], values 0..1, of any size.
    """

    options: ClipImageOptions
    init: Callable[[PRNGKey], Params]
    embed: Callable[[Params, Array], Array]


def make_clip_image(*, compute_dtype: str = "float32", **options: int) -> ClipImage:
    """Build the image tower.

    Args:
        compute_dtype: ``"float32"``, ``"float16"`` (the published code's on a GPU) or
            ``"bfloat16"``; norms and softmax are float32.
        **options: The fields of :class:`ClipImageOptions`.

    Returns:
        Pure functions that work under jit.

    Raises:
        ValueError: If an option is out of range.

    >>> sizes = {"image_size": 16, "patch_size": 8, "width": 8, "num_layers": 1, "num_heads": 2}
    >>> clip = make_clip_image(**sizes, embed_dim=6)
    >>> params = jax.eval_shape(clip.init, jax.random.key(0))
    >>> jax.eval_shape(clip.embed, params, jnp.zeros((2, 20, 30, 3))).shape
    (2, 6)
    """
    checked = ClipImageOptions(**options)
    dtype = check_dtype(compute_dtype)

    def embed(
        params: Params, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch dim"]:
        patches = _patches(prepare_images(images, checked.image_size), checked.patch_size)
        x = patches.astype(dtype) @ params["patch"].astype(dtype)[None]
        first = jnp.broadcast_to(params["class"].astype(dtype), (len(x), 1, checked.width))
        x = jnp.concatenate([first, x], axis=1) + params["position"].astype(dtype)[None]
        x = layer_norm(x, **params["pre_norm"])
        x = apply_blocks(params["blocks"], x, num_heads=checked.num_heads, causal=False)
        return project(
            params["projection"], layer_norm(x[:, :1], **params["post_norm"])[:, 0], dtype
        )

    return ClipImage(checked, jax.jit(lambda key: _init(key, checked)), embed)


def prepare_images(
    images: Float[Array, "batch height width 3"], size: int
) -> Float[Array, "batch size size 3"]:
    """Preprocess images as for the training of CLIP.

    The shorter side is resized by bicubic interpolation, which averages when it shrinks; the middle
    is cut out; each colour loses its mean and is divided by its deviation.

    Args:
        images: Values 0..1.
        size: Height and width wanted.

    Returns:
        Float32.

    Note:
        The published code resizes 8-bit images with Pillow, which rounds to 8 bits after each of
        its two passes. Here nothing is rounded; as there, what overshoots is clipped. The kernel is
        the same (Keys 1981, a = -1/2).
    """
    height, width = images.shape[1:3]
    shorter = min(height, width)
    rows, columns = size * height // shorter, size * width // shorter
    x = images.astype(jnp.float32)
    if shorter != size:
        x = jax.image.resize(x, (len(x), rows, columns, 3), "cubic", antialias=True)
    top, left = round((rows - size) / 2), round((columns - size) / 2)
    x = jnp.clip(x[:, top : top + size, left : left + size], 0.0, 1.0)
    return (x - jnp.array(MEAN)[None, None, None]) / jnp.array(DEVIATION)[None, None, None]


def _patches(x: Array, size: int) -> Array:
    """Arrange images as rows of patches [batch patches size*size*3]."""
    batch, side = len(x), x.shape[1] // size
    x = x.reshape(batch, side, size, side, size, 3).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, side * side, size * size * 3)


def _init(key: PRNGKey, options: ClipImageOptions) -> Params:
    patch_key, class_key, position_key, projection_key, key = jax.random.split(key, 5)
    patches = (options.image_size // options.patch_size) ** 2
    return {
        "patch": draw(patch_key, 3 * options.patch_size**2, options.width),
        "class": draw(class_key, options.width),
        "position": draw(position_key, patches + 1, options.width),
        "pre_norm": init_norm(options.width),
        "blocks": init_blocks(key, num_layers=options.num_layers, width=options.width),
        "post_norm": init_norm(options.width),
        "projection": draw(projection_key, options.width, options.embed_dim),
    }
