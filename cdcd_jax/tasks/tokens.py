"""Plain tokens, which need no preparation: the digits."""

from pathlib import Path
from typing import Any, NamedTuple

from cdcd_jax.data.batch import TokenExamples, check_tokens
from cdcd_jax.data.toy import digits
from cdcd_jax.registry import register
from cdcd_jax.settings.keys import Keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codecs import load_codec
from cdcd_jax.tasks.conditions import ConditionedData
from cdcd_jax.tasks.places import Places
from cdcd_jax.tasks.preparation import Preparation
from cdcd_jax.tasks.scoring import Scoring
from cdcd_jax.tasks.sources import DataSet, load_split
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
    eval_keys = Keys.of(*EVAL_KEYS, other=("num_real",))

    def has_tokens(self, places: Places) -> bool:
        """Whether the tokens are there: nothing makes them."""
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
        """Fit a classifier of tokens to the training set."""
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
            what = f"tokens of the {name} with codec.vocab_size = {codec.vocab_size}"
            check_tokens(split.examples.tokens, vocab_size=codec.vocab_size, name=what)


def _load_digits(config: Any, split: str) -> TokenSet:
    names = tuple(str(digit) for digit in range(digits.NUM_CLASSES))
    return TokenSet(digits.load_digits(split), names, digits.GRID)


register("source", "digits", DataSet(tasks=(TokenTask,), load=_load_digits))
