"""Train a codec of music, and let it be heard on recordings it does not know."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdcd_jax.build.music_codec_training import MusicCodecTraining
from cdcd_jax.codecs.audio_codec import AudioCodec
from cdcd_jax.codecs.audio_file import save_jukebox
from cdcd_jax.data.audio import SAMPLE_RATE
from cdcd_jax.data.audio_stream import load_crops
from cdcd_jax.data.recordings import Recordings
from cdcd_jax.data.waveforms import PEAK
from cdcd_jax.evaluation.codebook import codebook_scorer
from cdcd_jax.evaluation.real_pictures import spread
from cdcd_jax.modes.diffusion import write_summary
from cdcd_jax.modes.sounds import show_sounds
from cdcd_jax.training.checkpoints import writing
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
    names = [built.test.names[number] for number in chosen]
    shown = load_crops(built.test, chosen, samples)

    def show(state: TrainState) -> Path:
        path = folder / "reconstructions" / f"step{int(state.step):06d}.png"
        codec = _codec(built, state)
        made = codec.decode(codec.encode(shown))
        return show_sounds(path, {"real": shown, "through the codec": made}, names)

    state, position = run_training(built.training, folder, stopper, hook=show)
    picture = show(state)
    with writing(folder):
        save_jukebox(built.places.codec_file, built.params(state), built.jukebox.options)
    print(f"Trained {int(state.step)} steps in {position.train_seconds:.0f} s")
    quality = measure_music_codec(_codec(built, state), built.test)
    summary = {
        **quality,
        "reconstructions": str(picture),
        "steps": int(state.step),
        "train_seconds": position.train_seconds,
        "config": built.config,
    }
    write_summary(folder, summary)
    print(
        f"{quality['num_test_recordings']} test recordings, {quality['seconds']:.0f} s: "
        f"SNR {quality['snr']:.2f} dB (worst {quality['worst_snr']:.2f}), "
        f"{quality['tokens_kept']:.1%} of the tokens kept when encoded again, "
        f"{quality['codes_used']:.1%} of {built.jukebox.options.num_codes} codes used, perplexity "
        f"{quality['code_perplexity']:.0f}"
    )
    print(f"Codec:           {built.places.codec_file}")
    print(f"Reconstructions: {picture}, and to listen to: {picture.with_suffix('')}")


def measure_music_codec(codec: AudioCodec, recordings: Recordings) -> dict[str, float | int]:
    """Encode and decode every recording from beginning to end.

    Args:
        codec: The codec.
        recordings: What it has not heard; each is brought to a peak of 0.95.

    Returns:
        ``snr`` (dB, mean over recordings) and ``worst_snr``, ``tokens_kept`` (share of tokens,
        0..1, that decoded sound gives again), ``codes_used`` (0..1), ``code_perplexity``, and how
        much there was.
    """
    scorer = codebook_scorer(codec.vocab_size)
    counts, snr, kept, seconds = scorer.init(0), [], [], 0.0
    for number in tqdm(range(len(recordings.names)), desc="test recordings", unit="recording"):
        audio = recordings.audio(number)
        loud = audio * np.float32(PEAK / max(float(np.abs(audio).max()), 1e-5))
        tokens = codec.encode_long(loud)
        made = codec.decode_long(tokens)
        heard = loud[: len(made)]
        error = np.mean((heard - made[: len(heard)]) ** 2)
        snr.append(10 * np.log10(max(np.mean(heard**2), 1e-10) / max(error, 1e-10)))
        kept.append(np.mean(codec.encode_long(made)[: len(tokens)] == tokens))
        counts = scorer.update(counts, scorer.look(tokens[None]), np.zeros(1, int))
        seconds += len(audio) / SAMPLE_RATE
    return {
        "num_test_recordings": len(snr),
        "seconds": seconds,
        "snr": float(np.mean(snr)),
        "worst_snr": float(np.min(snr)),
        "tokens_kept": float(np.mean(kept)),
        **scorer.result(counts),
    }


def _codec(built: MusicCodecTraining, state: TrainState) -> AudioCodec:
    length = built.samples // built.jukebox.options.hops[built.level]
    return AudioCodec(
        built.jukebox,
        built.params(state),
        level=built.level,
        length=length,
        batch_size=built.batch_size,
    )
