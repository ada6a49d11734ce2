"""Samplers and bounds as the command line calls them: what compiles anew, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.diffusion.guidance import guide_denoiser
from cdcd_jax.diffusion.samplers.sample import sample
from cdcd_jax.diffusion.schedule import absorbing_schedule
from cdcd_jax.training.generation import make_bound_fn, make_sample_fn
from cdcd_jax.training.model import Model

VOCAB, LENGTH = 5, 3
SCHEDULE = absorbing_schedule(num_steps=4, vocab_size=VOCAB)
COND = np.arange(200, dtype=np.int32) % 2
# class, position, token
PARAMS = {"table": jax.random.normal(jax.random.key(0), (3, LENGTH, VOCAB))}
BATCHES = []


def denoise(params, zt, t, cond):
    BATCHES.append(len(zt))
    return params["table"][cond]


MODEL = Model(
    init=lambda key: PARAMS,
    denoise=denoise,
    null=lambda params, batch: jnp.full(batch, 2),
)


@pytest.fixture(scope="module")
def sample_fn():
    return make_sample_fn(SCHEDULE, MODEL, length=LENGTH)


def test_a_sweep_compiles_once_without_guidance_and_once_with(sample_fn):
    BATCHES.clear()
    drawn = {}
    for guidance in (1.0, 2.0, 3.0):
        for truncation, temperature in ((1.0, 1.0), (0.9, 1.0), (0.5, 0.7)):
            options = {"truncation": truncation, "temperature": temperature}
            drawn[guidance, truncation, temperature] = sample_fn(
                PARAMS,
                jax.random.key(1),
                COND,
                num_steps=2,
                top_k=None,
                guidance=guidance,
                **options,
            )
    assert BATCHES == [200, 400]  # both rows and their nulls only where there is guidance
    # The numbers of a sampler that is compiled for these values.
    for (guidance, truncation, temperature), tokens in drawn.items():
        if (guidance, truncation) not in ((1.0, 0.9), (3.0, 0.5)):
            continue
        by_hand = jax.jit(
            lambda key, guidance=guidance, truncation=truncation, temperature=temperature: sample(
                key, SCHEDULE,
                guide_denoiser(lambda *inputs: denoise(PARAMS, *inputs), jnp.array([2]), guidance),
                COND, shape=(200, LENGTH), num_steps=2, truncation=truncation,
                temperature=temperature,
            )
        )(jax.random.key(1))  # fmt: skip
        np.testing.assert_array_equal(tokens, by_hand)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation": 1.5}, r"truncation must be in \(0, 1\], got 1.5"),
        ({"temperature": 0.0}, "temperature must be positive"),
        (
            {"known": np.full((200, 2), VOCAB)},
            r"known must have the shape of the samples, \(200, 3\)",
        ),
        (
            {"known": np.full((200, LENGTH), -1)},
            r"known\[0, 0\] = -1 is not a token id: those are 0\.\.5",
        ),
    ],
)
def test_bad_requests_are_named(sample_fn, options, message):
    with pytest.raises(ValueError, match=message):
        sample_fn(PARAMS, jax.random.key(1), COND, num_steps=2, **options)


def test_the_bound_names_bad_tokens_and_networks():
    z0 = np.zeros((200, LENGTH), np.int32)
    bound_fn = make_bound_fn(SCHEDULE, MODEL)
    bad = z0.copy()
    bad[7, 1] = VOCAB
    with pytest.raises(ValueError, match=r"z0\[7, 1\] = 5 is not a token id: those are 0\.\.4"):
        bound_fn(PARAMS, jax.random.key(1), bad, COND)
    wide = {"table": jnp.zeros((3, LENGTH, VOCAB + 1))}
    with pytest.raises(ValueError, match="the mask is not among the K"):
        bound_fn(wide, jax.random.key(1), z0, COND)
    with pytest.raises(ValueError, match="the mask is not among the K"):
        make_sample_fn(SCHEDULE, MODEL, length=LENGTH)(wide, jax.random.key(1), COND, num_steps=2)


def test_a_network_of_nans_gives_no_sample_of_masks(sample_fn):
    params = {"table": jnp.full((3, LENGTH, VOCAB), jnp.nan)}
    with pytest.raises(ValueError, match=r"sample\[0, 0\] is 5, the mask: the network's prob"):
        sample_fn(params, jax.random.key(1), COND, num_steps=2, top_k=None)
