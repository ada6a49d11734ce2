"""Prepared tokens on disk, read by index: an image set for training without its images."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from jaxtyping import Int32, Integer

from cdcd_jax.data.manifest import AGAIN, INDEX, MANIFEST, PLAN, Plan, file_digest, read_json
from cdcd_jax.data.records import RecordError, as_tokens, record_dtype, unpack_records


class TokenShards:
    """Read the token shards that ``prepare`` has written.

    Opening reads the manifest and the index and looks at the shards' sizes; a shard is opened when
    a record of it is first read. Threads may read at the same time.

    Args:
        folder: The folder that was prepared.
        fingerprint: Fingerprint of the codec that is to decode the tokens.

    Attributes:
        cond: [examples] int32 labels.
        group: The same labels: classes are each other's inter negatives.
        class_names: Name of each class; empty where labels only tell pictures apart.
        captions: The captions of each picture; empty for a set without captions.
        picture_of: [examples] the picture that an example is a view of.
        source_index: [pictures] number of each picture in its source.
        rows: What music is generated from: arrays by name, with a row for each piece, read from
            disk when they are indexed; empty for pictures.
        vocab_size: K, the number of different tokens.
        grid: Rows and columns of tokens.

    Raises:
        ValueError: If there are no shards, their preparation is not finished, they are of another
            codec or format, or a file is missing, truncated or damaged.
    """

    def __init__(self, folder: str | Path, *, fingerprint: str):
        self.folder = Path(folder)
        _check_finished(self.folder)
        manifest = read_json(self.folder / MANIFEST)
        self.plan = Plan.from_json(manifest, self.folder / MANIFEST)
        if self.plan.fingerprint != fingerprint:
            raise ValueError(
                f"the shards in {folder} were made with another codec (fingerprint "
                f"{self.plan.fingerprint[:12]}, not {fingerprint[:12]}); "
                "give that codec, or prepare them in another folder"
            )
        self._shards = manifest["shards"]
        for shard in self._shards:
            for file in (shard, *shard.get("cond", {}).values()):
                _check_size(self.folder / file["file"], file["bytes"])
        self.rows = {
            name: ShardRows([self.folder / shard["cond"][name]["file"] for shard in self._shards])
            for name in self._shards[0].get("cond", ())
        }
        self._load_index(manifest["index"]["sha256"])
        self.class_names = self.plan.class_names
        self.vocab_size, self.grid = self.plan.vocab_size, self.plan.grid
        self._dtype = record_dtype(length=self.length, vocab_size=self.vocab_size)
        self._ends = np.cumsum([shard["count"] for shard in self._shards])

    def __len__(self) -> int:
        """Count the examples: views of pictures."""
        return len(self.cond)

    @property
    def length(self) -> int:
        """Number of token positions of every example."""
        return self.plan.length

    def draw_cond(self, indices: np.ndarray, rng: np.random.Generator, /) -> np.ndarray:
        """Return the examples' labels; there is nothing to draw."""
        return self.cond[indices]

    def take(self, indices: Integer[np.ndarray, "..."], /) -> Int32[np.ndarray, "... length"]:
        """Read the tokens of some examples.

        Args:
            indices: Numbers of examples, 0..len-1, in an array of any shape.

        Returns:
            int32 [*indices.shape length], values 0..K-1.

        Raises:
            IndexError: If there is no such example.
            ValueError: If a record is damaged; it says which, of which shard.
        """
        flat = indices.ravel()
        if flat.size and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"examples are 0..{len(self) - 1}, got {flat.min()}..{flat.max()}")
        keys = flat.tolist()
        try:
            rows = unpack_records(self._records.__getitems__(keys) if keys else [], self._dtype)
        except (RuntimeError, RecordError) as error:
            raise ValueError(self._describe_damage(keys)) from error
        return as_tokens(rows).reshape(*indices.shape, self.length)

    @property
    def picture_names(self) -> list[str]:
        """Name of each picture in its source."""
        return [
            self.name_of(picture * self.plan.views) for picture in range(len(self.source_index))
        ]

    def name_of(self, index: int) -> str:
        """Say which picture of the source an example was made of, by its name there."""
        image = index // self.plan.views
        start, end = self._name_offsets[image : image + 2]
        return bytes(self._names[start:end]).decode(errors="surrogateescape")

    def verify(self) -> None:
        """Read every shard and compare its checksum with the manifest's.

        Raises:
            ValueError: If a shard differs; it says which.
        """
        for shard in self._shards:
            for file in (shard, *shard.get("cond", {}).values()):
                path = self.folder / file["file"]
                _check_size(path, file["bytes"])
                if file_digest(path) != file["sha256"]:
                    raise ValueError(f"{path} is damaged; delete it and {AGAIN}")

    @cached_property
    def _records(self) -> ArrayRecordDataSource:
        # With its number of records in brackets a file is not opened before it is read.
        return ArrayRecordDataSource(
            [
                f"{self.folder / shard['file']}[0:{shard['count']}]"
                for shard in self._shards
                if shard["count"]
            ]
        )

    def _load_index(self, digest: str) -> None:
        path = self.folder / INDEX
        if not path.exists() or file_digest(path) != digest:
            raise ValueError(f"{path} is missing or damaged; {AGAIN}")
        with np.load(path) as index:
            self._names, self._name_offsets = index["names"], index["name_offsets"]
            self.cond = self.group = np.repeat(index["labels"], self.plan.views)
            self.source_index = index["indices"]
            self.picture_of = np.repeat(np.arange(len(self.source_index)), self.plan.views)
            self.captions = _unpack_captions(index) if "captions" in index else ()

    def _describe_damage(self, keys: Sequence[int]) -> str:
        """Find the first damaged record of some that could not all be read."""
        for key in keys:
            try:
                unpack_records([self._records[key]], self._dtype)
            except (RuntimeError, RecordError) as error:
                shard = int(np.searchsorted(self._ends, key, side="right"))
                place = key - int(self._ends[shard]) + self._shards[shard]["count"]
                path = self.folder / self._shards[shard]["file"]
                reason = "" if isinstance(error, RecordError) else f" ({error})"
                return f"record {place} of {path} is damaged{reason}; delete that file and {AGAIN}"
        return f"the shards in {self.folder} could not be read, and now they can; try again"


