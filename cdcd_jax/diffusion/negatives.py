"""Intra negatives: the same tokens with their chunks or patches permuted.

The order is never the original one, but of equal chunks the tokens may be the same in any order;
``LossTerms.equal_negatives`` counts such negatives.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from cdcd_jax.checks import check_count, check_key, check_pair, check_tokens
from cdcd_jax.typing import Negatives, PRNGKey, Tokens

MOST_TOKENS = 2**31 - 1
"""Tokens of all negatives together; so many are 8 GiB, and their indices are int32."""


def shuffle_chunks(
    key: PRNGKey, z0: Tokens, *, num_chunks: int = 8, num_negatives: int = 10
) -> Negatives:
    """Cut each sequence in equal chunks and put them in another order (CDCD Sec. 3.3).

    Args:
        key: Random key.
        z0: Clean tokens.
        num_chunks: Chunks of floor(length / num_chunks) tokens, at least 2; what is left over at
            the end stays in place, as in the reference.
        num_negatives: N, the negatives made for every example.

    Returns:
        N sequences per example, each with its own order, drawn uniformly from all orders but the
        original one. (The reference uses one order for a whole batch, which may be the original.)

    Raises:
        ValueError: Fewer than two chunks, more chunks than tokens, or more tokens than an array
            may have.

    Example:
        >>> tokens = jnp.arange(6)[None]
        >>> shuffle_chunks(jax.random.key(0), tokens, num_chunks=2, num_negatives=1).tolist()
        [[[3, 4, 5, 0, 1, 2]]]
    """
    _check_shuffle(key, z0, num_negatives)
    check_count("num_chunks", num_chunks)
    batch, length = z0.shape
    _check_pieces("num_chunks", num_chunks, length)
    size = length // num_chunks
    order = permutations(key, (batch, num_negatives), num_chunks)
    return _reorder(z0, order, jnp.arange(num_chunks * size).reshape(num_chunks, size))


def shuffle_patches(
    key: PRNGKey,
    z0: Tokens,
    *,
    grid: tuple[int, int],
    patches: tuple[int, int] = (2, 2),
    num_negatives: int = 10,
) -> Negatives:
    """Cut each token image in equal patches and put them in other places (CDCD Sec. 3.3).

    Args:
        key: Random key.
        z0: Clean tokens of an image, row by row.
        grid: Height and width of the image in tokens; their product is the length.
        patches: Patches down and across, at least 2 in all; each must divide its side.
        num_negatives: N, the negatives made for every example.

    Returns:
        N images per example, each with its own arrangement, never the original one.

    Raises:
        ValueError: The grid is not the length, the patches do not divide it, or there are more
            tokens than an array may have.

    Example:
        >>> image = jnp.array([[0, 0, 1, 1,
        ...                     0, 0, 1, 1]])
        >>> key = jax.random.key(0)
        >>> shuffle_patches(key, image, grid=(2, 4), patches=(1, 2), num_negatives=1).tolist()
        [[[1, 1, 0, 0, 1, 1, 0, 0]]]
    """
    _check_shuffle(key, z0, num_negatives)
    check_pair("grid", grid, "(height, width)")
    check_pair("patches", patches, "(down, across)")
    batch, length = z0.shape
    (height, width), (down, across) = grid, patches
    if height * width != length:
        raise ValueError(f"grid {height} x {width} does not have the {length} tokens of z0")
    if height % down or width % across:
        raise ValueError(f"patches {down} x {across} must divide the token grid {height} x {width}")
    _check_pieces("patches", down * across, length)
    order = permutations(key, (batch, num_negatives), down * across)
    index = jnp.arange(length).reshape(down, height // down, across, width // across)
    return _reorder(z0, order, index.swapaxes(1, 2).reshape(down * across, -1))


def permutations(key: PRNGKey, shape: tuple[int, ...], size: int) -> Int[Array, "*shape size"]:
    """Draw permutations of 0..size-1 uniformly from all but the identity, by rejection."""
    identity = jnp.arange(size).reshape((1,) * len(shape) + (size,))

    def draw(key: PRNGKey) -> Array:
        return jnp.argsort(jax.random.uniform(key, (*shape, size)), axis=-1)

    def is_identity(order: Array) -> Array:
        return jnp.all(order == identity, axis=-1, keepdims=True)

    def redraw(state: tuple[PRNGKey, Array]) -> tuple[PRNGKey, Array]:
        key, order = state
        key, draw_key = jax.random.split(key)
        return key, jnp.where(is_identity(order), draw(draw_key), order)

    # Rejection: conditioned on not being the identity, all permutations stay equally likely. At two
    # pieces half of the draws are rejected, which is the worst case.
    key, draw_key = jax.random.split(key)
    start = key, draw(draw_key)
    return jax.lax.while_loop(lambda state: jnp.any(is_identity(state[1])), redraw, start)[1]


def _check_shuffle(key: PRNGKey, z0: Tokens, num_negatives: int) -> None:
    check_key(key)
    check_tokens("z0", z0)
    check_count("num_negatives", num_negatives, least=0)
    batch, length = z0.shape
    if num_negatives * batch * length > MOST_TOKENS:
        raise ValueError(
            f"num_negatives = {num_negatives:,} of {batch:,} x {length:,} tokens are more than the "
            f"{MOST_TOKENS:,} that one array may have; make fewer at once"
        )


def _check_pieces(name: str, pieces: int, length: int) -> None:
    if not 2 <= pieces <= length:
        raise ValueError(
            f"{name} must cut {length} tokens in 2 to {length} pieces, got {pieces}: "
            "a single piece has no other order"
        )


def _reorder(z0: Tokens, order: Int[Array, "batch num_neg pieces"], pieces: Array) -> Negatives:
    """Fill the places of piece i with the tokens of piece order[i]; other places stay."""
    batch, num_negatives, _ = order.shape
    source = jnp.arange(z0.shape[1])[None, None, :]
    source = jnp.broadcast_to(source, (batch, num_negatives, z0.shape[1]))
    flat = (batch, num_negatives, pieces.size)
    source = source.at[:, :, pieces.reshape(-1)].set(pieces[order].reshape(flat))
    return jnp.take_along_axis(jnp.asarray(z0)[:, None], source, axis=-1)
