"""CLIP's text tower, frozen: the condition of text to image (CDCD Appendix C.2).

A transformer reads 77 tokens, each seeing those before it. The denoiser attends to all 77 outputs
of its last norm, before the projection that CLIP compares with images. Only scores need that.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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


@dataclass(frozen=True, kw_only=True)
class ClipTextOptions:
    """Options of a text tower; the defaults are those of CLIP ViT-B/32.

    Attributes:
        vocab_size: Number of tokens.
        length: Tokens of a text.
        width: Features of a token.
        num_layers: Transformer blocks.
        num_heads: Attention heads; 64 features each in every CLIP.
        embed_dim: Numbers of the embedding that is compared with images (512 in ViT-B/32); None
            leaves its projection out.

    Raises:
        ValueError: If a value is out of range.
    """

    vocab_size: int = 49408
    length: int = 77
    width: int = 512
    num_layers: int = 12
    num_heads: int = 8
    embed_dim: int | None = None

    def __post_init__(self):
        check_sizes(asdict(self), width=self.width, num_heads=self.num_heads)


class ClipText(NamedTuple):
    """A text tower as pure functions of its parameters.

    Attributes:
        options: How it is built.
        init: ``init(key) -> params``, a nested dict; blocks are stacked on a leading axis.
        apply: ``apply(params, tokens) -> features [batch length width]``, float32.
        embed: ``embed(params, tokens) -> embeddings [batch embed_dim]``, float32, of any length;
            raises a ValueError without ``embed_dim``.
    """

    options: ClipTextOptions
    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Array], Array]
    embed: Callable[[Params, Array], Array]


def make_clip_text(
    *, unit_norm: bool = True, compute_dtype: str = "float32", **options: Any
) -> ClipText:
    """Build the text tower.

    Args:
        unit_norm: Divide each token's features by their length, as the published models do; of no
            matter to the embedding.
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
    dtype = check_dtype(compute_dtype)

    def read(params: Params, tokens: Array) -> Array:
        if tokens.shape[1] != checked.length:
            raise ValueError(f"a text has {checked.length} tokens, got {tokens.shape[1]}")
        table = jnp.asarray(params["token"])
        x = table.at[tokens].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        x = (x + params["position"][None]).astype(dtype)
        x = apply_blocks(params["blocks"], x, num_heads=checked.num_heads, causal=True)
        return layer_norm(x, **params["final_norm"])

    def apply(
        params: Params, tokens: Int[Array, "batch length"]
    ) -> Float[Array, "batch length width"]:
        x = read(params, tokens).astype(jnp.float32)
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True) if unit_norm else x

    def embed(params: Params, tokens: Int[Array, "batch length"]) -> Float[Array, "batch dim"]:
        if checked.embed_dim is None:
            raise ValueError("a text tower without embed_dim has no embedding")
        # The end, which has seen the whole text, is the largest of all tokens.
        ends = read(params, tokens)[jnp.arange(len(tokens)), jnp.argmax(tokens, axis=1)]
        return project(params["projection"], ends, dtype)

    return ClipText(checked, jax.jit(lambda key: _init(key, checked)), apply, embed)


def _init(key: PRNGKey, options: ClipTextOptions) -> Params:
    token_key, position_key, key = jax.random.split(key, 3)
    params: Params = {
        "token": draw(token_key, options.vocab_size, options.width),
        "position": draw(position_key, options.length, options.width),
        "blocks": init_blocks(key, num_layers=options.num_layers, width=options.width),
        "final_norm": init_norm(options.width),
    }
    if options.embed_dim is not None:
        projection_key = jax.random.fold_in(token_key, 1)
        params["projection"] = draw(projection_key, options.width, options.embed_dim)
    return params
