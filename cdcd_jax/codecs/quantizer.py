"""Quantisation of features: the nearest code, or the code scored highest."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cdcd_jax.typing import Params, PRNGKey


def init_quantizer(key: PRNGKey, options: Any) -> Params:
    """Draw a codebook from U(-1/codes, 1/codes), and the scores' linear layer where there is one.

    Args:
        key: Random key.
        options: A ``VQGANOptions``.

    Returns:
        ``{"codebook": [num_codes code_dim]}``; for ``"gumbel"`` also ``"scores"`` with ``kernel``
        [code_dim num_codes] and ``bias``.
    """
    code_key, score_key = jax.random.split(key)
    shape, bound = (options.num_codes, options.code_dim), 1 / options.num_codes
    params: Params = {"codebook": jax.random.uniform(code_key, shape, minval=-bound, maxval=bound)}
    if options.quantizer == "gumbel":
        kernel = jax.random.normal(score_key, shape[::-1]) / jnp.sqrt(float(options.code_dim))
        params["scores"] = {"kernel": kernel, "bias": jnp.zeros(options.num_codes)}
    return params


def nearest_codes(
    quantizer: Params, features: Float[Array, "*lead code_dim"]
) -> Int[Array, "*lead"]:
    """Choose a code for each feature, deterministically.

    argmin_k |f - c_k|^2 = argmin_k (|c_k|^2 - 2 f.c_k), or argmax_k of the scores f W + b where
    the quantiser has a layer for them. The published code adds Gumbel noise to the scores even when
    it evaluates; a codec must be deterministic.

    Args:
        quantizer: See ``init_quantizer``.
        features: Float32.

    Returns:
        int32, 0..num_codes-1.

    >>> quantizer = {"codebook": jnp.array([[0.0, 0.0], [1.0, 1.0]])}
    >>> nearest_codes(quantizer, jnp.array([[0.2, 0.1], [0.9, 0.4]])).tolist()
    [0, 1]
    """
    highest = jax.lax.Precision.HIGHEST
    if "scores" in quantizer:
        layer = quantizer["scores"]
        scores = jnp.matmul(features, layer["kernel"], precision=highest)
        scores += jnp.expand_dims(layer["bias"], tuple(range(features.ndim - 1)))
    else:
        codes = quantizer["codebook"]
        norms = jnp.expand_dims(jnp.sum(codes**2, axis=1), tuple(range(features.ndim - 1)))
        scores = 2 * jnp.matmul(features, codes.T, precision=highest) - norms
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def look_up(quantizer: Params, indices: Int[Array, "*lead"]) -> Float[Array, "*lead code_dim"]:
    """Return the vectors of codes; a code that does not exist comes back as NaN."""
    codebook = jnp.asarray(quantizer["codebook"])
    return codebook.at[indices].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def keep_codes(quantizer: Params, kept: Int[np.ndarray, " kept"]) -> Params:
    """Keep some codes only, renumbered in the order given.

    Args:
        quantizer: See ``init_quantizer``.
        kept: Numbers of codes.

    Returns:
        A quantiser that chooses among the kept codes only.

    >>> keep_codes({"codebook": np.array([[0.0], [1.0], [2.0]])}, np.array([2, 0]))
    {'codebook': array([[2.], [0.]])}
    """
    smaller: Params = {"codebook": quantizer["codebook"][kept]}
    if "scores" in quantizer:
        layer = quantizer["scores"]
        smaller["scores"] = {"kernel": layer["kernel"][:, kept], "bias": layer["bias"][kept]}
    return smaller
