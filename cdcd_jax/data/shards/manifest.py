"""The manifest of a folder of token shards, and how its files are written.

    preparation.json          what is being prepared; written first, must match at every restart
    tokens-*.arrayrecord      the shards
    tokens-*.<name>.npy       beside a shard of music: what its examples are generated from
    tokens-*.json             one beside each shard, written after it: that shard is complete
    index.npz                 label, number and name of each image, of all shards in order
    manifest.json             all of it is complete; written last

Every file appears under its name only when it is complete, so a kill at any moment leaves nothing
half-written that looks whole.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.data.images.decoding import Crop
from cdcd_jax.io import atomic_write
from cdcd_jax.reading.json_text import MAX_BYTES, parse_json
from cdcd_jax.reading.regular import open_regular, read_bytes

FORMAT = "cdcd_jax token shards"
VERSION = 1
PLAN, INDEX, MANIFEST = "preparation.json", "index.npz", "manifest.json"

AGAIN = "run the same --mode=prepare command again"
"""The advice in most errors: complete shards are kept, the rest is made again."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan of a preparation: everything that determines the shards' bytes.

    Attributes:
        fingerprint: The codec's.
        source: Name of the source.
        source_fingerprint: Fingerprint of the source.
        num_images: Number of images, or of pieces of music, in the source.
        class_names: Name of each class.
        vocab_size: K, the number of different tokens.
        grid: Rows and columns of tokens.
        image_size: Height and width of the codec's input.
        views: Number of crops of each image, or of records of each piece of music.
        crop: Which square of an image they are, see ``images.crop_image``.
        flip: Whether random crops are mirrored at random.
        seed: Seed of all that is random.
        shard_size: Number of images, or pieces, in a shard.
        waveforms: How music is cut and varied; None for images, whose three keys on crops are
            left out for music.
    """

    fingerprint: str
    source: str
    source_fingerprint: str
    num_images: int
    class_names: tuple[str, ...]
    vocab_size: int
    grid: tuple[int, int]
    image_size: int = 0
    views: int
    crop: Crop = "center"
    flip: bool = False
    seed: int
    shard_size: int
    waveforms: dict[str, Any] | None = None

    @property
    def length(self) -> int:
        """Number of tokens of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.num_images // self.shard_size)

    def shard_name(self, shard: int) -> str:
        """Return the name of a shard's file."""
        return f"tokens-{shard:05d}-of-{self.num_shards:05d}.arrayrecord"

    def images_of(self, shard: int) -> range:
        """Return the numbers of a shard's images."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.num_images))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON types, with the format's name and version."""
        plan = asdict(self) | {"class_names": list(self.class_names), "grid": list(self.grid)}
        of_images = ("image_size", "crop", "flip")
        for key in ("waveforms",) if self.waveforms is None else of_images:
            del plan[key]
        return {"format": FORMAT, "version": VERSION, "plan": plan}

    @property
    def digest(self) -> str:
        """A checksum of the plan, kept with each shard."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()

    @classmethod
    def from_json(cls, content: dict[str, Any], path: Path) -> "Plan":
        """Read a plan back.

        Raises:
            ValueError: If the file is of another format or version.
        """
        if content.get("format") != FORMAT:
            raise ValueError(f"{path} does not belong to token shards; give another folder")
        if content.get("version") != VERSION:
            raise ValueError(
                f"{path} is of shards of format version {_brief(content.get('version'))}, and this "
                f"program knows version {VERSION}; prepare them anew in another folder"
            )
        try:
            plan = {**content["plan"]}
            if "random_crop" in plan:
                raise ValueError(
                    f"{path} is of shards of version 0.1, whose crops were others (random_crop = "
                    f"{_brief(plan['random_crop'])}); prepare them anew in another folder"
                )
            plan |= {"class_names": tuple(plan["class_names"]), "grid": tuple(plan["grid"])}
            _check_values(plan)
            return cls(**plan)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged; delete it and {AGAIN}") from error


@dataclass(frozen=True)
class Bond:
    """The split of a folder of shards, and the other split prepared with it.

    Attributes:
        split: ``"train"`` or ``"test"``; empty where the manifest is older than bonds.
        sibling: Digest of the other split's plan.
    """

    split: str = ""
    sibling: str = ""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Bond":
        """Read what a manifest says of it."""
        return cls(str(content.get("split", "")), str(content.get("sibling", "")))


UNBOUND = Bond()
"""The bond of shards that are not a split."""


def _check_values(plan: dict[str, Any]) -> None:
    """Raise a TypeError if a value of a plan is none that was ever written there."""
    least = {"num_images": 1, "vocab_size": 1, "views": 1, "shard_size": 1, "seed": 0}
    numbers = [(plan[key], low) for key, low in least.items()]
    numbers += [(side, 1) for side in plan["grid"]] + [(plan.get("image_size", 0), 0)]
    texts = [plan["fingerprint"], plan["source"], plan["source_fingerprint"], *plan["class_names"]]
    right = (
        all(type(number) is int and low <= number < 2**63 for number, low in numbers)
        and all(isinstance(text, str) for text in texts)
        and len(plan["grid"]) == 2
        and max(*plan["grid"], plan["views"], plan["vocab_size"] >> 16) < 2**16
        and isinstance(plan.get("waveforms"), dict | None)
    )
    if not right:
        raise TypeError("a value of another kind")


def agree_on_plan(folder: Path, plan: Plan) -> None:
    """Write the plan where there is none yet, and check that it is the folder's.

    Raises:
        ValueError: If the folder holds, or is being filled with, something else.
    """
    path = folder / PLAN
    if not path.exists():
        write_json(path, plan.to_json())
    found = Plan.from_json(read_json(path), path)
    for key, wanted in asdict(plan).items():
        if getattr(found, key) != wanted:
            raise ValueError(
                f"{folder} was begun with {key} = {_brief(getattr(found, key))}, and now it is "
                f"{_brief(wanted)}; go back to that, or give another folder"
            )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: If the file cannot be read or holds something else.
    """
    try:
        content = parse_json(read_bytes(path, MAX_BYTES).decode(), str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged; delete it and {AGAIN} ({error!s:.240})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged; delete it and {AGAIN}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, atomically."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


LEFTOVER = ".tmp"
"""How the name of a half-written file ends."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and move the file into place if writing succeeded.

    Raises:
        ValueError: If the disk refuses.
    """
    written = False
    try:
        with atomic_write(path, suffix=LEFTOVER) as temporary:
            yield temporary
            written = True
    except OSError as error:
        # Swept up by another host, which found the folder complete: then the file is there, and is
        # the same, as its content follows from the plan.
        if written and isinstance(error, FileNotFoundError) and path.exists():
            return
        raise ValueError(f"{path} cannot be written: {error.strerror or error}") from error


def sweep_up(folder: Path) -> None:
    """Remove the half-written files that kills have left in a folder that is complete."""
    for leftover in folder.glob(f".*{LEFTOVER}"):
        leftover.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Compute the sha256 of a file in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
