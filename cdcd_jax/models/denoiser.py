"""The denoising transformer of VQ-Diffusion, which CDCD trains, with its blocks scanned.

Every block is ``x += self_attention(norm(x, t))``, then, with features to attend to,
``x += cross_attention(norm(x, t), cond)``, then ``x += mlp(norm(x))``, where a class condition
enters through that last norm. Parameters carry the names of this file; their layout is the module
tree, with all blocks stacked on a leading axis.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.models.attention import CrossAttention, SelfAttention
from cdcd_jax.models.fused_attention import CUDNN_FORWARD, SPLASH_RESULT
from cdcd_jax.models.layers import ACTIVATIONS, ScaleShift, Table, modulate
from cdcd_jax.models.layout import BATCH, constrain
from cdcd_jax.models.options import DenoiserOptions
from cdcd_jax.nn import Conv, Dense, LayerNorm
from cdcd_jax.typing import Timesteps, Tokens, wide_dtype


class TokenEmbedding(nnx.Module):
    """Embeddings of tokens, plus a vector for the row and one for the column of their position."""

    def __init__(self, options: DenoiserOptions, *, rngs: nnx.Rngs):
        height, width = options.embedding_grid or options.grid
        self.token = Table(options.vocab_size + 1, options.width, rngs=rngs)
        self.height = Table(height, options.width, rngs=rngs)
        self.column = Table(width, options.width, rngs=rngs)

    def __call__(self, tokens: Tokens, dtype: jnp.dtype) -> Float[Array, "batch length width"]:
        """Return the sum, added up in float32 or better.

        Position p of the sequence is cell p of the grid, row by row. A grid larger than the
        sequence gives its first cells, as the published ImageNet model has it (16x16 tokens on a
        32x32 grid, so that two rows of tokens share one row of the grid).
        """
        wide = wide_dtype(dtype)
        rows = constrain(self.height.embedding[...], None, None).astype(wide)
        columns = constrain(self.column.embedding[...], None, None).astype(wide)
        positions = (rows[:, None] + columns[None]).reshape(-1, rows.shape[-1])  # [cells width]
        return (self.token(tokens).astype(wide) + positions[None, : tokens.shape[1]]).astype(dtype)


class Mlp(nnx.Module):
    """An MLP, position by position or with 3x3 convolutions.

    The wide features are split over the tensor axis: each device makes some and narrows those.
    """

    def __init__(self, options: DenoiserOptions, *, rngs: nnx.Rngs):
        width, hidden = options.width, options.mlp_ratio * options.width
        self.options = options
        self.expand: Dense | Conv
        self.contract: Dense | Conv
        if options.mlp == "linear":
            self.expand = Dense(width, hidden, rngs=rngs)
            self.contract = Dense(hidden, width, rngs=rngs)
        else:  # drawn as PyTorch does by default and the published code therefore did
            self.expand = Conv(width, hidden, (3, 3), init="torch", rngs=rngs)
            self.contract = Conv(hidden, width, (3, 3), init="torch", rngs=rngs)

    def __call__(self, x: Float[Array, "batch length width"]) -> Array:
        """Return the same shape."""
        activation = ACTIVATIONS[self.options.activation]
        if self.options.mlp == "linear":
            wide = constrain(self.expand(x), BATCH, None, "tensor")
            return self.contract(activation(wide))
        image = x.reshape(x.shape[0], *self.options.grid, x.shape[-1])  # [batch height width ...]
        wide = constrain(self.expand(image), BATCH, None, None, "tensor")
        return self.contract(activation(wide)).reshape(x.shape)


class Source(NamedTuple):
    """What all blocks attend to of a condition; it depends on neither tokens nor timestep.

    Attributes:
        key: Keys [batch layers source width].
        value: Values, likewise.
        distance: Of features with times, seconds from each token [batch length source].
    """

    key: Array
    value: Array
    distance: Array | None = None


class Modulation(NamedTuple):
    """The inputs of a block from timestep and class, which do not depend on the tokens."""

    self_norm: Array
    cross_norm: Array | None = None
    mlp_norm: Array | None = None


class Block(nnx.Module):
    """Self-attention, cross-attention to the condition and an MLP, each after an adaptive norm."""

    def __init__(self, options: DenoiserOptions, *, rngs: nnx.Rngs):
        width, heads = options.width, options.num_heads

        def timestep_norm() -> ScaleShift:
            sinusoidal = options.timestep == "sinusoidal"
            return ScaleShift(options.num_steps, width, sinusoidal=sinusoidal, rngs=rngs)

        self.options = options
        self.self_norm = timestep_norm()
        self.self_attention = SelfAttention(width, heads, attention=options.attention, rngs=rngs)
        if options.cond_dim is not None:
            self.cross_norm = timestep_norm()
            timed = options.seconds is not None
            self.cross_attention = CrossAttention(
                width, heads, options.cond_dim, timed=timed, rngs=rngs
            )
        self.mlp_norm: ScaleShift | LayerNorm
        if options.num_classes is not None:
            self.mlp_norm = ScaleShift(options.num_classes, width, rngs=rngs)
        else:
            self.mlp_norm = LayerNorm(width)
        self.mlp = Mlp(options, rngs=rngs)

    def modulation(self, t: Timesteps, cond: Any, dtype: jnp.dtype) -> Modulation:
        """Return the scales and shifts."""
        self_norm = self.self_norm(t - 1, dtype)  # tables count from 0, steps from 1
        if self.options.condition == "cross":
            return Modulation(self_norm, cross_norm=self.cross_norm(t - 1, dtype))
        if isinstance(self.mlp_norm, ScaleShift):
            return Modulation(self_norm, mlp_norm=self.mlp_norm(cond, dtype))
        return Modulation(self_norm)

    def __call__(
        self,
        x: Float[Array, "batch length width"],
        modulation: Modulation,
        source: Source | None = None,
    ) -> Array:
        """Return the residual stream after the block, of a source with this block's keys alone."""
        # The residual stream is split by examples only: norms need all features of a position.
        x = x + self.self_attention(modulate(x, modulation.self_norm, axis=-1))
        x = constrain(x, BATCH, None, None)
        if source is not None and modulation.cross_norm is not None:
            query = modulate(x, modulation.cross_norm, axis=-1)
            x = x + self.cross_attention(query, *source)
            x = constrain(x, BATCH, None, None)
        if modulation.mlp_norm is not None:
            axis = 1 if self.options.class_norm == "instance" else -1
            x = x + self.mlp(modulate(x, modulation.mlp_norm, axis=axis))
        else:
            assert isinstance(self.mlp_norm, LayerNorm)
            x = x + self.mlp(self.mlp_norm(x))
        return constrain(x, BATCH, None, None)


