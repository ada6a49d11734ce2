"""Checks that a configuration fits into the memory of this machine, before allocation.

Every estimate is a lower bound, so that nothing is refused that would work; what fits here may
still be too much for a step, which ``--mode=plan`` computes.
"""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codecs import codec_shape, find_codec
from cdcd_jax.training.objective import count_batch_negatives

FLOAT = INT = 4
"""Bytes of a number."""

COPIES = 4
"""Arrays as large as the parameters in the state of a run: themselves, average and two moments."""

SCHEDULE = 96
"""Bytes for each step of a noise schedule: tables of twelve float64, at least."""

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files in which Linux says how much memory a container may have."""


class Memory(NamedTuple):
    """The memory of a machine, in bytes.

    Attributes:
        host: Of the host.
        device: Of one device; on CPUs, of the host.
    """

    host: int
    device: int


class Need(NamedTuple):
    """The memory that some values of a configuration take.

    Attributes:
        what: What it is for.
        size: Bytes, at least.
        values: The values that it follows from, by ``section.key``.
        where: Whose memory it is.
    """

    what: str
    size: int
    values: Mapping[str, Any]
    where: Literal["host", "device"] = "host"


def find_memory() -> Memory:
    """Find out the memory of this machine, or of the container that this process is in."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in map(Path, LIMITS):
        limit = path.read_text().strip() if path.is_file() else ""
        host = min(host, int(limit)) if limit.isdigit() else host
    stats = jax.local_devices()[0].memory_stats() or {}
    return Memory(host, stats.get("bytes_limit", host))


def check_needs(needs: Iterable[Need], memory: Memory | None = None) -> None:
    """Raise a ValueError for the first need that exceeds the memory.

    Args:
        needs: What a run takes.
        memory: What there is; this machine's if None.

    >>> batch = Need("a batch", 4 * 10**12, {"train.batch_size": 10**9})
    >>> check_needs([batch], Memory(24 * 10**9, 24 * 10**9))
    Traceback (most recent call last):
    ...
    ValueError: train.batch_size = 1000000000: a batch takes 4.0 TB of host memory, and this machine has 24 GB; take less
    """  # noqa: E501
    memory = find_memory() if memory is None else memory
    for what, size, values, where in needs:
        if size > getattr(memory, where):
            product = ", ".join(f"{key} = {value}" for key, value in values.items())
            raise ValueError(
                f"{product}: {what} takes {_bytes(size)} of {where} memory, and this "
                f"{'machine' if where == 'host' else 'device'} has "
                f"{_bytes(getattr(memory, where))}; take less"
            )


