"""The codec of pictures or of music, from the section ``codec``."""

import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.codecs.audio_codec import AudioCodec
from cdcd_jax.codecs.audio_file import load_jukebox, save_jukebox
from cdcd_jax.codecs.codec_file import load_vqgan, save_vqgan
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.jukebox import Jukebox, make_jukebox
from cdcd_jax.codecs.patches import PatchCodec, load_patches
from cdcd_jax.codecs.spectra import SpectrumCodec, load_spectra
from cdcd_jax.codecs.vqgan import VQGAN, VQGANOptions, make_vqgan
from cdcd_jax.interop.jukebox import jukebox_from_state_dict
from cdcd_jax.interop.published_music import read_vqvae
from cdcd_jax.interop.vqgan import read_used_codes, read_vqgan, vqgan_from_state_dict
from cdcd_jax.io import whole_file
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.images import Places
from cdcd_jax.tasks.music import find_window, is_music, jukebox_options, spectrum_options
from cdcd_jax.typing import Params


def vqgan_options(section: Any) -> dict[str, Any]:
    """Take the architecture out of the section on the codec."""
    return {field.name: section[field.name] for field in fields(VQGANOptions)}


def codec_shape(config: Any) -> tuple[int, tuple[int, int]]:
    """Say what tokens a codec will make, before there is one.

    Returns:
        K, the number of codes that tokens may be, and the grid of tokens.

    Raises:
        ValueError: If a value is wrong.
    """
    if is_music(config):
        return config.codec.num_codes, (1, find_window(config).length)
    if config.codec.name == "pixels":
        return config.codec.vocab_size, tuple(config.codec.grid)
    return make_section(config, "codec", _codec_shape, config.codec)


def _codec_shape(section: Any) -> tuple[int, tuple[int, int]]:
    _check_name(section.name)
    if section.name == "patches":
        options = patch_options(section)
        side = section.image_size // options["patch_size"]
        return options["num_codes"], (side, side)
    options = VQGANOptions(**vqgan_options(section))
    if section.used_codes is None:
        return options.num_codes, options.grid
    return len(read_used_codes(section.used_codes)), options.grid


def needs_codec(config: Any, places: Places) -> bool:
    """Whether the codec has yet to be trained."""
    return not (config.codec.get("weights") or places.codec_file.exists())


def load_codec(config: Any, places: Places) -> ImageCodec | PatchCodec | AudioCodec | SpectrumCodec:
    """Load the codec: the published weights if the configuration names some, else our own.

    Args:
        config: The whole configuration.
        places: From ``find_places``.

    Returns:
        The codec.

    Raises:
        ValueError: If the file is missing, damaged, or of another architecture.
    """
    if is_music(config):
        length = find_window(config).length
        return make_section(config, "codec", _load_music, config.codec, places, length)
    load = _load_patches if config.codec.name == "patches" else _load_vqgan
    return make_section(config, "codec", load, config.codec, places)


def save_codec(config: Any, places: Places, path: Path) -> None:
    """Write the codec of a run to one file that describes itself.

    Args:
        config: The whole configuration.
        places: From ``find_places``.
        path: The file; ``load_codec`` reads it with ``codec.weights`` and ``codec.used_codes``
            left out, and gives a codec of the same fingerprint.

    Raises:
        ValueError: If the codec cannot be read.
        OSError: If the file cannot be written.
    """
    section = config.codec
    if section.name == "vqgan" and (section.weights or section.used_codes):
        vqgan, params, used_codes = _read_vqgan(section, places)
        save_vqgan(path, params, vqgan.options, used_codes)
    elif section.name == "jukebox" and section.weights:
        jukebox = make_jukebox(**jukebox_options(section))
        params = _read_jukebox(section, jukebox)
        level = f"level_{section.level}"
        save_jukebox(path, {level: params[level]}, jukebox.options)
    else:
        with whole_file(path) as part:
            shutil.copyfile(places.codec_file, part)