class Denoiser(nnx.Module):
    """A transformer that returns unnormalised log-probabilities of the clean tokens."""

    def __init__(self, options: DenoiserOptions, *, rngs: nnx.Rngs):
        def make_block(key: jax.Array) -> Block:
            return Block(options, rngs=nnx.Rngs(key))

        keys = jax.random.split(rngs.params(), options.num_layers)
        structure = nnx.split(nnx.eval_shape(lambda: make_block(jax.random.key(0))))[0]
        self.options = options
        self.embedding = TokenEmbedding(options, rngs=rngs)
        self.blocks = nnx.merge(
            structure, jax.vmap(lambda key: nnx.split(make_block(key))[1])(keys)
        )
        self.final_norm = LayerNorm(options.width)
        self.to_logits = Dense(options.width, options.vocab_size, rngs=rngs)

    def source(self, cond: Any) -> Any:
        """Return what `hidden` takes in place of a condition: of one to attend to, a `Source`.

        It is a tree with a row for each example, and serves all chains and steps of a sample.
        """
        options = self.options
        if options.condition != "cross" or isinstance(cond, Source):
            return cond
        distance = None
        if options.seconds is not None:
            distance = time_distance(cond.seconds, options.length, options.seconds)
            cond = cond.features
        structure, stacked = self._split_blocks()
        cond = cond.astype(options.compute_dtype)
        # All layers at once: larger products.
        key, value = jax.vmap(
            lambda params: nnx.merge(structure, params).cross_attention.source(cond), out_axes=1
        )(stacked)
        return Source(key, value, distance)

    def _split_blocks(self) -> tuple[Any, Any]:
        """Return the structure of a block, and the parameters of all."""
        structure, stacked = nnx.split(self.blocks)
        dtype = self.options.compute_dtype
        # Once for all that use them, and before they are sent to other devices. The gradient of all
        # layers is then in this dtype, too, until the optimizer takes it.
        return structure, jax.tree_util.tree_map_with_path(
            lambda path, x: x.astype(dtype) if jax.tree_util.DictKey("kernel") in path else x,
            stacked,
        )

    def hidden(self, zt: Tokens, t: Timesteps, cond: Any) -> Float[Array, "batch length width"]:
        """Return the residual stream after the last block, in the dtype of the computation."""
        options = self.options
        dtype = jnp.dtype(options.compute_dtype)
        structure, stacked = self._split_blocks()
        source, keys = self.source(cond), None
        if isinstance(source, Source):
            keys = tuple(jnp.moveaxis(array, 1, 0) for array in (source.key, source.value))

        def block_step(x: Array, layer: tuple[Any, Modulation, Any]) -> tuple[Array, None]:
            params, modulation, keys = layer
            own = None if keys is None else Source(keys[0], keys[1], source.distance)
            block: Any = nnx.merge(structure, params)
            return block(x, modulation, own), None

        # All layers at once: larger products, and never once per chain under vmap.
        modulations = jax.vmap(
            lambda params: nnx.merge(structure, params).modulation(t, cond, dtype)
        )(stacked)
        step = block_step
        if options.remat != "none":
            # The backward pass makes a block again, with "dots" all but its products with
            # parameters and what a fused kernel has made of attention's scores: those cost the most
            # to make, and the scores themselves the most memory.
            policy = is_large_product if options.remat == "dots" else None
            step = jax.checkpoint(block_step, policy=policy)
        x = constrain(self.embedding(zt, dtype), BATCH, None, None)
        layers = stacked, modulations, keys
        x, _ = jax.lax.scan(step, x, layers, unroll=options.blocks_per_iteration)
        return x

    def logits(self, hidden: Float[Array, "batch positions width"]) -> Array:
        """Return logits over the K real tokens, position by position, float32 or better."""
        return self.to_logits(self.final_norm(hidden), wide_dtype(hidden.dtype))


