"""Where pictures come from, their codec, and where their tokens lie."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax

from cdcd_jax.build.sections import make_section
from cdcd_jax.codecs.codec_file import load_vqgan
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.data.captions import load_captions
from cdcd_jax.data.coco import load_coco
from cdcd_jax.data.cub import load_cub
from cdcd_jax.data.digit_pictures import load_digit_pictures
from cdcd_jax.data.emoji import load_emoji
from cdcd_jax.data.grocery import load_grocery
from cdcd_jax.data.imagenet import load_imagenet
from cdcd_jax.data.manifest import MANIFEST
from cdcd_jax.data.shards import TokenShards
from cdcd_jax.data.sources import Source, load_folder
from cdcd_jax.data.tfds import TfdsPictures
from cdcd_jax.interop.state_dict import read_state_dict
from cdcd_jax.interop.vqgan import read_used_codes, vqgan_from_state_dict

SOURCES = (
    *("folder", "imagenet", "tfds", "grocery", "digit_pictures"),
    *("glyphs", "emoji", "captions", "coco", "cub"),  # with captions
)
"""Names that ``data.name`` may have where pictures go through a codec."""

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


def vqgan_options(config: Any) -> dict[str, Any]:
    """Take the architecture out of the section on the codec."""
    names = {field.name for field in fields(VQGANOptions)}
    return {name: value for name, value in config.codec.items() if name in names}


def count_codes(config: Any, options: VQGANOptions) -> int:
    """Count the codes that tokens may be: those in use if a map names them, else all."""
    if config.codec.used_codes is None:
        return options.num_codes
    return len(make_section(config, "codec", read_used_codes, config.codec.used_codes))


def load_codec(config: Any, places: Places) -> ImageCodec:
    """Load the codec: the published weights if the configuration names some, else our own.

    Args:
        config: The whole configuration.
        places: From ``find_places``.

    Returns:
        The codec.

    Raises:
        ValueError: If the file is missing, damaged, or of another architecture.
    """
    return make_section(config, "codec", _load_codec, config, places)


def _load_codec(config: Any, places: Places) -> ImageCodec:
    section = config.codec
    options = VQGANOptions(**vqgan_options(config))
    vqgan = make_vqgan(**vqgan_options(config))
    if section.weights:
        template = jax.eval_shape(vqgan.init, jax.random.key(0))
        params = vqgan_from_state_dict(read_state_dict(section.weights, "state_dict"), template)
    elif not places.codec_file.exists():
        raise ValueError(
            f"there is no codec {places.codec_file}; train one with --mode=codec, or name "
            "published weights with --config.codec.weights=FILE"
        )
    else:
        params, theirs, _ = load_vqgan(places.codec_file)
        differing = [
            f"{field.name} = {getattr(theirs, field.name)!r} there, "
            f"{getattr(options, field.name)!r} now"
            for field in fields(VQGANOptions)
            if field.name != "compute_dtype"
            and getattr(theirs, field.name) != getattr(options, field.name)
        ]
        if differing:
            raise ValueError(
                f"{places.codec_file} is another codec ({'; '.join(differing)}); give another "
                "folder, or those values"
            )
    used_codes = read_used_codes(section.used_codes) if section.used_codes else None
    return ImageCodec(
        vqgan,
        params,
        used_codes=used_codes,
        unused=section.unused,
        batch_size=section.batch_size,
    )


def open_tokens(config: Any, places: Places, split: str, fingerprint: str) -> TokenShards:
    """Open the tokens of a split, which must be of the codec with this fingerprint."""
    return make_section(config, "data", TokenShards, places.tokens / split, fingerprint=fingerprint)


def check_classes(train: tuple[str, ...], test: tuple[str, ...]) -> int:
    """Return the number of classes, which both splits must number alike."""
    if train != test:
        raise ValueError(
            f"the training and the test pictures have different classes ({len(train)} and "
            f"{len(test)} of them); both splits must have the same folders"
        )
    return len(train)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)
