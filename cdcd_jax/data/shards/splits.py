"""The check that two folders of token shards are the two splits of one preparation."""

from cdcd_jax.data.shards.manifest import AGAIN, Plan
from cdcd_jax.data.shards.token_shards import TokenShards

SHARED = ("fingerprint", "vocab_size", "grid", "image_size")
"""What the plans of both splits have in common."""


def check_splits(train: TokenShards, test: TokenShards) -> str:
    """Check that two folders of shards are the two splits of one preparation.

    Args:
        train: What is trained on.
        test: What is held out.

    Returns:
        A remark if their manifests are too old to say so, or nothing.

    Raises:
        ValueError: If they are swapped, twice the same or of two preparations.
    """
    for shards, split in ((train, "train"), (test, "test")):
        if shards.bond.split not in ("", split):
            raise ValueError(
                f'{shards.folder} holds the split "{shards.bond.split}", and it is read as '
                f'"{split}"; put each in the folder of its name'
            )
    theirs = {name: getattr(test.plan, name) for name in SHARED}
    for name in SHARED:
        if getattr(train.plan, name) != theirs[name]:
            raise ValueError(
                f"{test.folder} was prepared with {name} = {theirs[name]}, and {train.folder} "
                f"with {getattr(train.plan, name)}; prepare both together"
            )
    if _seconds(train.plan) != _seconds(test.plan):
        raise ValueError(
            f"{test.folder} holds pieces of {_seconds(test.plan)} s, and {train.folder} of "
            f"{_seconds(train.plan)} s; prepare both together"
        )
    for shards, other in ((train, test), (test, train)):
        if shards.bond.sibling not in ("", other.plan.digest):
            raise ValueError(
                f"{shards.folder} was not prepared together with {other.folder}, which holds "
                f"{other.plan.source}; {AGAIN} for both"
            )
    if train.bond.split and test.bond.split:
        return ""
    return (
        f"The manifests in {train.folder.parent} do not say which split is which; {AGAIN} to have "
        "it checked"
    )


def _seconds(plan: Plan) -> float | None:
    return None if plan.waveforms is None else plan.waveforms.get("seconds")