class ShardRows:
    """Read rows of an array that lies in several files, mapped into memory.

    Args:
        paths: ``.npy`` files; what follows the first axis has the same shape in all.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rows.npy"
    >>> np.save(path, np.arange(6).reshape(3, 2))
    >>> ShardRows([path, path])[np.array([4, 0])].tolist()
    [[2, 3], [0, 1]]
    """

    def __init__(self, paths: Sequence[Path]):
        self._parts = [np.load(path, mmap_mode="r") for path in paths]
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.dtype = self._parts[0].dtype
        self.shape = (int(self._ends[-1]), *self._parts[0].shape[1:])

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    def __getitem__(self, index: np.ndarray, /) -> np.ndarray:
        """Copy some rows: [*index.shape ...]."""
        flat = np.asarray(index).ravel()
        if flat.size and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"rows are 0..{len(self) - 1}, got {flat.min()}..{flat.max()}")
        found = np.empty((len(flat), *self.shape[1:]), self.dtype)
        where = np.searchsorted(self._ends, flat, side="right")
        for number in np.unique(where):
            part, chosen = self._parts[number], where == number
            found[chosen] = part[flat[chosen] - (self._ends[number] - len(part))]
        return found.reshape(*np.shape(index), *self.shape[1:])


def _unpack_captions(index: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], ...]:
    text, offsets = index["captions"].tobytes(), index["caption_offsets"].tolist()
    flat = iter([text[start:end].decode() for start, end in pairwise(offsets)])
    return tuple(tuple(islice(flat, count)) for count in index["caption_counts"].tolist())


def _check_finished(folder: Path) -> None:
    if (folder / MANIFEST).exists():
        return
    if (folder / PLAN).exists():
        plan = Plan.from_json(read_json(folder / PLAN), folder / PLAN)
        done = len(list(folder.glob("tokens-*.json")))
        raise ValueError(
            f"the preparation in {folder} is not finished: {done} of {plan.num_shards} shards; "
            f"{AGAIN}"
        )
    raise ValueError(f"{folder} holds no token shards; make them with --mode=prepare")


def _check_size(path: Path, size: int) -> None:
    if not path.exists():
        raise ValueError(f"{path} is missing; {AGAIN} to make it anew")
    if path.stat().st_size != size:
        raise ValueError(
            f"{path} is truncated or damaged: {path.stat().st_size} bytes instead of {size}; "
            f"{AGAIN} to make it anew"
        )
