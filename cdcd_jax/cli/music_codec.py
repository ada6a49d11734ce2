"""Train or fit a codec of music, and let it be heard on recordings it does not know."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cdcd_jax.cli.evaluate import write_summary
from cdcd_jax.cli.music_grid import show_sounds
from cdcd_jax.codecs.audio_codec import AudioCodec
from cdcd_jax.codecs.audio_file import save_jukebox
from cdcd_jax.codecs.spectra import SpectrumCodec, fit_spectrum_codec, save_spectra
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.audio_stream import load_crops
from cdcd_jax.data.dance.recordings import Recordings
from cdcd_jax.distributed.shard_batch import fetch_whole
from cdcd_jax.evaluation.batches import Share
from cdcd_jax.evaluation.metrics.audio.onsets import mel_decibels
from cdcd_jax.evaluation.metrics.codebook import codebook_scorer
from cdcd_jax.evaluation.metrics.images.real_images import spread
from cdcd_jax.io import is_first_host, wait_for_hosts
from cdcd_jax.tasks.images import Places
from cdcd_jax.tasks.music_codec_fit import MusicCodecFit
from cdcd_jax.tasks.music_codec_training import MusicCodecTraining
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.training.run import run_training
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.stopping import Stopper

NUM_SHOWN = 4
"""Recordings that are shown and can be listened to."""


def train_music_codec(built: MusicCodecTraining, stopper: Stopper) -> None:
    """Train a codec, write ``codec.safetensors``, and play what it makes of test recordings.

    Args:
        built: What to train, on what, and where it goes.
        stopper: Asked after each step.

    Raises:
        CheckpointError: If something cannot be written.
    """
    folder, samples = built.places.codec_folder, built.samples
    chosen = spread(len(built.test.names), NUM_SHOWN)
    names = [built.test.names[int(number)] for number in chosen]
    shown = load_crops(built.test, chosen, samples)

    def show(state: TrainState) -> Path:
        path = folder / "reconstructions" / f"step{int(state.step):06d}.png"
        codec = _codec(built, state)
        made = codec.decode(codec.encode(shown))
        return show_sounds(path, {"real": shown, "through the codec": made}, names)

    state, position = run_training(built.training, folder, stopper, hook=show)
    picture = show(state)
    params = fetch_whole(built.params(state))
    if is_first_host():
        with writing(folder):
            save_jukebox(built.places.codec_file, params, built.jukebox.options)
    print(f"Trained {int(state.step)} steps in {position.train_seconds:.0f} s")
    told = {"steps": int(state.step), "train_seconds": position.train_seconds}
    summary = told | {"config": built.config}
    _conclude(_codec(built, state), built.test, built.places, picture, summary)


def fit_music_codec(built: MusicCodecFit) -> None:
    """Find a codebook of spectra, write ``codec.safetensors``, and play what it makes of music.

    Args:
        built: What to fit, to what, and where it goes.

    Raises:
        CheckpointError: If something cannot be written.
    """
    started = time.perf_counter()
    length, options = built.samples // built.options.hop, built.options
    audio = load_crops(built.train, built.chosen, built.samples)
    print(f"Looking for {options.num_codes} codes in {audio.size / SAMPLE_RATE:.0f} s of music")
    codec = fit_spectrum_codec(
        audio, options, length=length, seed=built.seed, batch_size=built.batch_size
    )
    if is_first_host():
        with writing(built.places.codec_folder):
            save_spectra(built.places.codec_file, codec)
    print(f"Fitted {codec.vocab_size} codes in {time.perf_counter() - started:.0f} s")
    chosen = spread(len(built.test.names), NUM_SHOWN)
    names = [built.test.names[int(number)] for number in chosen]
    shown = load_crops(built.test, chosen, built.samples)
    columns = {"real": shown, "through the codec": codec.decode(codec.encode(shown))}
    picture = show_sounds(built.places.codec_folder / "reconstructions.png", columns, names)
    _conclude(codec, built.test, built.places, picture, {"config": built.config})


def _conclude(
    codec: AudioCodec | SpectrumCodec,
    test: Recordings,
    places: Places,
    picture: Path,
    summary: dict[str, Any],
) -> None:
    """Measure a codec, write its summary, and say where everything is; all hosts wait for it."""
    wait_for_hosts(f"codec {places.codec_file}")
    quality = measure_music_codec(codec, test)
    write_summary(places.codec_folder, {**quality, "reconstructions": str(picture), **summary})
    print(
        f"{quality['num_test_recordings']} test recordings, {quality['seconds']:.0f} s: "
        f"SNR {quality['snr']:.2f} dB (worst {quality['worst_snr']:.2f}), spectra off by "
        f"{quality['decibels_off']:.1f} dB, "
        f"{quality['tokens_kept']:.1%} of the tokens kept when encoded again, "
        f"{quality['codes_used']:.1%} of {codec.vocab_size} codes used, perplexity "
        f"{quality['code_perplexity']:.0f}"
    )
    print(f"Codec:           {places.codec_file}")
    print(f"Reconstructions: {picture}, and to listen to: {picture.with_suffix('')}")


def measure_music_codec(
    codec: AudioCodec | SpectrumCodec, recordings: Recordings
) -> dict[str, float | int]:
    """Encode and decode every recording from beginning to end.

    Args:
        codec: The codec.
        recordings: What it has not heard.

    Returns:
        ``snr`` (dB, mean over recordings; of no meaning for a codec without phases) and
        ``worst_snr``, ``decibels_off`` (mean difference of mel spectra, dB),
        ``tokens_kept`` (share of tokens, 0..1, that decoded sound gives again), ``codes_used``
        (0..1), ``code_perplexity``, and how much there was.
    """
    scorer = codebook_scorer(codec.vocab_size)
    counts, snr, kept, off, seconds = scorer.init(Share(0, 1, 0, 1)), [], [], [], 0.0
    numbers = range(len(recordings.names))
    hidden = not is_first_host()
    for number in tqdm(numbers, desc="test recordings", unit="recording", disable=hidden):
        audio = recordings.audio(number)
        tokens = codec.encode_long(audio)
        made = codec.decode_long(tokens)
        heard = audio[: len(made)]
        error = np.mean((heard - made[: len(heard)]) ** 2)
        snr.append(10 * np.log10(max(np.mean(heard**2), 1e-10) / max(error, 1e-10)))
        off.append(np.abs(mel_decibels(heard) - mel_decibels(made[: len(heard)])).mean())
        kept.append(np.mean(codec.encode_long(made)[: len(tokens)] == tokens))
        counts = scorer.update(counts, scorer.look(tokens[None]), np.zeros(1, int))
        seconds += len(audio) / SAMPLE_RATE
    return {
        "num_test_recordings": len(snr),
        "seconds": seconds,
        "snr": float(np.mean(snr)),
        "worst_snr": float(np.min(snr)),
        "decibels_off": float(np.mean(off)),
        "tokens_kept": float(np.mean(kept)),
        **scorer.result(counts),
    }


def _codec(built: MusicCodecTraining, state: TrainState) -> AudioCodec:
    length = built.samples // built.jukebox.options.hops[built.level]
    return AudioCodec(
        built.jukebox,
        fetch_whole(built.params(state)),
        level=built.level,
        length=length,
        batch_size=built.batch_size,
    )
