"""The objective of a music codec: Jukebox's losses (Dhariwal et al. 2020)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdcd_jax.codecs.codebook import Codebook, init_codebook
from cdcd_jax.codecs.jukebox import Jukebox
from cdcd_jax.codecs.spectrogram import spectral_distance
from cdcd_jax.training.codec_objective import check_weights, codebook_update, straight_through
from cdcd_jax.training.step import Batch, Metrics, Objective
from cdcd_jax.typing import Params, PRNGKey

SILENCE = 1e-5
"""Mean square that silence is given, so that it can be divided by: 50 dB below full scale."""


def make_audio_codec_objective(
    jukebox: Jukebox,
    *,
    level: int,
    spectral_weight: float = 1.0,
    log_spectral_weight: float = 0.0,
    waveform_weight: float = 1.0,
    commitment_weight: float = 0.02,
    codebook_decay: float = 0.99,
    restart_below: float = 0.05,
) -> Objective:
    """Join the losses of one level of a codec of music to what ``make_train_step`` takes.

    With r the reconstruction of x, S the magnitudes of short-time Fourier transforms at several
    resolutions and codes z = nearest(e) for features e:

        w_w |x - r|^2 / |x|^2 + w_s |S(x) - S(r)| / |S(x)| + w_l mean |log S(x) - log S(r)|
        + w_c mean (e - stop(z))^2

    Jukebox divides by the mean loudness of its data set where this divides by the batch's and the
    example's own. Levels are trained apart, so the other levels have no parameters here. The
    codebook is moved by running means instead of a gradient (``codecs/codebook.py``) and travels in
    the state's ``stats``.

    Args:
        jukebox: The codec.
        level: Which level, 0 for the bottom.
        spectral_weight: w_s >= 0.
        log_spectral_weight: w_l >= 0; the published codec has none.
        waveform_weight: w_w >= 0.
        commitment_weight: w_c >= 0.
        codebook_decay: See ``update_codebook``.
        restart_below: See ``update_codebook``.

    Returns:
        The objective on batches with ``"audio"``, float32 [batch samples], -1..1, where samples is
        a multiple of the hop and at least 2048. Metrics: ``waveform``, ``spectral``,
        ``log_spectral``, ``commitment``, all before they are weighed, ``snr`` (dB, of the rows that
        are worked through together), ``usage``, ``perplexity``, ``restarts``.

    Raises:
        ValueError: If there is no such level or a value is out of range.
    """
    jukebox.options.check_level(level)
    check_weights(
        spectral_weight=spectral_weight,
        log_spectral_weight=log_spectral_weight,
        waveform_weight=waveform_weight,
        commitment_weight=commitment_weight,
    )

    def loss(
        params: Params, batch: Batch, stats: Any
    ) -> tuple[jax.Array, tuple[Metrics, tuple[Array, Array]]]:
        audio, complete = batch["audio"], with_audio_codes(params, stats, level)
        features = jukebox.encode(complete, audio, level)
        indices = jukebox.indices(complete, jax.lax.stop_gradient(features), level)
        codes = jax.lax.stop_gradient(jukebox.lookup(complete, indices, level))
        reconstruction = jukebox.decode(complete, straight_through(features, codes), level)

        waveform = _relative_error(audio, reconstruction)
        spectral, log_spectral = map(jnp.mean, spectral_distance(audio, reconstruction))
        commitment = jnp.mean((features - codes) ** 2)
        total = (
            waveform_weight * waveform
            + spectral_weight * spectral
            + log_spectral_weight * log_spectral
            + commitment_weight * commitment
        )
        metrics = {
            "waveform": waveform,
            "spectral": spectral,
            "log_spectral": log_spectral,
            "commitment": commitment,
            "snr": -10 * jnp.log10(_relative_error(audio, jnp.clip(reconstruction, -1, 1))),
        }
        return total, jax.lax.stop_gradient((metrics, (features, indices)))

    return Objective(loss, update=codebook_update(codebook_decay, restart_below))


def init_audio_codec_training(
    jukebox: Jukebox, level: int
) -> tuple[Callable[[PRNGKey], Params], Callable[[PRNGKey], Codebook]]:
    """Return the two functions that make one level's parameters and codebook before the first step.

    The codebook is not a parameter: it is taken out of them, see ``with_audio_codes``.
    """
    jukebox.options.check_level(level)
    name = f"level_{level}"

    def init_params(key: PRNGKey) -> Params:
        params = dict(jukebox.init(key)[name])
        del params["quantizer"]
        return {name: params}

    def init_stats(key: PRNGKey) -> Codebook:
        return init_codebook(jukebox.init(key)[name]["quantizer"]["codebook"])

    return init_params, init_stats


def with_audio_codes(params: Params, codebook: Codebook, level: int) -> Params:
    """Insert the codebook into the codec's parameters."""
    name = f"level_{level}"
    return {name: params[name] | {"quantizer": {"codebook": codebook.codes}}}


def _relative_error(audio: Array, reconstruction: Array) -> Array:
    """Return |x - r|^2 / |x|^2 over the whole batch."""
    return jnp.mean((audio - reconstruction) ** 2) / (jnp.mean(audio**2) + SILENCE)
