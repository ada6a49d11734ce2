"""Files with all names of the published models of music are loaded and sampled, from a dance on."""

import jax
import numpy as np
import pytest

from cdcd_jax.diffusion.samplers.sample import sample
from cdcd_jax.experiment.load import load
from cdcd_jax.models import make_denoiser
from tests.support.music_files import SMALL, make_music_entries
from tests.support.published_files import write_checkpoint

SAMPLING = {"num_steps": 2, "truncation": 0.86, "top_k": None, "temperature": 1.0}


@pytest.fixture(scope="module", params=["aist", pytest.param("tiktok", marks=pytest.mark.slow)])
def published(request, tmp_path_factory):
    """Return the case, the file and the model."""
    path = tmp_path_factory.mktemp(request.param) / "music.pth"
    write_checkpoint(path, make_music_entries(request.param, num_layers=2))
    return request.param, path, load(path, folder=path.with_name("converted"))


def draw_cond(model, batch=2):
    random, dance = np.random.default_rng(0), model.conditioning.dance
    cond = {
        "motion": random.normal(size=(batch, dance.frames, dance.num_features)),
        "video": random.normal(size=(batch, 1, dance.video_features)),
    }
    cond = {name: part.astype(np.float32) for name, part in cond.items()}
    return cond | ({"genre": np.array([3, 9], np.int32)} if dance.genre_names else {})


def test_a_dance_becomes_music(published):
    name, _, model = published
    assert (model.codec.hop, model.codec.samples, model.codec.vocab_size) == (128, 5 * 128, 32)
    assert len(model.conditioning.dance.genre_names) == (10 if name == "aist" else 0)
    cond = draw_cond(model)
    tokens = model.sample_fn(model.params, jax.random.key(0), cond, **SAMPLING)
    assert tokens.shape == (2, 5)
    assert tokens.max() < 32  # no mask is left
    # The same, from the parts taken one by one.
    network = make_denoiser(**SMALL | {"num_layers": 2}, num_heads=16, unroll=1)
    token = jax.jit(model.model.encode)(model.params, cond)
    assert token.shape == (2, 1, 16)
    assert np.abs(token[0] - token[1]).max() > 1e-3

    def denoise_fn(zt, t, cond):
        return network.apply(model.params["denoiser"], zt, t, cond)

    by_hand = jax.jit(
        lambda key: sample(key, model.schedule, denoise_fn, token, shape=(2, 5), **SAMPLING)
    )
    np.testing.assert_array_equal(tokens, by_hand(jax.random.key(0)))
    audio = model.codec.decode(np.asarray(tokens))
    assert audio.shape == (2, 640)
    assert audio.dtype == np.float32
    assert np.abs(audio).max() <= 1
    assert audio.std() > 0


def test_the_schedule_divides_by_all_classes(published):
    model = published[2]
    np.testing.assert_allclose(model.schedule.beta_bar[1:], 1e-6 / 33, rtol=1e-9)
    assert model.schedule.num_steps == 4
    assert model.model.null is None  # never trained without its condition