def _load_music(section: Any, places: Places, length: int) -> AudioCodec | SpectrumCodec:
    """Load the codec of music for pieces of so many tokens, from the section ``codec``."""
    if section.name == "spectra":
        _check_trained(places)
        codec = load_spectra(places.codec_file, length=length, batch_size=section.batch_size)
        _check_same(places, asdict(codec.options), spectrum_options(section))
        return codec
    jukebox = make_jukebox(**jukebox_options(section))
    if section.weights:
        params = _read_jukebox(section, jukebox)
    else:
        _check_trained(places)
        params, theirs = load_jukebox(places.codec_file)
        wanted = asdict(jukebox.options)
        del wanted["compute_dtype"]  # which changes no weight
        _check_same(places, asdict(theirs), wanted)
    return AudioCodec(
        jukebox, params, level=section.level, length=length, batch_size=section.batch_size
    )


def _read_jukebox(section: Any, jukebox: Jukebox) -> Params:
    template = jax.eval_shape(jukebox.init, jax.random.key(0))
    return jukebox_from_state_dict(read_vqvae(section.weights), template)


def _load_vqgan(section: Any, places: Places) -> ImageCodec:
    _check_name(section.name)
    vqgan, params, used_codes = _read_vqgan(section, places)
    return ImageCodec(
        vqgan,
        params,
        used_codes=used_codes,
        unused=section.unused,
        batch_size=section.batch_size,
    )


def _read_vqgan(section: Any, places: Places) -> tuple[VQGAN, Params, np.ndarray | None]:
    """Read a VQGAN, published or trained, with the codes in use, None for all."""
    vqgan = make_vqgan(**vqgan_options(section))
    own_codes = None
    if section.weights:
        template = jax.eval_shape(vqgan.init, jax.random.key(0))
        params = vqgan_from_state_dict(read_vqgan(section.weights), template)
        _place(params)
    else:
        _check_trained(places)
        params, theirs, own_codes = load_vqgan(places.codec_file)
        wanted = asdict(vqgan.options)
        del wanted["compute_dtype"]  # which changes no weight
        _check_same(places, asdict(theirs), wanted)
    used_codes = read_used_codes(section.used_codes) if section.used_codes else own_codes
    return vqgan, params, used_codes


def _place(params: dict[Any, Any]) -> None:
    """Put each array on the device in turn, so that no more than one is in memory twice."""
    for name, value in params.items():
        if isinstance(value, dict):
            _place(value)
        else:
            params[name] = jax.block_until_ready(jax.device_put(value))


def _load_patches(section: Any, places: Places) -> PatchCodec:
    _check_trained(places)
    codec = load_patches(places.codec_file, batch_size=section.batch_size)
    wanted = patch_options(section)
    theirs = {"image_size": codec.image_size, "patch_size": codec.patch_size}
    _check_same(places, theirs | {"num_codes": codec.vocab_size}, wanted)
    return codec


def patch_options(section: Any) -> dict[str, int]:
    """Take how pictures are cut out of the section on the codec.

    Raises:
        ValueError: If a number is out of range.
    """
    size, patch = section.image_size, section.patch_size
    if patch < 1 or size % patch:
        raise ValueError(f"patch_size = {patch} must divide image_size = {size}")
    if section.num_codes < 2:
        raise ValueError(f"num_codes = {section.num_codes} must be at least 2")
    return {name: section[name] for name in ("image_size", "patch_size", "num_codes")}


def _check_name(name: str) -> None:
    if name not in ("vqgan", "patches"):
        raise ValueError(
            f'name = "{name}" is no codec of pictures; there are "vqgan" and "patches"'
        )


def _check_trained(places: Places) -> None:
    if not places.codec_file.exists():
        raise ValueError(
            f"there is no codec {places.codec_file}; train one with --mode=codec, or name "
            "published weights with --config.codec.weights=FILE"
        )


def _check_same(places: Places, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    differing = [
        f"{name} = {theirs[name]!r} there, {value!r} now"
        for name, value in ours.items()
        if theirs[name] != value
    ]
    if differing:
        raise ValueError(
            f"{places.codec_file} is another codec ({'; '.join(differing)}); give another "
            "folder, or those values"
        )
