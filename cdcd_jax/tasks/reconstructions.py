"""Reconstructions of test images or recordings by a codec: files and numbers."""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.audio_stream import load_crops
from cdcd_jax.data.dance.recordings import Recordings
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.stream import load_images
from cdcd_jax.evaluation.batches import Share
from cdcd_jax.evaluation.metrics.audio.onsets import mel_decibels
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.evaluation.metrics.images.real_images import RealImages
from cdcd_jax.io import is_first_host
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.samples import draw_reconstructions, save_image
from cdcd_jax.visualization.sounds import show_sounds


class ImageReconstructions:
    """Test images, 16 of which are shown.

    Args:
        source: The images, still encoded.
        image_size: Height and width they are cropped to.
    """

    def __init__(self, source: Source, image_size: int):
        self._source, self._size = source, image_size
        chosen = evenly_spaced(len(source), 16).tolist()
        self._shown, _ = load_images(source, chosen, image_size=image_size)

    def show(self, codec: Codec, path: Path) -> Path:
        """Draw some images with what a codec makes of them; the first host does."""
        if not is_first_host():
            return path
        made = np.asarray(codec.decode(codec.encode(self._shown)))
        image = draw_reconstructions(self._shown / np.float32(255), made)
        with writing(path.parent):
            return save_image(image, path)

    def measure(self, codec: Codec) -> dict[str, float | int]:
        """Encode and decode every image.

        Returns:
            ``psnr`` (dB, mean over images), ``tokens_kept`` (share of tokens, 0..1, that a decoded
            image gives again when it is encoded), ``codes_used`` (0..1) and ``code_perplexity`` on
            these images, and their number.
        """
        source, metric = self._source, codebook_metric(codec.vocab_size)
        psnr, kept, counts = [], [], metric.init(Share(len(source), 256, 0, 256))
        every = RealImages(source, image_size=self._size, limit=len(source))
        for images, labels in every.batches(256, title="test images", everywhere=True):
            tokens = np.asarray(codec.encode(images))
            counts = metric.update(counts, metric.extract(tokens), labels)
            made = np.asarray(codec.decode(tokens))
            error = (made - images / np.float32(255)) ** 2
            again = np.asarray(codec.encode(np.round(255 * made).clip(0, 255).astype(np.uint8)))
            kept.append(np.mean(again == tokens, axis=1))
            psnr.append(-10 * np.log10(np.maximum(error.mean(axis=(1, 2, 3)), 1e-10)))
        return {
            "num_test_images": len(source),
            "psnr": float(np.concatenate(psnr).mean()),
            "tokens_kept": float(np.concatenate(kept).mean()),
            **metric.result(counts),
        }

    def describe(self, quality: dict[str, Any]) -> str:
        """Write what was measured of the images alone, not of the codes."""
        return f"{quality['num_test_images']} test images: PSNR {quality['psnr']:.2f} dB"

    def locate(self, image: Path) -> str:
        """Say where what ``show`` wrote is."""
        return f"{image}"


class SoundReconstructions:
    """Test recordings, 4 of which are shown and can be listened to.

    Args:
        recordings: Held-out recordings.
        samples: Length of what is shown.
    """

    def __init__(self, recordings: Recordings, samples: int):
        self._recordings = recordings
        chosen = evenly_spaced(len(recordings.names), 4)
        self._names = [recordings.names[int(number)] for number in chosen]
        self._shown = load_crops(recordings, chosen, samples)

    def show(self, codec: Codec, path: Path) -> Path:
        """Draw some recordings and what a codec makes of them, and write them as sounds."""
        made = codec.decode(codec.encode(self._shown))
        return show_sounds(path, {"real": self._shown, "through the codec": made}, self._names)

    def measure(self, codec: Any) -> dict[str, float | int]:
        """Encode and decode every recording from beginning to end.

        Returns:
            ``snr`` (dB, mean over recordings; of no meaning for a codec without phases) and
            ``worst_snr``, ``decibels_off`` (mean difference of mel spectra, dB), ``tokens_kept``
            (share of tokens, 0..1, that decoded sound gives again), ``codes_used`` (0..1),
            ``code_perplexity``, and how much there was.
        """
        recordings, metric = self._recordings, codebook_metric(codec.vocab_size)
        counts, snr, kept, off, seconds = metric.init(Share(0, 1, 0, 1)), [], [], [], 0.0
        numbers, hidden = range(len(recordings.names)), not is_first_host()
        for number in tqdm(numbers, desc="test recordings", unit="recording", disable=hidden):
            audio = recordings.audio(number)
            tokens = codec.encode_long(audio)
            made = codec.decode_long(tokens)
            heard = audio[: len(made)]
            error = np.mean((heard - made[: len(heard)]) ** 2)
            snr.append(10 * np.log10(max(np.mean(heard**2), 1e-10) / max(error, 1e-10)))
            off.append(np.abs(mel_decibels(heard) - mel_decibels(made[: len(heard)])).mean())
            kept.append(np.mean(codec.encode_long(made)[: len(tokens)] == tokens))
            counts = metric.update(counts, metric.extract(tokens[None]), np.zeros(1, int))
            seconds += len(audio) / SAMPLE_RATE
        return {
            "num_test_recordings": len(snr),
            "seconds": seconds,
            "snr": float(np.mean(snr)),
            "worst_snr": float(np.min(snr)),
            "decibels_off": float(np.mean(off)),
            "tokens_kept": float(np.mean(kept)),
            **metric.result(counts),
        }

    def describe(self, quality: dict[str, Any]) -> str:
        """Write what was measured of the sounds alone, not of the codes."""
        return (
            f"{quality['num_test_recordings']} test recordings, {quality['seconds']:.0f} s: "
            f"SNR {quality['snr']:.2f} dB (worst {quality['worst_snr']:.2f}), spectra off by "
            f"{quality['decibels_off']:.1f} dB"
        )

    def locate(self, image: Path) -> str:
        """Say where what ``show`` wrote is."""
        return f"{image}, and to listen to: {image.with_suffix('')}"
