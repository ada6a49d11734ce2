"""The mode that encodes data into token shards."""

import jax

from cdcd_jax.data.shards.manifest import Bond
from cdcd_jax.data.shards.prepare import prepare_views
from cdcd_jax.io import is_first_host, wait_for_hosts
from cdcd_jax.tasks.preparation import Preparation


def prepare_tokens(preparation: Preparation) -> None:
    """Encode both splits; what an earlier call has finished is kept.

    Args:
        preparation: What to encode, with what, and where to.

    Raises:
        ImageError: If an image cannot be decoded.
        ValueError: If an example is damaged, the shards cannot be written, or the folder holds
            shards of another plan.
    """
    for split, (plan, load_views, remarks, unit, num_threads) in preparation.splits.items():
        folder = preparation.places.tokens / split
        for remark in remarks:
            print(remark)
        (other,) = (each.plan for name, each in preparation.splits.items() if name != split)
        done = prepare_views(
            load_views,
            preparation.codec.encode,
            folder,
            plan,
            bond=Bond(split, other.digest),
            unit=unit,
            num_threads=num_threads,
            batch_size=preparation.batch_size,
            on_bad=preparation.on_bad,
            process_index=jax.process_index(),
            num_processes=jax.process_count(),
            progress=is_first_host(),
        )
        # The last host publishes the folder, which is not read before.
        wait_for_hosts(f"prepared {split}")
        print(f"Tokens: {folder}, {done.num_shards} shards")
