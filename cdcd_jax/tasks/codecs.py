"""The codec of a configuration, from the table ``CODECS``."""

from pathlib import Path
from typing import Any

from cdcd_jax.registry import CODECS
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks import image_codecs, music_codecs  # noqa: F401  which register theirs
from cdcd_jax.tasks.codec_family import CodecFamily
from cdcd_jax.tasks.places import Places


def find_codec(config: Any) -> CodecFamily:
    """Find the kind of codec of a configuration.

    Raises:
        ValueError: If ``codec.name`` is none.
    """
    return CODECS.find(config.codec.name, "codec.name")


def codec_shape(config: Any) -> tuple[int, tuple[int, int]]:
    """Find what tokens a codec will make, before there is one.

    Returns:
        K, the number of codes that tokens may be, and the grid of tokens.

    Raises:
        ValueError: If a value is wrong.
    """
    return make_section(config, "codec", find_codec(config).shape, config)


def needs_codec(config: Any, places: Places) -> bool:
    """True if the codec has yet to be made."""
    made = config.codec.get("weights") or places.codec_file.exists()
    return bool(find_codec(config).sections) and not made


def load_codec(config: Any, places: Places) -> Any:
    """Load the codec: the published weights if the configuration names some, else our own.

    Args:
        config: The whole configuration.
        places: From ``find_places``.

    Returns:
        The codec.

    Raises:
        ValueError: If the file is missing, damaged, or of another architecture.
    """
    load = find_codec(config).load
    return make_section(config, "codec", load, config, places.codec_file)


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
    find_codec(config).export(config, places.codec_file, path)
