"""Kinds of codecs: entries of the table ``CODECS``."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import jax

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.data.images.sources import Source
from cdcd_jax.io import atomic_write
from cdcd_jax.settings.keys import Keys
from cdcd_jax.settings.sections import TRAIN_MUTABLE_KEYS
from cdcd_jax.tasks.reconstructions import ImageReconstructions, SoundReconstructions
from cdcd_jax.training.loop import BatchIterator
from cdcd_jax.training.state import TrainState
from cdcd_jax.training.step import Objective
from cdcd_jax.typing import Params, PRNGKey

FIT = ("codec_fit",)
"""Sections of a codec that is fitted in one pass over the data."""

TRAIN = ("codec_loss", "codec_optimizer", "codec_train")
"""Sections of a codec that is trained step by step."""

TRAIN_KEYS = Keys.of("seed", "batch_size", *TRAIN_MUTABLE_KEYS)
"""Keys that ``codec_train`` has whatever the codec."""


class MakeBatches(Protocol):
    """A function that opens the stream of a codec's training batches."""

    def __call__(
        self,
        *,
        batch_size: int,
        seed: int,
        process_index: int,
        num_processes: int,
        num_threads: int,
        prefetch: int,
    ) -> BatchIterator:
        """Return the stream at its start."""
        ...


class CodecTraining(NamedTuple):
    """The objective and optimizer that train a codec.

    Attributes:
        objective: What a step minimises.
        init_params: Makes the parameters.
        init_stats: Makes what moves without a gradient, such as a codebook.
        batch: The form of a batch.
        make_batches: Opens the stream.
        codec: Makes the codec of a state.
    """

    objective: Objective
    init_params: Callable[[PRNGKey], Params]
    init_stats: Callable[[PRNGKey], Any]
    batch: dict[str, jax.ShapeDtypeStruct]
    make_batches: MakeBatches
    codec: Callable[[TrainState], Codec]


class CodecFamily:
    """A kind of codec that ``codec.name`` names.

    Sentences of errors begin with a key of the section ``codec``, which then gets its name, or
    with ``section.key``.

    Attributes:
        data: What it codes. Codecs of ``"arrays"`` need no preparation.
        sections: Sections that making it reads, besides ``codec``: ``FIT``, ``TRAIN``, or none for
            a codec without weights.
        keys: Keys of the sections ``codec``, ``codec_fit``, ``codec_loss`` and ``codec_train``,
            where it has them.
    """

    data: ClassVar[Literal["arrays", "images", "music"]] = "images"
    sections: ClassVar[tuple[str, ...]] = ()
    keys: ClassVar[Mapping[str, Keys]]

    def shape(self, config: Any) -> tuple[int, tuple[int, int]]:
        """Return K, the number of tokens, and their grid, before there is a codec."""
        raise NotImplementedError

    def load(self, config: Any, file: Path) -> Codec:
        """Load the codec.

        Args:
            config: The whole configuration.
            file: What ``save`` or ``export`` wrote; ``codec.weights`` may name another.

        Returns:
            The codec.

        Raises:
            ValueError: If the file is missing, damaged, or of another architecture.
        """
        raise NotImplementedError

    def make(self, config: Any, data: Any) -> Callable[[], Codec] | CodecTraining:
        """Return what fits the codec in one pass, or what it is trained by.

        Args:
            config: The whole configuration.
            data: The training set: a ``Source`` of images, or ``Recordings``. A plan gives None: it
                opens no stream.
        """
        raise ValueError(f'codec.name = "{config.codec.name}" has no codec to train')

    def save(self, codec: Any, path: Path) -> None:
        """Write a codec that was made to a file that describes itself."""
        raise NotImplementedError

    def export(self, config: Any, file: Path, path: Path) -> None:
        """Write the codec of a run to a file that ``load`` reads without ``codec.weights``."""
        if self.sections:
            with atomic_write(path) as part:
                shutil.copyfile(file, part)

    def stages(self, config: Any) -> tuple[str, ...]:
        """List the sections that making codec and tokens reads."""
        prepare = () if self.data == "arrays" else ("prepare",)
        return prepare if config.codec.get("weights") else (*prepare, *self.sections)

    def example_bytes(self, config: Any) -> int:
        """Count the bytes of an example to encode."""
        return config.codec.image_size**2 * 3

    def training_size(self, config: Any) -> tuple[int, int, tuple[str, ...]]:
        """Estimate what training takes: bytes of an example, parameters, and the keys of these."""
        raise NotImplementedError

    def reconstructions(
        self, config: Any, test: Any
    ) -> ImageReconstructions | SoundReconstructions:
        """Read the test examples that show what the codec makes of data.

        Args:
            config: The whole configuration.
            test: The test set.
        """
        assert isinstance(test, Source)
        return ImageReconstructions(test, config.codec.image_size)


def take_options(section: Any, options: type[Any]) -> dict[str, Any]:
    """Read the fields of a dataclass of options from a section."""
    return {field.name: section[field.name] for field in fields(options) if field.name in section}


def check_made(file: Path) -> None:
    """Raise a ValueError unless there is the file of a codec."""
    if not file.exists():
        raise ValueError(
            f"there is no codec {file}; train one with --mode=codec, or name "
            "published weights with --config.codec.weights=FILE"
        )


def check_same(file: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the codec in a file has the options of a configuration."""
    differing = [
        f"{name} = {theirs[name]!r} there, {value!r} now"
        for name, value in ours.items()
        if name != "compute_dtype" and theirs[name] != value  # which changes no weight
    ]
    if differing:
        raise ValueError(
            f"{file} is another codec ({'; '.join(differing)}); give another folder, or those "
            "values"
        )
