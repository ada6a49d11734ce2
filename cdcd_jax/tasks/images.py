"""Images by class."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.data.images.caption_files import CaptionedImages
from cdcd_jax.data.images.captioned import Captions
from cdcd_jax.data.images.grocery import load_grocery
from cdcd_jax.data.images.imagenet import load_imagenet
from cdcd_jax.data.images.sources import Source, load_folder
from cdcd_jax.data.images.tfds import TfdsImages
from cdcd_jax.data.negative_lists import load_negatives
from cdcd_jax.data.shards.prepare import load_crops, plan_images
from cdcd_jax.data.shards.prepare_options import check_crops, check_options
from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.data.toy.digit_images import load_digit_images
from cdcd_jax.evaluation.metrics.images.real_images import RealImages, raw_images
from cdcd_jax.evaluation.metrics.images.reference import check_reference
from cdcd_jax.evaluation.metrics.pretrained import (
    check_networks,
    make_image_metrics,
    missing_weights,
)
from cdcd_jax.registry import register
from cdcd_jax.settings.keys import Keys, argument_keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.conditions import ConditionedData
from cdcd_jax.tasks.miniature import is_synthetic
from cdcd_jax.tasks.preparation import SplitPlan, check_prepare
from cdcd_jax.tasks.scoring import CLASS_FILES, PLACES, Scoring, check_source, synthetic_notice
from cdcd_jax.tasks.sources import DataSet, require_path, split_name
from cdcd_jax.tasks.task import EVAL_KEYS, PREPARED_KEYS, Task
from cdcd_jax.tasks.token_data import (
    TokenData,
    check_classes,
    check_listed,
    random_tokens,
    two_of_each,
)

CENTRED = {"views": 1, "crop": "center", "flip": False}
"""How test images are prepared."""

VARIED = ("views", "crop", "flip", "seed", "shard_size")
"""Options of the section ``prepare`` that the shards' bytes follow from."""


class ImageTask(Task):
    """Images by class; their data sets load a ``Source``."""

    noun = "images"
    codec_data = "images"
    provides = ("classes",)
    data_keys = Keys.of(*PREPARED_KEYS, "negatives", other=("synthetic",))
    eval_keys = Keys.of(*EVAL_KEYS, "num_real", other=(*PLACES, "all_captions", "metrics"))
    prepare_keys = Keys(argument_keys(check_options).known | argument_keys(check_crops).known)
    files = CLASS_FILES

    def describe_tokens(self, codec: Any, train: TokenShards, test: TokenShards) -> TokenData:
        """Describe prepared images, with their captions if there are some."""
        others = None
        if self.config.data.negatives is not None:
            source = self.open_split("train")
            others = load_negatives(
                self.config.data.negatives,
                train.image_names,
                train.image_of,
                train.group,
                listed_names=source.listed_names if isinstance(source, CaptionedImages) else None,
            )
        return TokenData(
            codec=codec,
            train=train,
            test=test,
            class_names=train.class_names,
            fingerprint=train.plan.digest,
            train_captions=_captions(train),
            test_captions=_captions(test),
            others=others,
        )

    def random_data(self) -> TokenData:
        """Make random tokens of each class, or with the captions of one image."""
        check_prepare(self.config)
        train, test = self.open_split("train"), self.open_split("test")
        check_listed(self.config)
        make_section(self.config, "data", check_classes, train.class_names, test.class_names)
        return random_images(self.config, train.class_names, train[0].captions)

    def plan_split(self, split: str, source: Source, codec: Any) -> SplitPlan:
        """Plan how images are cropped and encoded; test images are cropped in their centre."""
        section = self.config.prepare.to_dict() | (CENTRED if split == "test" else {})
        plan = plan_images(
            source,
            fingerprint=codec.fingerprint,
            vocab_size=codec.vocab_size,
            grid=codec.grid,
            image_size=self.config.codec.image_size,
            **{name: section[name] for name in VARIED},
        )
        return SplitPlan(plan, partial(load_crops, source, plan))

    def make_scoring(self, data: TokenData, conditioned: ConditionedData, workdir: Path) -> Scoring:
        """Compare samples with real images, by the networks whose weights are given."""
        config, train = self.config, data.train
        if self.fits_classifier and data.class_names and isinstance(train, TokenShards):
            self.check_classifier(train.cond[:: train.plan.views], "num_real")
        files = {name: config.eval.get(name) for name in self.files}
        for name, path in files.items():
            if name != "reference" and path is not None and not Path(path).is_file():
                raise ValueError(f"eval.{name} = {path} is not a file")
        num_classes = conditioned.conditioning.num_classes if self.fits_classifier else None
        given = {"num_classes": num_classes, "any_clip": is_synthetic(config)}
        reference = files["reference"]
        files["reference"] = reference or str(workdir / "inception_reference.npz")

        def check() -> None:
            make_section(config, "eval", check_networks, files, **given)
            if reference is not None and Path(reference).exists():
                make_section(config, "eval", _check_reference, reference)
            for split, examples in (("train", data.train), ("test", data.test)):
                source = self.open_split(split)
                if isinstance(examples, TokenShards):
                    make_section(config, "data", check_source, config, examples, source)

        return Scoring(
            make_options=lambda: self.metric_options(data, conditioned, files),
            check=check,
            unmeasured=(
                *missing_weights(files, num_classes=num_classes),
                *synthetic_notice(config),
            ),
        )

    fits_classifier = True

    def metric_options(
        self, data: TokenData, conditioned: ConditionedData, files: dict[str, Any]
    ) -> dict[str, Any]:
        """Make the options of ``evaluate``: metrics, the codec's way back and real images.

        Args:
            data: The tokens and their codec.
            conditioned: The examples with their conditions.
            files: Files of weights, by their keys in ``eval``.
        """
        config = self.config

        def images(split: str) -> RealImages:
            source = self.open_split(split)
            size, limit = config.codec.image_size, config.eval.num_real
            return RealImages(source, image_size=size, limit=limit)

        metrics = make_section(
            config,
            "eval",
            make_image_metrics,
            images("train"),
            vocab_size=data.codec.vocab_size,
            num_classes=conditioned.conditioning.num_classes,
            batch_size=config.eval.batch_size,
            **files,
        )
        raw = raw_images(images("test"))
        return {"metrics": metrics, "decode_fn": data.codec.decode, "raw": raw}


