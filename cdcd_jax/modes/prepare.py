"""Turn pictures into token shards."""

import jax
from jax.experimental.multihost_utils import sync_global_devices

from cdcd_jax.build.preparation import Preparation
from cdcd_jax.data.prepare import prepare


def prepare_tokens(preparation: Preparation) -> None:
    """Encode the pictures of both splits; what an earlier call has finished is kept.

    Args:
        preparation: What to encode, with what, and where to.

    Raises:
        ImageError: If a picture cannot be decoded.
        ValueError: If the shards cannot be written or the folder holds shards of another plan.
    """
    codec = preparation.codec
    for split, source in preparation.sources.items():
        folder = preparation.places.tokens / split
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
        # Whichever host is last publishes the folder; nobody reads it before.
        sync_global_devices(f"prepared {split}")
        print(f"Tokens: {folder}, {done.num_complete} of {done.num_shards} shards")
