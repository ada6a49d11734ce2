"""The interface of a task: all that differs between images, texts, music and tokens."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cdcd_jax.data.shards.splits import check_splits
from cdcd_jax.editing import Original
from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.registry import CODECS, CONDITIONS, SOURCES
from cdcd_jax.settings.keys import Keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.tasks.codecs import load_codec
from cdcd_jax.tasks.conditions import ConditionedData
from cdcd_jax.tasks.drawing import Drawn, draw_rows, save_edited_images
from cdcd_jax.tasks.memory import check_needs, preparation_needs
from cdcd_jax.tasks.places import SPLITS, Places
from cdcd_jax.tasks.preparation import Preparation, SplitPlan, check_prepare
from cdcd_jax.tasks.scoring import Scoring
from cdcd_jax.tasks.sources import DataSet, load_split
from cdcd_jax.tasks.token_data import TokenData, check_classes, open_tokens
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.samples import draw_samples, save_image

STREAM_KEYS = ("name", "num_threads", "prefetch")
"""Keys of the section ``data`` that every data set has."""

PREPARED_KEYS = (*STREAM_KEYS, "train_split", "test_split", "tokens")
"""Keys of the section ``data`` where tokens are prepared before they are trained on."""

EVAL_KEYS = ("num_samples", "num_steps", "truncations", "batch_size", "seed")
"""Keys of the section ``eval`` that every task has."""


class Task:
    """A task: the data, their preparation and their metrics.

    There is a subclass for each modality; ``find_task`` makes the one of a configuration. What is
    implemented here is for data that a codec encodes before training (``--mode=prepare``).

    Args:
        config: The whole configuration.
        data_set: The entry of ``SOURCES`` that ``data.name`` names.

    Attributes:
        noun: What its examples are.
        codec_data: What its codecs code, ``CodecFamily.data``.
        provides: What a condition can be made of: ``"classes"``, ``"captions"``, ``"dances"``.
        data_keys: Keys of the section ``data``, but for those of the data set.
        eval_keys: Keys of the section ``eval``.
        prepare_keys: Keys of the section ``prepare``.
        edits: The flag of the command line that gives what is edited.
    """

    noun: ClassVar[str]
    codec_data: ClassVar[str]
    provides: ClassVar[tuple[str, ...]]
    data_keys: ClassVar[Keys]
    eval_keys: ClassVar[Keys]
    prepare_keys: ClassVar[Keys] = Keys()
    edits: ClassVar[str] = "image"

    def __init__(self, config: Any, data_set: DataSet):
        self.config, self.data_set = config, data_set

    @classmethod
    def codecs(cls) -> tuple[str, ...]:
        """List what ``codec.name`` may be."""
        return tuple(name for name, codec in CODECS.items() if codec.data == cls.codec_data)

    def open_split(self, split: str) -> Any:
        """Open what the codec encodes of a split; it has ``class_names`` and ``fingerprint``."""
        return load_split(self.config, split)

    def open_for_codec(self, split: str) -> Any:
        """Open what a codec is made from, which ``CodecFamily.make`` takes."""
        return load_split(self.config, split)

    def has_tokens(self, places: Places) -> bool:
        """Return whether the tokens exist."""
        return places.has_tokens()

    def load_data(self, places: Places) -> TokenData:
        """Load the tokens and their codec.

        Raises:
            ValueError: If something is missing, damaged, or does not fit.
        """
        codec = load_codec(self.config, places)
        train, test = (
            open_tokens(self.config, places, split, codec.fingerprint) for split in SPLITS
        )
        remark = make_section(self.config, "data", check_splits, train, test)
        if remark and is_first_host():
            print(remark)
        make_section(self.config, "data", check_classes, train.class_names, test.class_names)
        return make_section(self.config, "data", self.describe_tokens, codec, train, test)

    def describe_tokens(self, codec: Any, train: Any, test: Any) -> TokenData:
        """Describe prepared tokens: captions or dances, and where negatives are drawn from.

        Args:
            codec: What made them.
            train: Token shards of the training set.
            test: Those of the held-out set.
        """
        raise NotImplementedError

    def random_data(self) -> TokenData:
        """Make random tokens in place of those to be prepared, two of each class or so.

        Raises:
            ValueError: If the data set is not there, or a value is wrong.
        """
        raise NotImplementedError

    def abstract_data(self) -> TokenData:
        """Make random tokens of the right shapes for a plan, without the files of a data set."""
        abstract = self.data_set.abstract
        return self.random_data() if abstract is None else abstract(self.config)

    def make_preparation(self, places: Places) -> Preparation:
        """Plan how the data become tokens.

        Args:
            places: Where the codec is, and where the tokens go.

        Raises:
            ValueError: If there is nothing to prepare, or data or codec are missing.
        """
        check_needs(preparation_needs(self.config))
        sources = {split: self.open_split(split) for split in SPLITS}
        names = [source.class_names for source in sources.values()]
        make_section(self.config, "data", check_classes, *names)
        options, codec = check_prepare(self.config), load_codec(self.config, places)
        return Preparation(
            codec=codec,
            places=places,
            splits={split: self.plan_split(split, sources[split], codec) for split in SPLITS},
            batch_size=options["batch_size"],
            on_bad=options["on_bad"],
        )

    def plan_split(self, split: str, source: Any, codec: Any) -> SplitPlan:
        """Plan how a split becomes tokens; what is varied at random is for training only.

        Args:
            split: ``"train"`` or ``"test"``.
            source: From ``open_split``.
            codec: What makes the tokens.
        """
        raise NotImplementedError

    def show(
        self,
        generator: Generator,
        places: Places,
        path: Path,
        seed: int,
        request: Any = None,
        **options: Any,
    ) -> Path:
        """Draw samples and write their image, a row for each class, text or dance.

        All hosts draw together, and the first writes.

        Args:
            generator: What the samples are drawn from.
            places: Where the tokens are.
            path: The PNG file.
            seed: Seed of the samples.
            request: As for ``Generator.sample``; without one, some that are evenly spaced.
            **options: ``num_samples``, and options of ``Generator.draw``.

        Returns:
            The path.

        Raises:
            ValueError: If so many samples exceed the memory, or data that are shown are not there.
        """
        del places
        drawn = draw_rows(generator, seed, request, **options)
        if is_first_host():
            self.save_drawn(generator.codec, drawn, path, one_by_one=request is not None)
        return path

    def save_drawn(self, codec: Any, drawn: Drawn, path: Path, *, one_by_one: bool) -> None:
        """Write samples as an image.

        Args:
            codec: Decodes them.
            drawn: The samples.
            path: The PNG file.
            one_by_one: Whether samples of texts become files as well, named after the texts, in a
                folder beside the image.
        """
        del one_by_one
        image = draw_samples(
            drawn.tokens,
            drawn.rows,
            decode_fn=codec.decode,
            num_columns=len(drawn.tokens),
            caption=drawn.caption,
            class_names=drawn.names,
        )
        with writing(path.parent):
            save_image(image, path)

    def save_edited(
        self,
        generator: Generator,
        original: Original,
        edited: np.ndarray,
        request: Any,
        path: Path,
        *,
        caption: str,
    ) -> None:
        """Write before, mask and after as an image, and each result into a folder beside it.

        Args:
            generator: What edited.
            original: What was edited.
            edited: The results, as the codec decodes them.
            request: As for ``Generator.edit``.
            path: The PNG file.
            caption: One line above the image.
        """
        names = generator.conditioning.rows(request, len(edited)).names
        save_edited_images(original, edited, names, path, caption=caption)

    def make_scoring(self, data: TokenData, conditioned: ConditionedData, workdir: Path) -> Scoring:
        """Choose the metrics of an evaluation.

        Args:
            data: The tokens and their codec.
            conditioned: The examples with their conditions.
            workdir: Folder of the run.

        Raises:
            ValueError: If a file of weights is not there, or the real examples are too few.
        """
        raise NotImplementedError

    def check_classifier(self, labels: np.ndarray, key: str) -> None:
        """Raise a ValueError unless the real examples suffice to fit a classifier of classes.

        Args:
            labels: The class of each real example.
            key: The key of ``eval`` that says how many of them are taken.
        """
        limit = self.config.eval[key]
        chosen = labels[evenly_spaced(len(labels), limit)]
        classes = len(np.unique(chosen))
        if classes < 2 or len(chosen) <= classes:
            raise ValueError(
                f"eval.{key} = {limit} of {len(labels)} training examples are {len(chosen)} of "
                f"{classes} classes, and the classifier that scores samples needs two classes and "
                "more examples than classes; take more"
            )


def find_task(config: Any) -> Task:
    """Find the task of a configuration by ``data.name`` and ``condition.kind``.

    Raises:
        ValueError: If there is no such data set.
    """
    data_set: DataSet = SOURCES.find(config.data.name, "data.name")
    kind = CONDITIONS.get(config.condition.kind)
    fitting = (task for task in data_set.tasks if kind and kind.needs in task.provides)
    return next(fitting, data_set.tasks[0])(config, data_set)
