"""Plain tokens, which need no preparation: the digits, and arrays in files."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdcd_jax.data.batch import TokenExamples, check_tokens
from cdcd_jax.data.token_arrays import (
    TRAIN_LABELS,
    digest_arrays,
    read_class_names,
    read_labels,
    read_tokens,
)
from cdcd_jax.data.toy import digits
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.registry import register
from cdcd_jax.settings.keys import Keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codecs import load_codec
from cdcd_jax.tasks.conditions import ConditionedData
from cdcd_jax.tasks.places import SPLITS, Places
from cdcd_jax.tasks.preparation import Preparation
from cdcd_jax.tasks.scoring import Scoring
from cdcd_jax.tasks.sources import DataSet, load_split, require_path
from cdcd_jax.tasks.task import EVAL_KEYS, STREAM_KEYS, Task
from cdcd_jax.tasks.token_data import TokenData, check_classes


class TokenSet(NamedTuple):
    """A split of tokens that are in memory, or mapped into it.

    Attributes:
        examples: The tokens and their classes.
        class_names: Name of each class.
        grid: Rows and columns of the tokens; None where any that have so many tokens will do.
        fingerprint: Changes with the tokens; empty where the name of the set says it all.
    """

    examples: TokenExamples
    class_names: tuple[str, ...]
    grid: tuple[int, int] | None = None
    fingerprint: str = ""


class TokenTask(Task):
    """Tokens by class; their data sets load a ``TokenSet``."""

    noun = "the digits"
    codec_data = "arrays"
    provides = ("classes",)
    data_keys = Keys.of(*STREAM_KEYS, strict=True)
    eval_keys = Keys.of(*EVAL_KEYS, other=("num_real", "metrics"))

    def has_tokens(self, places: Places) -> bool:
        """Return whether the tokens exist: nothing makes them."""
        return True

    def load_data(self, places: Places) -> TokenData:
        """Load the tokens, and make the codec that shows them."""
        codec = load_codec(self.config, places)
        train, test = (load_split(self.config, split) for split in ("train", "test"))
        make_section(self.config, "data", check_classes, train.class_names, test.class_names)
        make_section(self.config, "data", self._check, codec, train, test)
        return TokenData(
            codec=codec,
            train=train.examples,
            test=test.examples,
            class_names=train.class_names,
            fingerprint=train.fingerprint,
        )

    def random_data(self) -> TokenData:
        """Load the tokens themselves, as nothing has to be prepared."""
        return self.load_data(Places.below(Path()))

    def make_preparation(self, places: Places) -> Preparation:
        """Refuse."""
        raise ValueError(f'data.name = "{self.config.data.name}" has nothing to prepare')

    def make_scoring(self, data: TokenData, conditioned: ConditionedData, workdir: Path) -> Scoring:
        """Fit a classifier of tokens to the training set, where there are classes."""
        if len(data.class_names) < 2:
            used = codebook_metric(data.codec.vocab_size)
            return Scoring(make_options=lambda: {"metrics": [used]})
        self.check_classifier(data.train.cond, "num_real")
        return Scoring(make_options=dict)

    def _check(self, codec: Any, *splits: TokenSet) -> None:
        name = self.config.data.name
        for split in splits:
            if split.grid is not None and codec.grid != split.grid:
                raise ValueError(
                    f"the {name} have {split.grid} pixels, so codec.grid = {codec.grid} must be "
                    "that"
                )
            tokens, length = split.examples.tokens, codec.grid[0] * codec.grid[1]
            if tokens.shape[1] != length:
                raise ValueError(
                    f"the {name} have {tokens.shape[1]} tokens each, so codec.grid = {codec.grid} "
                    f"must be of as many, as in (1, {tokens.shape[1]})"
                )
            what = f"tokens of the {name} with codec.vocab_size = {codec.vocab_size}"
            ends = np.array([tokens.min(), min(int(tokens.max()), 2**31 - 1)], np.int32)
            check_tokens(ends, vocab_size=codec.vocab_size, name=what)


class ArrayTask(TokenTask):
    """Tokens in files, by class or without."""

    noun = "token arrays"


def _load_digits(config: Any, split: str) -> TokenSet:
    names = tuple(str(digit) for digit in range(digits.NUM_CLASSES))
    return TokenSet(digits.load_digits(split), names, digits.GRID)


def _load_arrays(config: Any, split: str) -> TokenSet:
    where = "train.npy and test.npy are"
    folder = Path(require_path(config.data, where, "/data/tokens"))
    tokens = read_tokens(folder, split)
    count, names = len(tokens), ("all",)
    cond, group = np.zeros(count, np.int32), np.arange(count, dtype=np.int32)
    if (folder / TRAIN_LABELS).exists():
        labels = {
            each: read_labels(folder, each, len(read_tokens(folder, each))) for each in SPLITS
        }
        names = read_class_names(folder, 1 + max(int(array.max()) for array in labels.values()))
        cond = group = labels[split]
    elif config.condition.kind != "none":
        raise ValueError(
            f"path = {folder} has no {TRAIN_LABELS}, which condition.kind = "
            f'"{config.condition.kind}" needs; add it, or take condition.kind = "none"'
        )
    examples = TokenExamples(tokens=tokens.reshape(count, -1), cond=cond, group=group)
    grid = (tokens.shape[1], tokens.shape[2]) if tokens.ndim == 3 else None
    return TokenSet(examples, names, grid, digest_arrays(tokens, cond))


register("source", "arrays", DataSet(tasks=(ArrayTask,), load=_load_arrays, keys=("path",)))
register("source", "digits", DataSet(tasks=(TokenTask,), load=_load_digits))
