"""Folders of the codec and the tokens of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.data.shards.manifest import MANIFEST

SPLITS = ("train", "test")
"""What the two parts of the tokens are called, whatever the source calls them."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders of codec and tokens, which are made before a training.

    Attributes:
        codec_folder: Folder of the codec's training.
        codec_file: The codec that came of it.
        tokens: Folder of the tokens, with one folder for each split.
    """

    codec_folder: Path
    codec_file: Path
    tokens: Path

    def has_tokens(self) -> bool:
        """True if both splits are completely prepared."""
        return all((self.tokens / split / MANIFEST).exists() for split in SPLITS)

    @classmethod
    def below(cls, workdir: Path, folder: str | None = None, tokens: str | None = None) -> "Places":
        """Return the given folders, else those of a run."""
        codec_folder = Path(folder) if folder else workdir / "codec"
        return cls(
            codec_folder=codec_folder,
            codec_file=codec_folder / "codec.safetensors",
            tokens=Path(tokens) if tokens else workdir / "tokens",
        )


def find_places(config: Any, workdir: Path) -> Places:
    """Read the folders from ``codec.folder`` and ``data.tokens``; by default they are the run's."""
    return Places.below(workdir, config.codec.get("folder"), config.data.get("tokens"))