def random_images(
    config: Any, class_names: tuple[str, ...], captions: tuple[str, ...] = ()
) -> TokenData:
    """Stand in for images with random tokens.

    Args:
        config: The whole configuration.
        class_names: Names of the classes; empty where there are none.
        captions: Of every image; empty where there are none.
    """
    labels = two_of_each(len(class_names))
    texts = Captions([captions] * len(labels), np.arange(len(labels))) if captions else None
    return random_tokens(config, labels, labels, class_names, texts)


def images_at(load: Any) -> Any:
    """Make the ``DataSet.load`` of images in a folder from ``load(path, split)``."""

    def load_images(config: Any, split: str) -> Source:
        data = config.data
        path = require_path(data, f'the images of "{data.name}" lie', "/data/images")
        return load(path, split_name(data, split))

    return load_images


def _load_imagenet(config: Any, split: str) -> Source:
    index = config.data.class_index
    return images_at(partial(load_imagenet, class_index=index))(config, split)


def _load_digit_images(config: Any, split: str) -> Source:
    return load_digit_images(split_name(config.data, split), size=config.codec.image_size)


def _numbered(count: int, config: Any) -> TokenData:
    return random_images(config, tuple(str(number) for number in range(count)))


def _check_reference(path: str) -> None:
    try:
        check_reference(path)
    except ValueError as error:
        raise ValueError(f"reference: {error}") from error


def _captions(shards: TokenShards) -> Captions | None:
    return Captions(shards.captions, shards.image_of) if shards.captions else None


BY_CLASS = {"tasks": (ImageTask,), "keys": ("path",)}
for name, data_set in {
    "folder": DataSet(load=images_at(load_folder), **BY_CLASS),
    "imagenet": DataSet(
        load=_load_imagenet,
        abstract=partial(_numbered, 1000),
        tasks=(ImageTask,),
        keys=("path", "class_index"),
    ),
    "tfds": DataSet(load=images_at(TfdsImages), **BY_CLASS),
    "grocery": DataSet(load=images_at(load_grocery), abstract=partial(_numbered, 81), **BY_CLASS),
    "digit_pictures": DataSet(load=_load_digit_images, tasks=(ImageTask,)),
}.items():
    register("source", name, data_set)
