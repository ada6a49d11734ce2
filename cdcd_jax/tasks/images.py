"""Where pictures come from, and where their codec and tokens lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.data.images.caption_list import load_captions
from cdcd_jax.data.images.coco import load_coco
from cdcd_jax.data.images.cub import load_cub
from cdcd_jax.data.images.emoji import load_emoji
from cdcd_jax.data.images.grocery import load_grocery
from cdcd_jax.data.images.imagenet import load_imagenet
from cdcd_jax.data.images.sources import Source, load_folder
from cdcd_jax.data.images.tfds import TfdsPictures
from cdcd_jax.data.shards.manifest import MANIFEST
from cdcd_jax.data.shards.token_shards import TokenShards
from cdcd_jax.data.toy.digit_images import load_digit_pictures
from cdcd_jax.data.toy.glyphs import load_glyphs
from cdcd_jax.settings.sections import make_section

SOURCES = (
    *("folder", "imagenet", "tfds", "grocery", "digit_pictures"),
    *("glyphs", "emoji", "captions", "coco", "cub"),  # with captions
)
"""Names that ``data.name`` may have where pictures go through a codec."""

GENERATED = ("digit_pictures", "glyphs")
"""Those that come with the package, for which ``data.path`` is not read."""

SPLITS = ("train", "test")
"""What the two parts of the tokens are called, whatever the source calls them."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Say where the products of the stages lie.

    Attributes:
        codec_folder: Folder of the codec's training.
        codec_file: The codec that came of it.
        tokens: Folder of the tokens, with one folder for each split.
    """

    codec_folder: Path
    codec_file: Path
    tokens: Path

    def has_tokens(self) -> bool:
        """Whether both splits have been prepared to the end."""
        return all((self.tokens / split / MANIFEST).exists() for split in SPLITS)


def find_places(config: Any, workdir: Path) -> Places | None:
    """Take the places from ``codec.folder`` and ``data.tokens``; by default they are the run's.

    Returns:
        The places, or None where pixels are tokens, which needs no stages before.
    """
    if "folder" not in config.codec:
        return None
    folder = Path(config.codec.folder) if config.codec.folder else workdir / "codec"
    tokens = Path(config.data.tokens) if config.data.tokens else workdir / "tokens"
    return Places(codec_folder=folder, codec_file=folder / "codec.safetensors", tokens=tokens)


def load_source(config: Any, split: str) -> Source:
    """Open the pictures of a split.

    Args:
        config: The whole configuration.
        split: ``"train"`` or ``"test"``.

    Returns:
        The pictures, still encoded.

    Raises:
        ValueError: If they are not there; the sentence names ``data`` and the way out.
    """
    return make_section(config, "data", _load_source, config.data, split, config.codec.image_size)


def _load_source(data: Any, split: str, image_size: int) -> Source:
    theirs = data.train_split if split == "train" else data.test_split
    if data.name == "digit_pictures":
        return load_digit_pictures(theirs, size=image_size)
    if data.name == "glyphs":
        scripts = {"scripts": data.scripts} if data.scripts else {}
        return load_glyphs(theirs, size=image_size, num_variants=data.num_variants, **scripts)
    if data.path is None:
        raise ValueError(
            f'path is not given; name where the pictures of "{data.name}" lie, '
            "as in --config.data.path=/data/pictures"
        )
    if data.name == "folder":
        return load_folder(data.path, theirs)
    if data.name == "grocery":
        return load_grocery(data.path, theirs)
    if data.name == "imagenet":
        return load_imagenet(data.path, theirs, class_index=data.class_index)
    if data.name == "tfds":
        return TfdsPictures(data.path, theirs)
    captioned = {
        "captions": load_captions,
        "coco": load_coco,
        "cub": load_cub,
        "emoji": load_emoji,
    }
    if data.name in captioned:
        return captioned[data.name](data.path, theirs)
    raise ValueError(f'name = "{data.name}" is no data set; there are "digits", {_listed(SOURCES)}')


def open_tokens(config: Any, places: Places, split: str, fingerprint: str) -> TokenShards:
    """Open the tokens of a split, which must be of the codec with this fingerprint."""
    folder = places.tokens / split
    shards = make_section(config, "data", TokenShards, folder, fingerprint=fingerprint)
    make_section(config, "data", shards.check)
    return shards


def check_classes(train: tuple[str, ...], test: tuple[str, ...]) -> None:
    """Raise a ValueError unless both splits number the same classes alike."""
    if train != test:
        raise ValueError(
            f"the training and the test pictures have different classes ({len(train)} and "
            f"{len(test)} of them); both splits must have the same folders"
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)
