"""The fit of a codebook of patches, from the sections ``codec`` and ``codec_fit``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.data.images.sources import Source
from cdcd_jax.evaluation.metrics.images.real_images import RealPictures
from cdcd_jax.settings.sections import make_section, plain
from cdcd_jax.tasks.codecs import patch_options
from cdcd_jax.tasks.images import Places, find_places, load_source


@dataclass(frozen=True, kw_only=True)
class CodecFit:
    """Hold what the fit of a codebook needs.

    Attributes:
        train_pictures: The pictures it is fitted to.
        test_source: Pictures it never sees.
        places: Where the codec goes.
        image_size: Height and width of the pictures.
        options: Of ``fit_patch_codec``.
        batch_size: Pictures that are encoded or decoded at once.
        config: The whole configuration as JSON types.
    """

    train_pictures: RealPictures
    test_source: Source
    places: Places
    image_size: int
    options: dict[str, Any]
    batch_size: int
    config: dict[str, Any]


def build_codec_fit(config: Any, workdir: Path) -> CodecFit:
    """Make the fit of a codebook of a configuration.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/captions.py`` makes it.
        workdir: Folder of the run, where the codec goes unless ``codec.folder`` is given.

    Returns:
        The fit; no picture is read yet.

    Raises:
        ValueError: If a value is wrong or the pictures are not there.
    """
    places = find_places(config, workdir)
    assert places is not None  # the section ``codec`` of patches has a folder
    sources = load_source(config, "train"), load_source(config, "test")
    options = make_section(config, "codec", patch_options, config.codec)
    return CodecFit(
        train_pictures=make_section(
            config,
            "codec_fit",
            RealPictures,
            sources[0],
            image_size=options.pop("image_size"),
            limit=config.codec_fit.num_pictures,
        ),
        test_source=sources[1],
        places=places,
        image_size=config.codec.image_size,
        options=options | {"seed": config.codec_fit.seed},
        batch_size=config.codec.batch_size,
        config=plain(config),
    )
