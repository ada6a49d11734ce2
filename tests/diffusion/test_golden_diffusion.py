"""The published code's forward process and posteriors, float32 and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cdcd_jax as cdcd

FILES = [
    (code, size)
    for code in ("image", "music")
    for size in ("K16_L24_T10", "K97_L12_T80", "K2048_L3_T80", "K2887_L3_T100")
]


def reference_schedule(code, vocab_size, num_steps):
    return cdcd.mask_replace_schedule(
        num_steps=num_steps,
        vocab_size=vocab_size,
        denominator=vocab_size + 1 if code == "music" else None,
    )


def setting(golden, code, size):
    data = golden(f"diffusion/{code}_{size}.npz")
    vocab_size, _, num_steps = (int(part[1:]) for part in size.split("_"))
    return data, reference_schedule(code, vocab_size, num_steps)


def assert_same_log_probs(ours, theirs, rtol):
    """Compare where the reference is above its floor; ours must be as small below.

    The reference stands a zero in by 1e-30, which its posterior then multiplies by up to 1e10.
    """
    ours = np.moveaxis(np.asarray(ours), -1, 1)  # theirs has the classes on axis 1
    above = theirs > -45
    np.testing.assert_allclose(ours[above], theirs[above], rtol=rtol, atol=max(rtol, 1e-8))
    assert np.all(ours[~above] < -44)


@pytest.mark.parametrize(("code", "size"), FILES)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_forward_and_posterior(golden, code, size, precision):
    data, schedule = setting(golden, code, size)
    prefix, rtol = ("f64/", 1e-9) if precision == "float64" else ("", 2e-5)
    with jax.enable_x64(precision == "float64"):
        t = jnp.asarray(data["t"]) + 1
        z0, zt = jnp.asarray(data["x0"]), jnp.asarray(data["xt"])
        zero = jnp.zeros_like(t)
        if f"{prefix}log_x0_recon" not in data:
            pytest.skip("this file holds no float64 case")
        logits = jnp.asarray(np.moveaxis(data["logits"], 1, -1), precision)
        log_p0 = jax.nn.log_softmax(logits, axis=-1)
        assert_same_log_probs(log_p0, data[f"{prefix}log_x0_recon"][:, :-1], rtol)
        found = cdcd.log_q(schedule, z0, zero, t)
        assert_same_log_probs(found, data[f"{prefix}q_pred_x0"], rtol)
        # In the reference's one-step table a mask turns into each token with rate beta. A mask
        # stays a mask, here and in the papers, so only visible tokens are compared.
        found = np.asarray(cdcd.log_q(schedule, zt, t - 1, t))
        theirs = data[f"{prefix}q_pred_one_timestep_xt"]
        visible = data["xt"] != schedule.mask_id
        assert_same_log_probs(found[visible], np.moveaxis(theirs, 1, -1)[visible], rtol)
        assert np.all(np.exp(found[~visible][:, -1]) == 1.0)
        found = cdcd.log_q_posterior(schedule, z0, zt, t - 1, t)
        theirs = data[f"{prefix}q_posterior_x0"]
        if code == "music":
            # The music code counts the mask among the possible clean tokens, which adds 1 to
            # sum(r) at visible positions, and so beta_bar (1e-8) here and there.
            found, visible = np.exp(found), data["xt"] != schedule.mask_id
            theirs = np.exp(np.moveaxis(theirs, 1, -1))
            np.testing.assert_allclose(
                found[~visible], theirs[~visible], rtol=50 * rtol, atol=1e-29
            )
            np.testing.assert_allclose(found[visible], theirs[visible], rtol=2e-5, atol=1e-7)
        else:
            assert_same_log_probs(found, theirs, rtol)
        found = cdcd.log_posterior(schedule, log_p0, zt, t - 1, t)
        rtol = max(rtol, 1e-7) if code == "music" else rtol  # the same extra beta_bar
        assert_same_log_probs(found, data[f"{prefix}q_posterior_recon"], rtol)


@pytest.mark.parametrize(("code", "size"), FILES)
def test_truncated_posterior(golden, code, size):
    """The reference does not renormalise after truncation; ours does, and then they agree."""
    data, schedule = setting(golden, code, size)
    if "log_x0_recon_trunc" not in data:
        pytest.skip("this file holds no truncated case")
    truncated = np.moveaxis(data["log_x0_recon_trunc"], 1, -1)[..., :-1].astype(np.float64)
    p0 = np.where(truncated > -69, np.exp(truncated), 0.0)
    log_p0 = np.log(np.maximum(p0 / p0.sum(-1, keepdims=True), 1e-300))
    t = jnp.asarray(data["t"]) + 1
    found = cdcd.log_posterior(
        schedule, jnp.asarray(log_p0, jnp.float32), jnp.asarray(data["xt"]), t - 1, t
    )
    theirs = data["q_posterior_trunc"].astype(np.float64)
    theirs -= np.log(np.exp(theirs).sum(axis=1, keepdims=True))
    # What only the floored tokens feed is theirs at exp(-70) and ours at 0: compare the rest.
    found = np.moveaxis(np.asarray(found), -1, 1)
    likely = theirs > -25
    np.testing.assert_allclose(found[likely], theirs[likely], rtol=3e-5, atol=3e-5)
