"""InceptionV3 as the Frechet Inception distance uses it (Heusel et al. 2017).

The network of that distance is not the published InceptionV3 but the graph that Google released in
2015: its mean pools leave the padding out, its last block has a max pool, and it has 1008 logits.
Its weights are known as ``pt_inception-2015-12-05-6726825d.pth``, and the layers have the names
that they have there.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.models.features.layers import (
    ConvRelu,
    FrozenNetwork,
    Images,
    make_frozen,
    max_pool,
    mean_pool,
)
from cdcd_jax.nn import Dense

IMAGE_SIZE = 299
NUM_FEATURES = 2048
NUM_LOGITS = 1008


class ConvSpec(NamedTuple):
    """Name and shape of a convolution; strided ones have no padding."""

    name: str
    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1


Branch = tuple[Any, ...]
"""``ConvSpec`` one after the other, perhaps after ``"mean"`` or ``"max"`` for a pool; a tuple of
them at the end are applied side by side."""


def _block_a(pool_features: int) -> tuple[Branch, ...]:
    return (
        (ConvSpec("branch1x1", 64),),
        (ConvSpec("branch5x5_1", 48), ConvSpec("branch5x5_2", 64, (5, 5))),
        (
            ConvSpec("branch3x3dbl_1", 64),
            ConvSpec("branch3x3dbl_2", 96, (3, 3)),
            ConvSpec("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("mean", ConvSpec("branch_pool", pool_features)),
    )


def _block_c(features: int) -> tuple[Branch, ...]:
    return (
        (ConvSpec("branch1x1", 192),),
        (
            ConvSpec("branch7x7_1", features),
            ConvSpec("branch7x7_2", features, (1, 7)),
            ConvSpec("branch7x7_3", 192, (7, 1)),
        ),
        (
            ConvSpec("branch7x7dbl_1", features),
            ConvSpec("branch7x7dbl_2", features, (7, 1)),
            ConvSpec("branch7x7dbl_3", features, (1, 7)),
            ConvSpec("branch7x7dbl_4", features, (7, 1)),
            ConvSpec("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("mean", ConvSpec("branch_pool", 192)),
    )


def _block_e(pool: str) -> tuple[Branch, ...]:
    return (
        (ConvSpec("branch1x1", 320),),
        (
            ConvSpec("branch3x3_1", 384),
            (ConvSpec("branch3x3_2a", 384, (1, 3)), ConvSpec("branch3x3_2b", 384, (3, 1))),
        ),
        (
            ConvSpec("branch3x3dbl_1", 448),
            ConvSpec("branch3x3dbl_2", 384, (3, 3)),
            (ConvSpec("branch3x3dbl_3a", 384, (1, 3)), ConvSpec("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pool, ConvSpec("branch_pool", 192)),
    )


BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": (
        (ConvSpec("branch3x3", 384, (3, 3), 2),),
        (
            ConvSpec("branch3x3dbl_1", 64),
            ConvSpec("branch3x3dbl_2", 96, (3, 3)),
            ConvSpec("branch3x3dbl_3", 96, (3, 3), 2),
        ),
        ("halve",),
    ),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": (
        (ConvSpec("branch3x3_1", 192), ConvSpec("branch3x3_2", 320, (3, 3), 2)),
        (
            ConvSpec("branch7x7x3_1", 192),
            ConvSpec("branch7x7x3_2", 192, (1, 7)),
            ConvSpec("branch7x7x3_3", 192, (7, 1)),
            ConvSpec("branch7x7x3_4", 192, (3, 3), 2),
        ),
        ("halve",),
    ),
    "Mixed_7b": _block_e("mean"),
    "Mixed_7c": _block_e("max"),
}
"""The branches of each block, whose outputs are put side by side."""


class InceptionOutputs(NamedTuple):
    """Outputs of the network.

    Attributes:
        features: [batch 2048] of the last pool, float32; for the Frechet distance.
        logits: [batch 1008].
        unbiased_logits: The same without the classifier's bias, which is how the Inception score
            was first computed (Salimans et al. 2016) and has been since.
    """

    features: Float[Array, "batch features"]
    logits: Float[Array, "batch logits"]
    unbiased_logits: Float[Array, "batch logits"]


def make_inception(*, compute_dtype: str = "float32") -> FrozenNetwork:
    """Build InceptionV3 in the form of the Frechet Inception distance.

    Args:
        compute_dtype: ``float32``, or ``bfloat16``, which moves the features by some 1% and is for
            quick looks only: published distances are in float32.

    Returns:
        ``init``, and ``apply(params, images) -> InceptionOutputs`` for images [batch height width
        3] RGB, values 0..1, of any size: they are resized to 299 x 299 first.

    Note:
        Resizing is bilinear between pixel centres without averaging, as the most used port does it
        (pytorch-fid: ``interpolate(..., mode="bilinear", align_corners=False)``). The first
        implementation, in TensorFlow, places the pixels differently; distances differ by some
        hundredths for images of 256 pixels and by more for smaller ones.

    >>> network = make_inception()
    >>> params = jax.eval_shape(network.init, jax.random.key(0))
    >>> images = jax.ShapeDtypeStruct((2, 64, 64, 3), "float32")
    >>> jax.eval_shape(network.apply, params, images).features.shape
    (2, 2048)
    """
    dtype = jnp.dtype(compute_dtype)
    return make_frozen(lambda rngs: _Inception(dtype, rngs=rngs))


class _Inception(nnx.Module):
    def __init__(self, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.dtype = dtype
        self.Conv2d_1a_3x3 = ConvRelu(3, 32, (3, 3), stride=2, pad=False, rngs=rngs)
        self.Conv2d_2a_3x3 = ConvRelu(32, 32, (3, 3), pad=False, rngs=rngs)
        self.Conv2d_2b_3x3 = ConvRelu(32, 64, (3, 3), rngs=rngs)
        self.Conv2d_3b_1x1 = ConvRelu(64, 80, (1, 1), rngs=rngs)
        self.Conv2d_4a_3x3 = ConvRelu(80, 192, (3, 3), pad=False, rngs=rngs)
        width = 192
        for name, branches in BLOCKS.items():
            block = _Block(width, branches, rngs=rngs)
            setattr(self, name, block)
            width = block.out_features
        self.fc = Dense(NUM_FEATURES, NUM_LOGITS, std=1 / math.sqrt(NUM_FEATURES), rngs=rngs)

    def __call__(self, images: Images) -> InceptionOutputs:
        shape = (len(images), IMAGE_SIZE, IMAGE_SIZE, 3)
        x = jax.image.resize(images.astype(jnp.float32), shape, "linear", antialias=False)
        x = (2 * x - 1).astype(self.dtype)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [batch 147 147 64]
        x = max_pool(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # [batch 71 71 192]
        x = max_pool(x, 3, stride=2)
        for name in BLOCKS:
            x = getattr(self, name)(x)  # [batch 8 8 2048] at the end
        features = x.astype(jnp.float32).mean(axis=(1, 2))
        logits = self.fc(features)
        return InceptionOutputs(features, logits, logits - self.fc.bias[...][None])


class _Block(nnx.Module):
    def __init__(self, in_features: int, branches: tuple[Branch, ...], *, rngs: nnx.Rngs):
        self.branches = branches
        self.out_features = 0
        for branch in branches:
            width = in_features
            for part in branch:
                if isinstance(part, str):
                    continue
                side_by_side = (part,) if isinstance(part, ConvSpec) else part
                for spec in side_by_side:
                    conv = ConvRelu(
                        width,
                        spec.features,
                        spec.size,
                        stride=spec.stride,
                        pad=spec.stride == 1,
                        rngs=rngs,
                    )
                    setattr(self, spec.name, conv)
                width = sum(spec.features for spec in side_by_side)
            self.out_features += width

    def __call__(self, x: Array) -> Array:
        return jnp.concatenate([self._branch(branch, x) for branch in self.branches], axis=-1)

    def _branch(self, branch: Branch, x: Array) -> Array:
        for part in branch:
            if part == "mean":
                x = mean_pool(x)
            elif part == "max":
                x = max_pool(x, 3, stride=1, pad=1)
            elif part == "halve":
                x = max_pool(x, 3, stride=2)
            elif isinstance(part, ConvSpec):
                x = getattr(self, part.name)(x)
            else:
                x = jnp.concatenate([getattr(self, spec.name)(x) for spec in part], axis=-1)
        return x
