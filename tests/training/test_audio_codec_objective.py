"""A step of training a codec of music: losses and gradients by the formula, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from cdcd_jax.codecs.jukebox import make_jukebox
from cdcd_jax.codecs.spectrogram import FLOOR, RESOLUTIONS, spectral_distance, spectrogram
from cdcd_jax.training.audio_codec_objective import (
    init_audio_codec_training,
    make_audio_codec_objective,
    with_audio_codes,
)
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import init_state
from cdcd_jax.training.step import make_train_step

JUKEBOX = make_jukebox(
    downs=(1, 1), strides=(8, 8), multipliers=(1, 1), width=16, depth=1, code_dim=8, num_codes=16
)
WEIGHTS = {"spectral_weight": 0.7, "log_spectral_weight": 0.3, "waveform_weight": 1.5}
WEIGHTS |= {"commitment_weight": 0.25}


@pytest.fixture(scope="module")
def audio():
    """Two sounds of a falling tone with a crack of noise in the middle."""
    random = np.random.default_rng(0)
    times = np.arange(4096) / 22050
    tones = [np.sin(2 * np.pi * pitch * times) * np.exp(-times / 0.1) for pitch in (220, 330)]
    crack = random.normal(0, 0.3, (2, 4096)) * np.exp(-np.abs(times - 0.1) / 0.005)
    return (0.5 * np.stack(tones) + crack).astype(np.float32)


@pytest.fixture(scope="module")
def started():
    init_params, init_stats = init_audio_codec_training(JUKEBOX, 1)
    keys = jax.random.split(jax.random.key(0))
    return init_params(keys[0]), init_stats(keys[1])


@pytest.fixture(scope="module")
def run():
    """Return value, metrics and gradient of the whole objective."""
    objective = make_audio_codec_objective(JUKEBOX, level=1, **WEIGHTS)
    return jax.jit(jax.value_and_grad(objective, argnums=1, has_aux=True))


def magnitudes(audio, size):
    """Return what SciPy makes of it in float64."""
    _, _, bins = scipy.signal.stft(
        np.float64(audio), nperseg=size, noverlap=size * 3 // 4, boundary=None, padded=False
    )
    return 2 * np.abs(bins)  # SciPy divides by the window's sum, half its length


def distances(audio, other):
    linear, logarithmic = [], []
    for size in RESOLUTIONS:
        wanted, found = magnitudes(audio, size), magnitudes(other, size)
        energy = (wanted**2).mean((1, 2)) + FLOOR**2
        linear.append(np.sqrt(((wanted - found) ** 2).mean((1, 2)) / energy))
        logarithmic.append(np.abs(np.log((wanted + FLOOR) / (found + FLOOR))).mean((1, 2)))
    return np.mean(linear, axis=0), np.mean(logarithmic, axis=0)


def test_spectrograms_are_scipys(audio):
    ours = jax.jit(spectrogram, static_argnums=1)(audio, 128)
    wanted = magnitudes(audio, 128).transpose(0, 2, 1)
    np.testing.assert_allclose(ours, wanted, atol=2e-5)
    other = np.roll(audio, 100, axis=1) * 0.5
    measured = jax.jit(spectral_distance)(audio, other)
    for found, wanted in zip(measured, distances(audio, other), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
    with pytest.raises(ValueError, match="audio of 100 samples has no window of 128"):
        spectrogram(jnp.zeros((1, 100)), 128)


def test_losses_and_gradients_follow_the_formula(audio, started, run):
    """Decoder: by way of the codes. Encoder: as if codes were features, and the commitment."""
    params, codebook = started
    # The first update puts the codes onto features, so that there is something to choose from.
    batch = {"audio": jnp.asarray(audio)}
    (_, (_, codebook)), _ = run(jax.random.key(1), params, batch, codebook)
    (loss, (told, _)), slope = run(jax.random.key(2), params, batch, codebook)

    complete = with_audio_codes(params, codebook, 1)
    sounds = jnp.asarray(audio)
    features = jax.jit(lambda p: JUKEBOX.encode(p, sounds, 1))(complete)
    codes = JUKEBOX.lookup(complete, JUKEBOX.indices(complete, features, 1), 1)
    sound = np.asarray(jax.jit(lambda p, c: JUKEBOX.decode(p, c, 1))(complete, codes))
    error, power = np.mean((audio - sound) ** 2), np.mean(audio**2)
    wanted = {
        "waveform": error / (power + 1e-5),
        "spectral": distances(audio, sound)[0].mean(),
        "log_spectral": distances(audio, sound)[1].mean(),
        "commitment": np.mean((np.asarray(features) - np.asarray(codes)) ** 2),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(told[name], value, rtol=2e-3, err_msg=name)
    weighed = sum(WEIGHTS[f"{name}_weight"] * value for name, value in wanted.items())
    np.testing.assert_allclose(loss, weighed, rtol=2e-3)
    clipped = np.mean((audio - np.clip(sound, -1, 1)) ** 2) / (power + 1e-5)
    np.testing.assert_allclose(told["snr"], -10 * np.log10(clipped), rtol=1e-3)

    def by_the_formula(params, passed):
        """Everything behind the codes."""
        sound = JUKEBOX.decode(params, passed, 1)
        waveform = jnp.mean((sounds - sound) ** 2) / (power + 1e-5)
        linear, logarithmic = map(jnp.mean, spectral_distance(sounds, sound))
        return 1.5 * waveform + 0.7 * linear + 0.3 * logarithmic

    @jax.jit
    def gradients(complete):
        of_decoder, of_codes = jax.grad(by_the_formula, argnums=(0, 1))(complete, codes)
        pulled = of_codes + 0.25 * 2 * (features - codes) / features.size
        _, pull_back = jax.vjp(lambda p: JUKEBOX.encode(p, sounds, 1), complete)
        return of_decoder, pull_back(pulled)[0]

    of_decoder, of_encoder = gradients(complete)
    for side, found in (("decoder", of_decoder), ("encoder", of_encoder)):
        mine, theirs = slope["level_1"][side], found["level_1"][side]
        scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
        assert scale > 0
        jax.tree.map(
            lambda a, b, scale=scale: np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * scale),
            mine,
            theirs,
        )


def test_it_learns_a_sound(audio, started):
    """Forty steps on one batch: from below 0 dB to above 3."""
    objective = make_audio_codec_objective(JUKEBOX, level=1, codebook_decay=0.9)
    optimizer = make_optimizer(lr=1e-2, num_steps=40, weight_decay=0.0, clip_norm=1.0)
    state = init_state(jax.random.key(0), lambda _: started[0], optimizer, started[1])
    step = jax.jit(make_train_step(objective, optimizer))
    history = []
    for _ in range(40):
        state, metrics = step(state, {"audio": audio})
        history.append(float(metrics["snr"]))
    assert history[0] < 1
    assert history[-1] > 3
    assert list(state.params) == ["level_1"]
    assert float(metrics["usage"]) > 0.3


def test_silence_does_no_harm(started, run):
    batch = {"audio": jnp.zeros((2, 4096))}
    (loss, _), slope = run(jax.random.key(0), started[0], batch, started[1])
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_what_cannot_be_trained_is_named():
    with pytest.raises(ValueError, match="level = 2 does not exist"):
        make_audio_codec_objective(JUKEBOX, level=2)
    with pytest.raises(ValueError, match=r"spectral_weight = -1.0 must be at least 0"):
        make_audio_codec_objective(JUKEBOX, level=1, spectral_weight=-1.0)
    with pytest.raises(ValueError, match=r"codebook_decay = 1.0 must be in \[0, 1\)"):
        make_audio_codec_objective(JUKEBOX, level=1, codebook_decay=1.0)
