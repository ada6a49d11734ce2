"""The published code's training loss, term by term, with its gradient."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_golden_diffusion import reference_schedule

import cdcd_jax as cdcd
from cdcd_jax.diffusion.noise import Noise
from cdcd_jax.diffusion.terms import step_terms, sum_terms
from cdcd_jax.diffusion.timesteps import timestep_probs, update_timestep_stats

MODES = ["inter_sample", "inter_step", "intra_sample", "intra_step", "vanilla"]
CASES = [f"{code}_{mode}_K16_L24_T10_N10" for code in ("image", "music") for mode in MODES]
CASES += [f"{code}_inter_sample_K16_L24_T10_N10_mw" for code in ("image", "music")]
CASES += [f"{code}_intra_step_K16_L24_T10_N4_nonadaptive" for code in ("image", "music")]
CASES += [f"image_{mode}_K211_L16_T80_N10" for mode in ("inter_sample", "intra_step")]
CASES += [f"music_{mode}_K211_L18_T80_N10" for mode in ("inter_sample", "intra_step")]
RTOL = 2e-5


def loss_of(case, schedule):
    """Return the reference's settings of a case: what its file's description says."""
    code, mode = case.split("_", 1)
    adaptive, weighted = "nonadaptive" not in case, case.endswith("_mw")
    strong = weighted or not adaptive
    aux_time = {"image": "decreasing", "music": "increasing"}[code]
    contrast = cdcd.Contrast(
        "sample" if "_sample_" in mode else "step",
        chains="shared",
        weight=0.1 if strong else (5e-6 if "inter_sample_K211" in mode else 5e-5),
        time_weight="increasing" if adaptive else "constant",
    )
    return cdcd.make_loss(
        schedule,
        aux_weight=1e-3 if strong else 5e-4,
        aux_time_weight=aux_time if adaptive else "constant",
        mask_weight=(1.0, 0.25) if weighted else (1.0, 1.0),
        contrast=None if mode.startswith("vanilla") else contrast,
    )


@pytest.fixture(params=CASES)
def case(request, golden):
    """A case's data, schedule and loss."""
    data = golden(f"loss/{request.param}.npz")
    vocab_size, num_steps = (
        int(re.search(rf"_{letter}(\d+)", request.param).group(1)) for letter in "KT"
    )
    schedule = reference_schedule(request.param.split("_")[0], vocab_size, num_steps)
    return data, schedule, loss_of(request.param, schedule)


def evaluate(data, loss, logits):
    negatives = (jnp.asarray(data["negatives"]),) if loss.contrasts else ()
    noise = Noise(
        t=jnp.asarray(data["t"]) + 1,
        p_t=jnp.asarray(data["pt"]),
        zt=jnp.asarray(data["xt"]),
        zt_negatives=None,
        kept=(None,) * len(negatives),
    )
    denoise_fn = lambda zt, t, cond: jax.nn.log_softmax(logits, axis=-1)  # noqa: E731
    return loss.at(noise, denoise_fn, jnp.asarray(data["x0"]), None, negatives=negatives)


def test_every_term(case):
    data, _, loss = case
    logits = jnp.asarray(np.moveaxis(data["logits"], 1, -1))
    terms = evaluate(data, loss, logits)

    def same(ours, theirs):
        np.testing.assert_allclose(np.asarray(ours), data[theirs], rtol=RTOL)

    same(terms.vb, "kl_loss")
    same(terms.vb / terms.p_t, "vlb_term")
    same(terms.aux, "kl_aux_loss")
    if loss.contrasts:
        np.testing.assert_allclose(terms.contrast, -data["neg_kl_loss"].mean(axis=1), rtol=RTOL)
        weighted = terms.total * terms.p_t - terms.vb
        weighted -= data["aux_term"] * data["pt"]
        # What is left of the total is the weighted contrast; it is a small difference.
        np.testing.assert_allclose(
            -weighted / data["pt"],
            data["contrastive_term"],
            rtol=1e-3,
            atol=3e-6 * np.abs(data["vlb_term"]).max(),
        )
    # The total is a difference of larger terms: relative to the largest of them.
    scale = np.abs(data["vlb_term"]) + np.abs(data["aux_term"])
    if loss.contrasts:
        scale = scale + np.abs(data["contrastive_term"])
    for name in ("vb_loss", "official_vb_loss"):
        assert np.all(np.abs(terms.total - data[name]) <= RTOL * scale)
    scale = scale.mean() / data["x0"].shape[1]
    assert abs(float(terms.loss) - float(data["official_loss_scalar"])) <= RTOL * scale