def is_large_product(primitive: Any, *arguments: Any, **parameters: Any) -> Any:
    """Return whether an operation multiplies by parameters, or is a fused kernel's attention.

    In plain attention, both operands vary.
    """
    if primitive.name in ("conv_general_dilated", CUDNN_FORWARD):
        return True
    if primitive.name == "name" and parameters["name"] == SPLASH_RESULT:
        return True
    return jax.checkpoint_policies.dots_with_no_batch_dims_saveable(
        primitive, *arguments, **parameters
    )


def time_distance(
    source: Float[Array, "batch source"], length: int, seconds: float
) -> Float[Array, "batch length source"]:
    """Return distances in time between features and tokens that evenly span some seconds.

    Args:
        source: When the features are, in seconds from the start; NaN for one of no time.
        length: Number of tokens.
        seconds: What they span.

    Returns:
        Seconds >= 0 from the middle of each token; 0 to a feature of no time.

    >>> time_distance(jnp.array([[0.25, jnp.nan]]), length=2, seconds=1.0).tolist()
    [[[0.0, 0.0], [0.5, 0.0]]]
    """
    middle = (jnp.arange(length) + 0.5) * (seconds / length)
    gap = jnp.abs(middle[None, :, None] - source[:, None, :])
    return jnp.where(jnp.isnan(gap), 0.0, gap)
