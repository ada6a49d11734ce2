"""The preparation of tokens, from the sections ``data``, ``codec`` and ``prepare``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.build.codecs import load_codec
from cdcd_jax.build.pictures import Places, check_classes, find_places, load_source
from cdcd_jax.build.sections import make_section
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.patches import PatchCodec
from cdcd_jax.data.sources import Source


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Hold what the preparation of tokens needs.

    Attributes:
        codec: Turns pictures into tokens.
        sources: The pictures of each split.
        places: Where the tokens go.
        image_size: Height and width of the pictures that are encoded.
        options: Of ``prepare``, by split.
    """

    codec: ImageCodec | PatchCodec
    sources: dict[str, Source]
    places: Places
    image_size: int
    options: dict[str, dict[str, Any]]


def build_preparation(config: Any, workdir: Path) -> Preparation:
    """Make the preparation of a configuration.

    The test pictures are seen once, by their centre; views, crops and flips are for training.

    Args:
        config: A ``ConfigDict`` as ``configs/pictures.py`` makes it.
        workdir: Folder of the run, where a codec and tokens lie that have no place of their own.

    Returns:
        The preparation.

    Raises:
        ValueError: If there is nothing to prepare, or pictures or codec are missing.
    """
    places = find_places(config, workdir)
    if places is None:
        raise ValueError(f'data.name = "{config.data.name}" has nothing to prepare')
    sources = {split: load_source(config, split) for split in ("train", "test")}
    names = [source.class_names for source in sources.values()]
    make_section(config, "data", check_classes, *names)
    options = config.prepare.to_dict()
    centred = {"views": 1, "random_crop": False, "flip": False}
    return Preparation(
        codec=load_codec(config, places),
        sources=sources,
        places=places,
        image_size=config.codec.image_size,
        options={"train": options, "test": options | centred},
    )
