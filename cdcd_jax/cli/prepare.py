"""Turn pictures or music into token shards."""

from functools import partial

import jax

from cdcd_jax.data.dance.views import load_piece
from cdcd_jax.data.shards.manifest import Bond, Plan
from cdcd_jax.data.shards.prepare import plan_images, prepare, prepare_views
from cdcd_jax.io import is_first_host, wait_for_hosts
from cdcd_jax.tasks.preparation import MusicPreparation, Preparation

VARIED = ("views", "crop", "flip", "seed", "shard_size")
"""Options of the section ``prepare`` that the shards' bytes follow from."""


def prepare_tokens(preparation: Preparation) -> None:
    """Encode the pictures of both splits; what an earlier call has finished is kept.

    Args:
        preparation: What to encode, with what, and where to.

    Raises:
        ImageError: If a picture cannot be decoded.
        ValueError: If the shards cannot be written or the folder holds shards of another plan.
    """
    codec, sources = preparation.codec, preparation.sources
    common = {
        "fingerprint": codec.fingerprint,
        "vocab_size": codec.vocab_size,
        "grid": codec.grid,
        "image_size": preparation.image_size,
    }
    plans = {}
    for split, source in sources.items():
        varied = {name: preparation.options[split][name] for name in VARIED}
        plans[split] = plan_images(source, **common, **varied)
    for split, source in sources.items():
        folder = preparation.places.tokens / split
        done = prepare(
            source,
            codec.encode,
            folder,
            bond=_bond(split, plans),
            process_index=jax.process_index(),
            num_processes=jax.process_count(),
            progress=is_first_host(),
            **common,
            **preparation.options[split],
        )
        # Whichever host is last publishes the folder; nobody reads it before.
        wait_for_hosts(f"prepared {split}")
        print(f"Tokens: {folder}, {done.num_shards} shards")


def prepare_music(preparation: MusicPreparation) -> None:
    """Encode the music of both splits, and keep its dances beside it.

    Args:
        preparation: What to encode, with what, and where to.

    Raises:
        ValueError: If a piece is silent or damaged, the shards cannot be written, or the folder
            holds shards of another plan.
    """
    codec = preparation.codec
    plans = {
        split: Plan(
            fingerprint=codec.fingerprint,
            source=segments.name,
            source_fingerprint=segments.fingerprint,
            num_images=len(segments),
            class_names=segments.genre_names,
            vocab_size=codec.vocab_size,
            grid=codec.grid,
            views=preparation.plans[split].views + preparation.plans[split].shuffles,
            seed=preparation.seed,
            shard_size=preparation.shard_size,
            waveforms=preparation.plans[split]._asdict(),
        )
        for split, segments in preparation.segments.items()
    }
    for split, segments in preparation.segments.items():
        folder, waveforms = preparation.places.tokens / split, preparation.plans[split]
        for remark in segments.remarks:
            print(remark)
        done = prepare_views(
            partial(load_piece, segments, waveforms, preparation.seed),
            codec.encode,
            folder,
            plans[split],
            bond=_bond(split, plans),
            unit="pieces",
            num_threads=1,  # consecutive pieces are of one dance, which is read once
            process_index=jax.process_index(),
            num_processes=jax.process_count(),
            progress=is_first_host(),
            **preparation.options,
        )
        wait_for_hosts(f"prepared {split}")
        print(f"Tokens: {folder}, {done.num_shards} shards")


def _bond(split: str, plans: dict[str, Plan]) -> Bond:
    """Bind a split to the other of two."""
    (sibling,) = (plan.digest for other, plan in plans.items() if other != split)
    return Bond(split, sibling)