def test_gradient(case):
    data, _, loss = case
    logits = jnp.asarray(np.moveaxis(data["logits"], 1, -1))
    gradient = jax.grad(lambda logits: evaluate(data, loss, logits).loss)(logits)
    theirs = np.moveaxis(data["grad_logits"], 1, -1)
    error = np.abs(np.asarray(gradient) - theirs).max(axis=(1, 2))
    assert np.all(error <= RTOL * np.abs(theirs).max(axis=(1, 2)))


def test_every_position_and_negative(case):
    data, schedule, loss = case
    log_p0 = jnp.asarray(np.moveaxis(data["log_x0_recon"], 1, -1)[..., :-1])
    z0, zt, t = jnp.asarray(data["x0"]), jnp.asarray(data["xt"]), jnp.asarray(data["t"]) + 1
    kl, _ = step_terms(schedule, log_p0, z0[:, None], zt, t)
    # A visible token's KL is around 1e-7 and the reference's float32 noise as large.
    np.testing.assert_allclose(kl[:, 0], data["kl_per_pos"], rtol=RTOL, atol=3e-5)
    if not loss.contrasts:
        return
    negatives = jnp.asarray(data["negatives"])
    step, sample = sum_terms(schedule, t, log_p0, negatives, zt, mask_weight=loss.mask_weight)
    later = data["t"] > 0
    mine = step if loss.contrasts[0].mechanism == "step" else sample
    np.testing.assert_allclose(mine[later], data["neg_kl"][later], rtol=RTOL)
    np.testing.assert_allclose(mine[~later], data["neg_decoder_nll"][~later], rtol=RTOL)


def test_importance_sampling(case):
    data, schedule, _ = case
    before = cdcd.TimestepStats(
        second_moment=jnp.asarray(data["Lt_history_before"]),
        count=jnp.full(schedule.num_steps, 20.0),
    )
    np.testing.assert_allclose(timestep_probs(before), data["pt_all"], rtol=RTOL)
    t = jnp.asarray(data["t"]) + 1
    np.testing.assert_allclose(timestep_probs(before)[t - 1], data["pt"], rtol=RTOL)
    after = update_timestep_stats(before, t, jnp.asarray(data["kl_loss"]))
    np.testing.assert_allclose(after.second_moment, data["Lt_history_after"], rtol=RTOL)
    np.testing.assert_allclose(after.count, data["Lt_count_after"])


@pytest.mark.parametrize("length", [13, 24, 256, 344, 1024, 1033])
def test_chunk_order_of_the_reference(golden, length):
    """Our shuffle puts chunk order[i] in place i and leaves the tail, as the reference does."""
    from cdcd_jax.diffusion.negatives import _reorder

    data = golden("loss/neg_sampling.npz")
    tokens, order = data[f"image/L{length}/x"], data[f"image/L{length}/order"]
    size = length // 8
    pieces = jnp.arange(8 * size).reshape(8, size)
    given = jnp.broadcast_to(jnp.asarray(order)[None, None], (len(tokens), 1, 8))
    found = _reorder(jnp.asarray(tokens), given, pieces)[:, 0]
    np.testing.assert_array_equal(found, data[f"image/L{length}/random"])
