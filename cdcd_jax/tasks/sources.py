"""Data sets as ``data.name`` names them: entries of the table ``SOURCES``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cdcd_jax.registry import SOURCES
from cdcd_jax.settings.sections import make_section


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set, an entry of the table ``SOURCES``.

    Attributes:
        tasks: Subclasses of ``Task`` that it can be used for; the first that provides what the
            condition needs is taken.
        load: ``load(config, split)``, where ``split`` is ``"train"`` or ``"test"``. Returns what
            the task reads: ``TokenSet`` for token arrays, a ``Source`` for images, ``Dances`` for
            dance to music. A ValueError that begins with a key of ``data`` is reported with its
            name.
        keys: Keys of the section ``data`` that it needs besides those of its tasks.
        abstract: ``abstract(config) -> TokenData``: random tokens and conditions of the right
            shapes, where a plan is made without the files. None reads the data set itself.
    """

    tasks: tuple[type[Any], ...]
    load: Callable[[Any, str], Any]
    keys: tuple[str, ...] = ()
    abstract: Callable[[Any], Any] | None = None


def load_split(config: Any, split: str) -> Any:
    """Open a split of the data set of a configuration.

    Args:
        config: The whole configuration.
        split: ``"train"`` or ``"test"``.

    Returns:
        What ``DataSet.load`` returns.

    Raises:
        ValueError: If it is not there; the sentence names ``data`` and the way out.
    """
    data_set: DataSet = SOURCES.find(config.data.name, "data.name")
    return make_section(config, "data", data_set.load, config, split)


def split_name(data: Any, split: str) -> str:
    """Return what the data set itself calls a split."""
    return data.train_split if split == "train" else data.test_split


def require_path(data: Any, where: str, example: str) -> str:
    """Return ``data.path``.

    Args:
        data: The section ``data``.
        where: What is there, for the sentence of an error.
        example: A path.

    Raises:
        ValueError: If it is not given.
    """
    if data.path is None:
        raise ValueError(
            f"path is not given; name where {where}, as in --config.data.path={example}"
        )
    return data.path
