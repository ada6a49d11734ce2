"""A whole sampling run of the published code, step by step: its network, its noise, its tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cdcd_jax as cdcd
from cdcd_jax.diffusion.samplers.filters import truncate
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.models.functional import make_denoiser

VOCAB, NUM_STEPS = 17, 8


@pytest.mark.parametrize(("name", "truncation"), [("none", 1.0), ("top0_86r", 0.86)])
def test_trajectory(golden, name, truncation):
    data = golden(f"sampling/trajectory_{name}.npz")
    network = make_denoiser(
        vocab_size=VOCAB, num_steps=NUM_STEPS, grid=(4, 4), num_layers=2, width=24, num_heads=4,
        mlp="conv", mlp_ratio=2, condition="cross", cond_dim=12,
    )  # fmt: skip
    state = {key[3:]: array for key, array in data.items() if key.startswith("sd/")}
    template = jax.eval_shape(network.init, jax.random.key(0))
    params = denoiser_from_reference(state, template)
    schedule = cdcd.mask_replace_schedule(num_steps=NUM_STEPS, vocab_size=VOCAB)
    cond = jnp.asarray(data["cond"])

    @jax.jit
    def reverse(zt, t):
        steps = jnp.full(zt.shape[:1], t)
        log_p0 = truncate(network.apply(params, zt, steps, cond), truncation)
        return cdcd.log_posterior(schedule, log_p0, zt, steps - 1, steps)

    zt = np.full(data["final"].shape, schedule.mask_id, np.int32)
    for index, t in enumerate(range(NUM_STEPS, 0, -1)):
        ours = np.asarray(reverse(zt, t))
        theirs = np.moveaxis(data["log_probs"][index], 1, -1).astype(np.float64)
        theirs = np.maximum(theirs, -70.0)  # at its first step the reference has log 0 = -inf
        # Ours is normalised; theirs is not after truncation.
        theirs -= np.log(np.exp(theirs).sum(axis=-1, keepdims=True))
        likely = theirs > -20
        np.testing.assert_allclose(ours[likely], theirs[likely], rtol=2e-5, atol=2e-5)
        assert np.all(ours[~likely] < -19)
        uniform = np.moveaxis(data["uniform"][index], 1, -1)
        noise = -np.log(-np.log(uniform + 1e-30) + 1e-30)
        np.testing.assert_array_equal(
            np.argmax(ours + noise, axis=-1), data["tokens_per_step"][index]
        )
        zt = data["tokens_per_step"][index].astype(np.int32)
    np.testing.assert_array_equal(zt, data["final"])
