"""Turn pictures into token shards."""

import jax

from cdcd_jax.build.preparation import Preparation
from cdcd_jax.data.prepare import prepare
from cdcd_jax.training.checkpoints import writing


def prepare_tokens(preparation: Preparation) -> None:
    """Encode the pictures of both splits; what an earlier call has finished is kept.

    Args:
        preparation: What to encode, with what, and where to.

    Raises:
        ImageError: If a picture cannot be decoded.
        CheckpointError: If the shards cannot be written.
        ValueError: If the folder holds shards of another plan.
    """
    codec = preparation.codec
    for split, source in preparation.sources.items():
        folder = preparation.places.tokens / split
        with writing(folder):
            done = prepare(
                source,
                codec.encode,
                folder,
                fingerprint=codec.fingerprint,
                vocab_size=codec.vocab_size,
                grid=codec.grid,
                image_size=preparation.image_size,
                process_index=jax.process_index(),
                num_processes=jax.process_count(),
                **preparation.options[split],
            )
        print(f"Tokens: {folder}, {done.num_complete} of {done.num_shards} shards")
