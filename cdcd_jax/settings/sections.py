"""Sections of a configuration that all experiments share."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from jax.sharding import Mesh

from cdcd_jax.distributed.mesh import AXES, check_batch_size, make_mesh
from cdcd_jax.distributed.partition import Rule
from cdcd_jax.training.loop import LoopOptions
from cdcd_jax.training.optimizer import Optimizer, make_optimizer

T = TypeVar("T")

MUTABLE_KEYS = (
    "codec.batch_size",
    "codec.folder",
    "codec.used_codes",
    "codec.weights",
    "condition.merges",
    "condition.weights",
    "data.num_threads",
    "data.path",
    "data.prefetch",
    "data.synthetic",
    "data.tokens",
    "denoiser.attention",
    "denoiser.remat",
    "loss.chains_per_pass",
    "loss.positions_per_pass",
)
"""Keys of any section that may change between two parts of a run: places, speed and memory."""

TRAIN_MUTABLE_KEYS = (
    "num_steps",
    "num_microbatches",
    "max_skipped",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "sample_every",
)
"""Keys of the sections on training that may. If the learning rate's cosine ends with the run,
``decay_steps`` says when."""


def make_section(
    config: Any, name: str, make: Callable[..., T], /, *args: Any, **options: Any
) -> T:
    """Call a constructor for a section; a fault gets the section's name if it has none."""
    try:
        return make(*args, **options)
    except (ValueError, OSError) as error:
        sentence = str(error)
        named = re.match(r"(\w+)[.:]", sentence)
        if named and named[1] in config:
            raise
        key = re.match(r"\w+", sentence)
        joint = "." if key and key[0] in config[name] else ": "
        raise ValueError(f"{name}{joint}{sentence}") from error


def plain(config: Any) -> dict[str, Any]:
    """Return a configuration as JSON types."""
    return json.loads(config.to_json_best_effort())


def flatten_values(config: Any, sections: Iterable[str] | None = None) -> dict[str, Any]:
    """Name each value, as JSON types, by ``section.key``; of all sections unless some are named."""
    everything = plain(config)
    names = everything if sections is None else sections
    return {f"{name}.{key}": value for name in names for key, value in everything[name].items()}


def compatibility_values(
    config: Any, sections: Sequence[str], *, train: str, optimizer: str
) -> dict[str, Any]:
    """Flatten what must not change between two parts of a run.

    Args:
        config: The whole configuration.
        sections: Names of the sections that the run depends on.
        train: Name of the one on training.
        optimizer: Name of the one on the optimizer.

    Returns:
        Values by ``section.key``.
    """
    flat = flatten_values(config, sections)
    if config[optimizer].decay == "cosine" and config[optimizer].decay_steps is None:
        flat[f"{optimizer}.decay_steps"] = config[train].num_steps
    ignored = {*find_mutable_keys(train)}
    if config[optimizer].decay == "wsd":  # the fall of a longer run comes later
        ignored |= {f"{optimizer}.decay_steps", f"{optimizer}.cooldown_steps"}
    return {key: value for key, value in flat.items() if key not in ignored}


def find_mutable_keys(train: str) -> frozenset[str]:
    """List the keys, ``section.key``, that may change between two parts of a run.

    Args:
        train: Name of the section on training.

    Returns:
        The keys.

    >>> "codec_train.num_steps" in find_mutable_keys("codec_train")
    True
    """
    return frozenset({*MUTABLE_KEYS, *(f"{train}.{key}" for key in TRAIN_MUTABLE_KEYS)})


def make_decaying_optimizer(
    *, num_steps: int, decay_steps: int | None, **options: Any
) -> Optimizer:
    """Build an optimizer whose rate ends with the run unless ``decay_steps`` is given."""
    return make_optimizer(num_steps=num_steps if decay_steps is None else decay_steps, **options)


def find_mesh(config: Any) -> Mesh:
    """Arrange all devices as the section ``mesh`` says."""
    sizes = {name: config.mesh[name] for name in AXES}
    return make_section(config, "mesh", make_mesh, **sizes)


def find_rules(config: Any, name: str = "rules") -> tuple[Rule, ...]:
    """Read the partition rules of parameters from the section ``mesh``.

    Args:
        config: The whole configuration.
        name: ``"rules"`` for the denoiser and its condition, ``"codec_rules"`` for a codec.

    Returns:
        What ``shard_state`` takes.

    Raises:
        ValueError: If one is not a pair of a regular expression and axes.
    """
    for rule in config.mesh[name]:
        pair = isinstance(rule, tuple | list) and len(rule) == 2
        if not pair or not isinstance(rule[0], str) or not isinstance(rule[1], tuple | list):
            raise ValueError(
                f"mesh.{name}: {rule!r} must be a regular expression and the mesh axes of an "
                'array\'s last axes, as in ("to_logits.kernel", ("fsdp", None))'
            )
    return tuple((pattern, tuple(axes)) for pattern, axes in config.mesh[name])


def make_loop(train: Any, mesh: Mesh) -> LoopOptions:
    """Check a section on training and take the loop's options from it."""
    check_batch_size(train.batch_size, mesh, num_microbatches=train.num_microbatches)
    if not 0 <= train.seed < 2**32:
        raise ValueError(f"seed = {train.seed} must be in 0..2**32-1")
    if train.keep_checkpoints < 1:
        raise ValueError(f"keep_checkpoints = {train.keep_checkpoints} must be at least 1")
    return LoopOptions(
        num_steps=train.num_steps,
        log_every=train.log_every,
        checkpoint_every=train.checkpoint_every,
        sample_every=train.sample_every,
    )
