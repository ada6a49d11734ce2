"""ResNet (He et al. 2016) as torchvision trained it: the ImageNet classifier."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.models.features.layers import (
    ConvRelu,
    FrozenNetwork,
    Images,
    crop_centre,
    make_frozen,
    max_pool,
    resize_shorter_side,
)
from cdcd_jax.nn import Dense

RESIZED, CROPPED = 256, 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training images, values 0..1."""

STAGE_FEATURES = (64, 128, 256, 512)
EXPANSION = 4
RESNET101 = (3, 4, 23, 3)


def make_resnet(
    *,
    blocks: Sequence[int] = RESNET101,
    num_classes: int = 1000,
    compute_dtype: str = "float32",
) -> FrozenNetwork:
    """Build a ResNet of bottleneck blocks, by default ResNet-101.

    Args:
        blocks: Blocks of each of the four stages, each >= 1.
        num_classes: Number of logits; ImageNet's 1000 are in the order of the sorted WordNet ids.
        compute_dtype: ``float32`` or ``bfloat16``.

    Returns:
        ``init``, and ``apply(params, images) -> logits [batch num_classes]`` for images [batch
        height width 3] RGB, values 0..1, of any size: as in torchvision's evaluation of its first
        weights, the shorter side is resized to 256, bilinear and averaging when it shrinks, and the
        middle 224 x 224 are taken. Blocks halve the image in their 3x3 convolution.

    Raises:
        ValueError: If there are not four stages of at least one block.

    >>> network = make_resnet(blocks=(1, 1, 1, 1), num_classes=5)
    >>> params = jax.eval_shape(network.init, jax.random.key(0))
    >>> images = jax.ShapeDtypeStruct((2, 64, 64, 3), "float32")
    >>> jax.eval_shape(network.apply, params, images).shape
    (2, 5)
    """
    if len(blocks) != len(STAGE_FEATURES) or min(blocks) < 1:
        raise ValueError(f"blocks must be four numbers of at least 1, got {tuple(blocks)}")
    dtype = jnp.dtype(compute_dtype)
    return make_frozen(lambda rngs: _ResNet(tuple(blocks), num_classes, dtype, rngs=rngs))


class _ResNet(nnx.Module):
    def __init__(
        self, blocks: tuple[int, ...], num_classes: int, dtype: jnp.dtype, *, rngs: nnx.Rngs
    ):
        self.dtype = dtype
        self.stem = ConvRelu(3, 64, (7, 7), stride=2, rngs=rngs)
        width, stages = 64, []
        for stage, (count, features) in enumerate(zip(blocks, STAGE_FEATURES, strict=True)):
            chain = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                chain.append(_Bottleneck(width, features, stride, rngs=rngs))
                width = EXPANSION * features
            stages.append(nnx.List(chain))
        self.stages = nnx.List(stages)
        self.fc = Dense(width, num_classes, std=1 / math.sqrt(width), rngs=rngs)

    def __call__(self, images: Images) -> Float[Array, "batch classes"]:
        x = crop_centre(resize_shorter_side(images.astype(jnp.float32), RESIZED), CROPPED)
        mean, deviation = (jnp.array(values)[None, None, None] for values in (MEAN, DEVIATION))
        x = ((x - mean) / deviation).astype(self.dtype)
        x = max_pool(self.stem(x), 3, stride=2, pad=1)  # [batch 56 56 64]
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.fc(x.astype(jnp.float32).mean(axis=(1, 2)))


class _Bottleneck(nnx.Module):
    def __init__(self, in_features: int, features: int, stride: int, *, rngs: nnx.Rngs):
        wide = EXPANSION * features
        self.conv1 = ConvRelu(in_features, features, (1, 1), rngs=rngs)
        self.conv2 = ConvRelu(features, features, (3, 3), stride=stride, rngs=rngs)
        self.conv3 = ConvRelu(features, wide, (1, 1), relu=False, rngs=rngs)
        self.shortcut = (
            ConvRelu(in_features, wide, (1, 1), stride=stride, relu=False, rngs=rngs)
            if stride > 1 or in_features != wide
            else None
        )

    def __call__(self, x: Array) -> Array:
        kept = x if self.shortcut is None else self.shortcut(x)
        return jax.nn.relu(self.conv3(self.conv2(self.conv1(x))) + kept)
