"""The mode that fits or trains a codec and measures it on held-out data."""

import time
from pathlib import Path

from cdcd_jax.cli.evaluate import write_summary
from cdcd_jax.codecs.codec import Codec
from cdcd_jax.io import is_first_host, wait_for_hosts
from cdcd_jax.tasks.codec_run import CodecRun
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.training.run import run_training
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.stopping import Stopper


def make_codec(run: CodecRun, stopper: Stopper) -> None:
    """Make a codec, write ``codec.safetensors``, and show what it makes of test data.

    Args:
        run: How it is made, of what, and where it goes.
        stopper: Checked after each step of a training.

    Raises:
        CheckpointError: If something cannot be written.
    """
    folder, file, test = run.places.codec_folder, run.places.codec_file, run.read_test()
    if run.fit is not None:
        started = time.perf_counter()
        codec, steps = run.fit(), {}
        _save(run, codec)
        print(f"Fitted {codec.vocab_size} codes in {time.perf_counter() - started:.0f} s")
        image = test.show(codec, folder / "reconstructions.png")
    else:
        assert run.training is not None
        assert run.codec_of is not None
        codec_of = run.codec_of

        def show(state: TrainState) -> Path:
            path = folder / "reconstructions" / f"step{int(state.step):06d}.png"
            return test.show(codec_of(state), path)

        state, position = run_training(run.training, folder, stopper, hook=show)
        image, codec = show(state), codec_of(state)
        _save(run, codec)
        print(f"Trained {int(state.step)} steps in {position.train_seconds:.0f} s")
        steps = {"steps": int(state.step), "train_seconds": position.train_seconds}
    wait_for_hosts(f"codec {file}")
    quality = test.measure(codec)
    summary = {**quality, "reconstructions": str(image), **steps, "config": run.config}
    write_summary(folder, summary)
    print(
        f"{test.describe(quality)}, {quality['tokens_kept']:.1%} of the tokens kept when encoded "
        f"again, {quality['codes_used']:.1%} of {codec.vocab_size} codes used, perplexity "
        f"{quality['code_perplexity']:.0f}"
    )
    print(f"Codec:           {file}")
    print(f"Reconstructions: {test.locate(image)}")


def _save(run: CodecRun, codec: Codec) -> None:
    if is_first_host():
        with writing(run.places.codec_folder):
            run.save(codec, run.places.codec_file)
