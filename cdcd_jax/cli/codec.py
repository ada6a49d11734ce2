"""Train a codec, and measure it on pictures it has not seen."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.cli.evaluate import write_summary
from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.codec_file import save_vqgan
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.patches import fit_patch_codec, save_patches
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.stream import load_pictures
from cdcd_jax.distributed.shard_batch import fetch_whole
from cdcd_jax.evaluation.batches import Share
from cdcd_jax.evaluation.metrics.codebook import codebook_scorer
from cdcd_jax.evaluation.metrics.images.real_images import RealPictures, spread
from cdcd_jax.io import is_first_host, wait_for_hosts
from cdcd_jax.tasks.codec_fit import CodecFit
from cdcd_jax.tasks.codec_training import CodecTraining, trained_codec
from cdcd_jax.tasks.images import Places
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.training.run import run_training
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.stopping import Stopper
from cdcd_jax.visualization.samples import draw_reconstructions, save_picture

NUM_SHOWN = 16
"""Pictures in a picture of reconstructions."""


def train_codec(built: CodecTraining, stopper: Stopper) -> None:
    """Train a codec, write ``codec.safetensors``, and show what it makes of test pictures.

    Args:
        built: What to train, on what, and where it goes.
        stopper: Asked after each step.

    Raises:
        CheckpointError: If something cannot be written.
    """
    size, folder = built.vqgan.options.image_size, built.places.codec_folder
    source = built.test_source
    shown, _ = load_pictures(source, spread(len(source), NUM_SHOWN).tolist(), image_size=size)

    def show(state: TrainState) -> Path:
        path = folder / "reconstructions" / f"step{int(state.step):06d}.png"
        return show_codec(_codec(built, state), shown, path)

    state, position = run_training(built.training, folder, stopper, hook=show)
    last = show(state)
    params = fetch_whole(trained_codec(state))
    if is_first_host():
        with writing(folder):
            save_vqgan(built.places.codec_file, params, built.vqgan.options)
    print(f"Trained {int(state.step)} steps in {position.train_seconds:.0f} s")
    summary = {
        "steps": int(state.step),
        "train_seconds": position.train_seconds,
        "config": built.config,
    }
    _conclude(_codec(built, state), source, size, built.places, last, summary)


def fit_codec(built: CodecFit) -> None:
    """Find a codebook of patches, write ``codec.safetensors``, and show what it makes of pictures.

    Args:
        built: What to fit, to what, and where it goes.

    Raises:
        CheckpointError: If something cannot be written.
    """
    started = time.perf_counter()
    batches = built.train_pictures.batches(
        built.batch_size, title="pictures to fit", everywhere=True
    )
    pictures = np.concatenate([pictures for pictures, _ in batches])
    codec = fit_patch_codec(pictures, **built.options, batch_size=built.batch_size)
    places, config = built.places, built.config
    if is_first_host():
        with writing(places.codec_folder):
            save_patches(places.codec_file, codec)
    print(f"Fitted {codec.vocab_size} codes in {time.perf_counter() - started:.0f} s")
    source, size = built.test_source, built.image_size
    shown, _ = load_pictures(source, spread(len(source), NUM_SHOWN).tolist(), image_size=size)
    picture = places.codec_folder / "reconstructions.png"
    show_codec(codec, shown, picture)
    _conclude(codec, source, size, places, picture, {"config": config})


def show_codec(codec: Codec, pictures: np.ndarray, path: Path) -> Path:
    """Draw some pictures with what a codec makes of them; the first host does."""
    if not is_first_host():
        return path
    made = np.asarray(codec.decode(codec.encode(pictures)))
    picture = draw_reconstructions(pictures / np.float32(255), made)
    with writing(path.parent):
        return save_picture(picture, path)


def _conclude(
    codec: Codec,
    source: Source,
    image_size: int,
    places: Places,
    picture: Path,
    summary: dict[str, Any],
) -> None:
    """Measure a codec, write its summary, and say where everything is; all hosts wait for it."""
    wait_for_hosts(f"codec {places.codec_file}")
    quality = measure_codec(codec, source, image_size)
    write_summary(places.codec_folder, {**quality, "reconstructions": str(picture), **summary})
    print(
        f"{quality['num_test_pictures']} test pictures: PSNR {quality['psnr']:.2f} dB, "
        f"{quality['tokens_kept']:.1%} of the tokens kept when encoded again, "
        f"{quality['codes_used']:.1%} of {codec.vocab_size} codes used, perplexity "
        f"{quality['code_perplexity']:.0f}"
    )
    print(f"Codec:           {places.codec_file}")
    print(f"Reconstructions: {picture}")


def measure_codec(codec: Codec, source: Source, image_size: int) -> dict[str, float | int]:
    """Encode and decode every picture of a source.

    Returns:
        ``psnr`` (dB, mean over pictures), ``tokens_kept`` (share of tokens, 0..1, that a decoded
        picture gives again when it is encoded), ``codes_used`` (0..1) and ``code_perplexity`` on
        these pictures, and their number.
    """
    scorer = codebook_scorer(codec.vocab_size)
    psnr, kept, counts = [], [], scorer.init(Share(len(source), 256, 0, 256))
    every = RealPictures(source, image_size=image_size, limit=len(source))
    for images, labels in every.batches(256, title="test pictures", everywhere=True):
        tokens = np.asarray(codec.encode(images))
        counts = scorer.update(counts, scorer.look(tokens), labels)
        made = np.asarray(codec.decode(tokens))
        error = (made - images / np.float32(255)) ** 2
        again = np.asarray(codec.encode(np.round(255 * made).clip(0, 255).astype(np.uint8)))
        kept.append(np.mean(again == tokens, axis=1))
        psnr.append(-10 * np.log10(np.maximum(error.mean(axis=(1, 2, 3)), 1e-10)))
    return {
        "num_test_pictures": len(source),
        "psnr": float(np.concatenate(psnr).mean()),
        "tokens_kept": float(np.concatenate(kept).mean()),
        **scorer.result(counts),
    }


def _codec(built: CodecTraining, state: TrainState) -> ImageCodec:
    return ImageCodec(built.vqgan, fetch_whole(trained_codec(state)), batch_size=built.batch_size)
