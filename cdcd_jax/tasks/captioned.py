"""Images with captions."""

from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.data.images.caption_list import load_captions
from cdcd_jax.data.images.coco import load_coco
from cdcd_jax.data.images.cub import load_cub
from cdcd_jax.data.images.emoji import load_emoji
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.data.toy.glyphs import GlyphImages, load_glyphs
from cdcd_jax.evaluation.metrics.images.glyphs import make_glyph_metrics
from cdcd_jax.evaluation.metrics.images.real_images import RealImages, raw_images
from cdcd_jax.evaluation.metrics.pretrained import make_caption_metrics
from cdcd_jax.registry import register
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.conditions import ConditionedData
from cdcd_jax.tasks.drawing import Drawn, save_each
from cdcd_jax.tasks.images import ImageTask, images_at, random_images
from cdcd_jax.tasks.miniature import is_synthetic
from cdcd_jax.tasks.scoring import CAPTION_FILES
from cdcd_jax.tasks.sources import DataSet, split_name
from cdcd_jax.tasks.token_data import TokenData
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization.prompts import draw_prompts
from cdcd_jax.visualization.samples import save_image


class CaptionedTask(ImageTask):
    """Images that are generated from captions; their data sets load a ``Source`` with captions."""

    provides = ("captions",)
    files = CAPTION_FILES
    fits_classifier = False

    def metric_options(
        self, data: TokenData, conditioned: ConditionedData, files: dict[str, Any]
    ) -> dict[str, Any]:
        """Request the captions of the test images, which the real images are compared with, too."""
        config, source, test = self.config, self.open_split("test"), data.test
        assert isinstance(test, TokenShards)

        def images(*, oversample: bool) -> RealImages:
            return RealImages(
                source,
                image_size=config.codec.image_size,
                limit=config.eval.num_real,
                numbers=test.source_index,
                oversample=oversample,
            )

        metrics = make_section(
            config,
            "eval",
            make_caption_metrics,
            images(oversample=True),
            captions=conditioned.test_texts,
            vocab_size=data.codec.vocab_size,
            batch_size=config.eval.batch_size,
            any_clip=is_synthetic(config),
            **files,
        )
        if isinstance(source, GlyphImages):
            numbers = _images_of_requests(conditioned, test)
            metrics += make_glyph_metrics(self.open_split("train"), source, numbers)
        return {
            "metrics": metrics,
            "decode_fn": data.codec.decode,
            "raw": raw_images(images(oversample=False)),
        }

    def save_drawn(self, codec: Any, drawn: Drawn, path: Path, *, one_by_one: bool) -> None:
        """Write samples with their texts below, and each of them where texts are given."""
        images = np.asarray(codec.decode(drawn.tokens))
        image = draw_prompts(images, drawn.rows, drawn.names, caption=drawn.caption)
        if one_by_one:
            save_each(images, drawn.rows, drawn.names, path.with_suffix(""))
        with writing(path.parent):
            save_image(image, path)


def _images_of_requests(conditioned: ConditionedData, test: TokenShards) -> np.ndarray:
    """Number in the source the image that each text of an evaluation is of."""
    if conditioned.requests is None:
        return test.source_index
    assert test.captions is not None
    return np.repeat(test.source_index, [len(texts) for texts in test.captions])


def _load_glyphs(config: Any, split: str) -> Source:
    data = config.data
    options = {"size": config.codec.image_size, "num_variants": data.num_variants}
    scripts = {"scripts": data.scripts} if data.scripts else {}
    return load_glyphs(split_name(data, split), **options, **scripts)


def _abstract(config: Any) -> TokenData:
    return random_images(config, (), ("an image",))


WITH_CAPTIONS = {"tasks": (CaptionedTask,), "keys": ("path",)}
for name, data_set in {
    "glyphs": DataSet(load=_load_glyphs, tasks=(CaptionedTask,), keys=("scripts", "num_variants")),
    "emoji": DataSet(load=images_at(load_emoji), abstract=_abstract, **WITH_CAPTIONS),
    "captions": DataSet(load=images_at(load_captions), **WITH_CAPTIONS),
    "coco": DataSet(load=images_at(load_coco), abstract=_abstract, **WITH_CAPTIONS),
    "cub": DataSet(
        load=images_at(load_cub),
        abstract=_abstract,
        tasks=(CaptionedTask, ImageTask),
        keys=("path",),
    ),
}.items():
    register("source", name, data_set)
