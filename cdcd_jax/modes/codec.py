"""Train a codec, and measure it on pictures it has not seen."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdcd_jax.build.codec_training import CodecTraining, trained_codec
from cdcd_jax.codecs.codec_file import save_vqgan
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.data.image_stream import load_pictures
from cdcd_jax.evaluation.codebook import codebook_scorer
from cdcd_jax.evaluation.pictures import draw_reconstructions, save_picture
from cdcd_jax.modes.diffusion import write_summary
from cdcd_jax.training.checkpoints import writing
from cdcd_jax.training.run import run_training
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.stopping import Stopper

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
    spread = np.linspace(0, len(built.test_source) - 1, NUM_SHOWN).astype(int)
    shown, _ = load_pictures(built.test_source, spread.tolist(), image_size=size)

    def show(state: TrainState) -> Path:
        codec = _codec(built, state)
        made = np.asarray(codec.decode(codec.encode(shown)))
        picture = draw_reconstructions(shown / np.float32(255), made)
        with writing(folder):
            return save_picture(
                picture, folder / "reconstructions" / f"step{int(state.step):06d}.png"
            )

    state, position = run_training(built.training, folder, stopper, hook=show)
    last = show(state)
    with writing(folder):
        save_vqgan(built.places.codec_file, trained_codec(state), built.vqgan.options)
    quality = measure_codec(built, _codec(built, state))
    write_summary(
        folder,
        {
            "steps": int(state.step),
            "train_seconds": position.train_seconds,
            **quality,
            "reconstructions": str(last),
            "config": built.config,
        },
    )
    print(
        f"{quality['num_test_pictures']} test pictures: PSNR {quality['psnr']:.2f} dB, "
        f"{quality['tokens_kept']:.1%} of the tokens kept when encoded again, "
        f"{quality['codes_used']:.1%} of {built.vqgan.options.num_codes} codes used, perplexity "
        f"{quality['code_perplexity']:.0f}"
    )
    print(f"Trained {int(state.step)} steps in {position.train_seconds:.0f} s")
    print(f"Codec:           {built.places.codec_file}")
    print(f"Reconstructions: {last}")


def measure_codec(built: CodecTraining, codec: ImageCodec) -> dict[str, float]:
    """Encode and decode every test picture.

    Returns:
        ``psnr`` (dB, mean over pictures), ``tokens_kept`` (share of tokens, 0..1, that a decoded
        picture gives again when it is encoded), ``codes_used`` (0..1) and ``code_perplexity`` on
        the test pictures, and their number.
    """
    size, batch_size = built.vqgan.options.image_size, 256
    source = built.test_source
    scorer = codebook_scorer(codec.vocab_size)
    psnr, kept, counts = [], [], scorer.init(len(source))
    for start in tqdm(range(0, len(source), batch_size), desc="test pictures", unit="batch"):
        rows = range(start, min(start + batch_size, len(source)))
        images, _ = load_pictures(source, rows, image_size=size)
        tokens = np.asarray(codec.encode(images))
        counts = scorer.update(counts, scorer.look(tokens), np.zeros(len(tokens), int))
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
    return ImageCodec(built.vqgan, trained_codec(state), batch_size=built.batch_size)