def check_state(config: Any, state: Any, memory: Memory | None = None) -> None:
    """Raise a ValueError unless the arrays of a run's state fit into its devices.

    Args:
        config: The whole configuration.
        state: Shapes of the state's arrays.
        memory: What there is; this machine's if None.
    """
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    names = ("denoiser.width", "denoiser.num_layers")
    need = Need("the state of the run", size // _shards(config), _take(config, *names), "device")
    check_needs([need], memory)


def training_needs(config: Any) -> list[Need]:
    """List what the training of a diffusion, its samples and its evaluation take at least.

    Args:
        config: A configuration that ``check_settings`` passes.

    Returns:
        The needs.
    """
    vocab_size, grid = codec_shape(config)
    length, denoiser, loss, train = math.prod(grid), config.denoiser, config.loss, config.train
    kinds = (loss.mechanism, loss.negatives, loss.num_negatives)
    negatives = make_section(config, "loss", count_batch_negatives, *kinds)
    rows = train.batch_size // jax.process_count() * (1 + negatives)
    keys = ("train.batch_size", *(("loss.num_negatives",) if negatives else ()))
    width, layers = denoiser.width, denoiser.num_layers
    size = layers * (4 + 2 * denoiser.mlp_ratio) * width**2 + 2 * vocab_size * width
    table = 0 if denoiser.get("timestep") == "sinusoidal" else config.schedule.num_steps * width
    network = ("denoiser.num_layers", "denoiser.width", "denoiser.mlp_ratio")
    at_once = -(-train.batch_size // train.num_microbatches) // jax.device_count()
    positions = min(loss.positions_per_pass or length, length)
    return [
        Need("a batch of tokens", rows * length * INT, _take(config, *keys)),
        _ahead("batches of tokens", config, rows * length * INT, keys),
        Need(
            "the noise schedule",
            config.schedule.num_steps * SCHEDULE,
            _take(config, "schedule.num_steps"),
        ),
        Need(
            "the network with its average and its optimizer",
            COPIES * FLOAT * size // _shards(config),
            _take(config, *network),
            "device",
        ),
        Need(
            "the table of timesteps",
            COPIES * FLOAT * table // _shards(config),
            _take(config, "schedule.num_steps", "denoiser.width"),
            "device",
        ),
        Need(
            "the negatives of a batch",
            0 if loss.mechanism == "none" else at_once * loss.num_negatives * length * INT,
            _take(config, "train.batch_size", "loss.num_negatives"),
            "device",
        ),
        Need(
            "a layer's activations",
            at_once * length * width * 2,
            _take(config, "train.batch_size", "denoiser.width"),
            "device",
        ),
        Need(
            "the network's output for a batch",
            at_once * positions * vocab_size * FLOAT,
            _take(config, "train.batch_size"),
            "device",
        ),
        *sample_needs(_take(config, "eval.batch_size"), vocab_size=vocab_size, length=length),
        *sample_needs(_take(config, "sample.num_samples"), vocab_size=vocab_size, length=length),
    ]


def preparation_needs(config: Any) -> list[Need]:
    """List what encoding all data takes at least; nothing where pixels are tokens."""
    family = find_codec(config)
    if family.data == "arrays":
        return []
    size = family.example_bytes(config)
    return [
        Need(f"a batch to {verb}", config[section].batch_size * size,
             _take(config, f"{section}.batch_size"))
        for section, verb in (("prepare", "encode"), ("codec", "decode"))
        if "batch_size" in config[section]
    ]  # fmt: skip


def codec_needs(config: Any) -> list[Need]:
    """List what the training of a codec takes at least; nothing where none is trained."""
    family = find_codec(config)
    if "codec_train" not in family.stages(config):
        return []
    example, size, keys = family.training_size(config)
    rows = config.codec_train.batch_size // jax.process_count()
    book = _take(config, "codec.num_codes", "codec.code_dim")
    return [
        Need("a batch of the codec", rows * example, _take(config, "codec_train.batch_size")),
        _ahead("batches of the codec", config, rows * example, ("codec_train.batch_size",)),
        Need("the codec with its optimizer", COPIES * FLOAT * size, _take(config, *keys), "device"),
        Need("the codebook", COPIES * FLOAT * math.prod(book.values()), book, "device"),
    ]


def _ahead(what: str, config: Any, size: int, keys: Iterable[str]) -> Need:
    ahead = config.data.prefetch if config.data.num_threads else 0
    values = _take(config, *keys, "data.prefetch")
    return Need(f"reading {what} ahead", (ahead + 1) * size, values)


def sample_needs(values: Mapping[str, int], *, vocab_size: int, length: int) -> list[Need]:
    """List what samples that are drawn at once take at least.

    Args:
        values: Their number, by the name that it has for the user.
        vocab_size: K, the number of tokens.
        length: Tokens of a sample.
    """
    (rows,) = values.values()
    size = rows * length * vocab_size * FLOAT // jax.device_count()
    return [
        Need("a batch of samples", rows * length * INT, values),
        Need("the network's output for a batch of samples", size, values, "device"),
    ]


def _shards(config: Any) -> int:
    """Count the devices that parameters are split over."""
    return config.mesh.fsdp * config.mesh.tensor


def _take(config: Any, *names: str) -> dict[str, Any]:
    """Look up values by ``section.key``."""
    return {name: config[name.split(".")[0]][name.split(".")[1]] for name in names}


def _bytes(size: int) -> str:
    """Write a number of bytes.

    >>> _bytes(4_400_000_000_000), _bytes(24_600_000_000)
    ('4.4 TB', '25 GB')
    """
    power = min((len(str(size)) - 1) // 3, 8)
    number = size / 1000**power
    return f"{number:.{number < 10:d}f} {('', 'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y')[power]}B"
