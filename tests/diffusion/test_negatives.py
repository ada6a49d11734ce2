import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cdcd_jax as cdcd
from cdcd_jax.diffusion.negatives import permutations

# Compiled whole: eagerly, every operation would compile for each new shape.
shuffle_chunks = jax.jit(cdcd.shuffle_chunks, static_argnames=("num_chunks", "num_negatives"))
shuffle_patches = jax.jit(
    cdcd.shuffle_patches, static_argnames=("grid", "patches", "num_negatives")
)


def distinct(batch, length):
    """Tokens that are all different, so that every move shows."""
    return jnp.arange(batch * length).reshape(batch, length)


@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    num_chunks=st.integers(2, 9),
    size=st.integers(1, 5),
    tail=st.integers(0, 8),
    num_negatives=st.integers(0, 4),
)
def test_chunks(seed, num_chunks, size, tail, num_negatives):
    length = num_chunks * size + min(tail, num_chunks - 1)
    z0 = distinct(3, length)
    found = shuffle_chunks(
        jax.random.key(seed), z0, num_chunks=num_chunks, num_negatives=num_negatives
    )
    assert found.shape == (3, num_negatives, length)
    cut = num_chunks * size
    chunks = np.asarray(z0)[:, :cut].reshape(3, num_chunks, size)
    for example in range(3):
        for negative in np.asarray(found[example]):
            np.testing.assert_array_equal(negative[cut:], z0[example, cut:])
            assert not np.array_equal(negative, z0[example])
            pieces = sorted(map(tuple, negative[:cut].reshape(num_chunks, size)))
            assert pieces == sorted(map(tuple, chunks[example]))


@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    down=st.integers(1, 3),
    across=st.integers(2, 4),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
)
def test_patches(seed, down, across, height, width):
    grid = (down * height, across * width)
    z0 = distinct(2, grid[0] * grid[1])
    found = shuffle_patches(
        jax.random.key(seed), z0, grid=grid, patches=(down, across), num_negatives=2
    )

    def patches(image):
        image = np.asarray(image).reshape(down, height, across, width).swapaxes(1, 2)
        return [tuple(patch.ravel()) for patch in image.reshape(-1, height, width)]

    for example in range(2):
        for negative in np.asarray(found[example]):
            assert sorted(patches(negative)) == sorted(patches(z0[example]))
            assert patches(negative) != patches(z0[example])


def test_each_negative_has_its_own_order():
    z0 = jnp.tile(jnp.arange(64)[None], (4, 1))
    found = np.asarray(cdcd.shuffle_chunks(jax.random.key(0), z0, num_negatives=10))
    assert len({tuple(row) for row in found.reshape(40, 64)}) > 35


@pytest.mark.parametrize("size", [2, 3, 4])
def test_orders_are_uniform_without_the_identity(size):
    """Chi-square over all size! - 1 orders."""
    drawn = np.asarray(permutations(jax.random.key(1), (12_000,), size))
    orders, counts = np.unique(drawn, axis=0, return_counts=True)
    expected = np.prod(np.arange(1, size + 1)) - 1
    assert len(orders) == expected
    assert not np.any(np.all(orders == np.arange(size), axis=1))
    chi_square = np.sum((counts - 12_000 / expected) ** 2) / (12_000 / expected)
    degrees = expected - 1
    assert chi_square < degrees + 5 * np.sqrt(2 * degrees) + 1e-9


def test_jit_is_eager():
    z0 = distinct(2, 24)
    eager = cdcd.shuffle_chunks(jax.random.key(5), z0)
    np.testing.assert_array_equal(shuffle_chunks(jax.random.key(5), z0), eager)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z0: cdcd.shuffle_chunks(jax.random.key(0), z0, num_chunks=1), "num_chunks must"),
        (lambda z0: cdcd.shuffle_chunks(jax.random.key(0), z0, num_chunks=13), "num_chunks must"),
        (lambda z0: cdcd.shuffle_patches(jax.random.key(0), z0, grid=(3, 5)), "grid 3 x 5"),
        (lambda z0: cdcd.shuffle_patches(jax.random.key(0), z0, grid=(3, 4)), "patches 2 x 2"),
        (
            lambda z0: cdcd.shuffle_patches(jax.random.key(0), z0, grid=(3, 4), patches=(1, 1)),
            "patches must cut",
        ),
    ],
)
def test_bad_cuts_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(distinct(1, 12))
