"""The preparation of tokens, from the sections ``data``, ``codec`` and ``prepare``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.data.shards.manifest import Plan
from cdcd_jax.data.shards.prepare_options import check_crops, check_options
from cdcd_jax.data.shards.writer import Views
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.places import Places


class SplitPlan(NamedTuple):
    """A split and how it becomes tokens.

    Attributes:
        plan: What the shards' bytes follow from.
        load_views: ``load_views(index)`` reads what is encoded of an example.
        remarks: Sentences on the split.
        unit: What the progress bar counts.
        num_threads: Threads that read ahead of the encoder.
    """

    plan: Plan
    load_views: Callable[[int], Views]
    remarks: tuple[str, ...] = ()
    unit: str = "images"
    num_threads: int = 4


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The inputs of a preparation of tokens.

    Attributes:
        codec: Turns examples into tokens.
        places: Where the tokens go.
        splits: The plan of each split.
        batch_size: Views that are encoded at once.
        on_bad: What happens to a broken example, ``"stop"`` or ``"skip"``.
    """

    codec: Codec
    places: Places
    splits: dict[str, SplitPlan]
    batch_size: int
    on_bad: str


def check_prepare(config: Any) -> dict[str, Any]:
    """Check the section ``prepare``, but for what only music has; return it.

    Raises:
        ValueError: If a value is wrong.
    """
    section = config.prepare.to_dict()

    def check(function: Callable[..., None], *names: str) -> None:
        make_section(config, "prepare", function, **{name: section[name] for name in names})

    check(check_options, "views", "seed", "shard_size", "batch_size", "on_bad")
    if "crop" in section:
        check(check_crops, "views", "crop", "flip")
    return section
