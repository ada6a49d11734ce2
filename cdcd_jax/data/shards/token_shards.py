"""Prepared tokens on disk, read by index: training without the images."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from jaxtyping import Int32, Integer

from cdcd_jax.data.shards.manifest import (
    AGAIN,
    INDEX,
    MANIFEST,
    PLAN,
    Bond,
    Plan,
    file_digest,
    read_json,
)
from cdcd_jax.data.shards.records import RecordError, as_tokens, record_dtype, unpack_records
from cdcd_jax.data.shards.rows import ShardRows
from cdcd_jax.reading.archives import FREE_BYTES, MAX_RATIO
from cdcd_jax.reading.arrays import read_npz

WHOLE = 256 * 2**20
"""Bytes of shards that are compared with their checksums at the start of a run: half a second."""


class TokenShards:
    """Token shards that ``prepare`` has written.

    Opening reads the manifest and the index and looks at the shards' sizes; a shard is opened when
    a record of it is first read. Threads may read at the same time.

    Args:
        folder: The folder that was prepared.
        fingerprint: Fingerprint of the codec that is to decode the tokens.

    Attributes:
        cond: [examples] int32 labels.
        group: The same labels: classes are each other's inter negatives.
        class_names: Name of each class; empty where labels only number the images.
        captions: The captions of each image; empty for a set without captions.
        image_of: [examples] the image that an example is a view of.
        source_index: [images] number of each image in its source.
        rows: What music is generated from: arrays by name, with a row for each piece, read from
            disk when they are indexed; empty for images.
        bond: Which split it is, and which other one was prepared with it.
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
        self.bond = Bond.from_json(manifest)
        if self.plan.fingerprint != fingerprint:
            raise ValueError(
                f"the shards in {folder} were made with another codec (fingerprint "
                f"{self.plan.fingerprint[:12]}, not {fingerprint[:12]}); "
                "give that codec, or prepare them in another folder"
            )
        try:
            self._open(manifest)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(
                f"{self.folder / MANIFEST} is damaged; delete it and {AGAIN}"
            ) from error
        self.class_names = self.plan.class_names
        self.vocab_size, self.grid = self.plan.vocab_size, self.plan.grid
        self._dtype = record_dtype(length=self.length, vocab_size=self.vocab_size)
        self._ends = np.cumsum([shard["count"] for shard in self._shards])

    def _open(self, manifest: Mapping[str, Any]) -> None:
        """Compare the manifest with the files that it lists, and read the index."""
        self._shards = manifest["shards"]
        if len(self._shards) != self.plan.num_shards:
            raise KeyError("shards")
        names = [self.plan.shard_name(shard) for shard in range(self.plan.num_shards)]
        if [shard["file"] for shard in self._shards] != names:
            raise KeyError("shards")
        for file in self._files():
            _check_size(self.folder / file["file"], file["bytes"])
            if not isinstance(file["sha256"], str):
                raise TypeError("sha256")
        size = record_dtype(length=self.length, vocab_size=self.plan.vocab_size).itemsize
        for shard in self._shards:
            # Tokens hardly shrink, so a shard has no more of them than its bytes allow.
            if not 0 <= shard["count"] * size <= FREE_BYTES + MAX_RATIO * shard["bytes"]:
                raise KeyError("count")
        filled = [shard for shard in self._shards if shard["count"]]
        self.rows = {
            name: ShardRows([self.folder / shard["cond"][name]["file"] for shard in filled])
            for name in filled[0].get("cond", ())
        }
        self._load_index(manifest["index"]["sha256"])

    def __len__(self) -> int:
        """Count the examples: views of images."""
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
        tokens = as_tokens(rows)
        self._check_belong(flat, rows, tokens)
        return tokens.reshape(*indices.shape, self.length)

    def check(self) -> None:
        """Check for damage and for files of another set, as far as is cheap at the start of a run.

        Arrays beside the shards have no other checksum than the manifest's, so they are read whole.
        So are shards of ``WHOLE`` bytes together; of more, the first and the last record of each is
        read, and all others are checked as training reads them.

        Raises:
            ValueError: If a file is damaged or of another set; it says which.
        """
        files = [file for shard in self._shards for file in shard.get("cond", {}).values()]
        if sum(shard["bytes"] for shard in self._shards) <= WHOLE:
            files += self._shards
        self._compare(files)
        counts = np.array([shard["count"] for shard in self._shards])
        for ends in (self._ends - counts, self._ends - 1):
            self.take(ends[counts > 0])

    @property
    def image_names(self) -> list[str]:
        """Name of each image in its source."""
        return [self.name_of(image * self.plan.views) for image in range(len(self.source_index))]

    def name_of(self, index: int) -> str:
        """Return the name of an example's image in the source."""
        image = index // self.plan.views
        start, end = self._name_offsets[image : image + 2]
        return bytes(self._names[start:end]).decode(errors="surrogateescape")

    def verify(self) -> None:
        """Read every shard and compare its checksum with the manifest's.

        Raises:
            ValueError: If a shard differs; it says which.
        """
        self._compare(self._files())

    def _files(self) -> list[dict[str, Any]]:
        """List the shards and the arrays beside them."""
        return [file for shard in self._shards for file in (shard, *shard.get("cond", {}).values())]

    def _compare(self, files: Sequence[Mapping[str, Any]]) -> None:
        """Compare the checksums of some files with the manifest's."""

        def compare(file: Mapping[str, Any]) -> None:
            path = self.folder / file["file"]
            _check_size(path, file["bytes"])
            if file_digest(path) != file["sha256"]:
                raise ValueError(f"{path} is damaged; delete it and {AGAIN}")

        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(compare, files):
                pass

    def _check_belong(self, keys: np.ndarray, rows: np.ndarray, tokens: np.ndarray) -> None:
        """Raise a ValueError for a record that is whole, but of another set of shards."""
        expected = self.source_index[keys // self.plan.views], self.cond[keys]
        wrong = (rows["index"] != expected[0]) | (rows["label"] != expected[1])
        wrong |= (rows["view"] != keys % self.plan.views) | (tokens >= self.vocab_size).any(axis=1)
        if wrong.any():
            path, place = self._place(int(keys[np.argmax(wrong)]))
            raise ValueError(
                f"record {place} of {path} is of another set; delete that file and {AGAIN}"
            )

    def _place(self, key: int) -> tuple[Path, int]:
        """Return the file of a record, and its place there."""
        shard = int(np.searchsorted(self._ends, key, side="right"))
        place = key - int(self._ends[shard]) + self._shards[shard]["count"]
        return self.folder / self._shards[shard]["file"], place

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
        try:
            index = read_npz(path)
            _check_index(index)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error!s:.200}); {AGAIN}") from error
        if sum(s["count"] for s in self._shards) != len(index["labels"]) * self.plan.views:
            raise KeyError("count")
        self._names, self._name_offsets = index["names"], index["name_offsets"]
        self.cond = self.group = np.repeat(index["labels"], self.plan.views)
        self.source_index = index["indices"]
        self.image_of = np.repeat(np.arange(len(self.source_index)), self.plan.views)
        self.captions = _unpack_captions(index) if "captions" in index else ()

    def _describe_damage(self, keys: Sequence[int]) -> str:
        """Find the first damaged record of some that could not all be read."""
        for key in keys:
            try:
                unpack_records([self._records[key]], self._dtype)
            except (RuntimeError, RecordError) as error:
                path, place = self._place(key)
                reason = "" if isinstance(error, RecordError) else f" ({error})"
                return f"record {place} of {path} is damaged{reason}; delete that file and {AGAIN}"
        return f"the shards in {self.folder} could not be read, and now they can; try again"


def _check_index(index: Mapping[str, np.ndarray]) -> None:
    """Raise a ValueError if the arrays of an index contradict each other."""
    num, offsets = index["labels"].size, index["name_offsets"]
    whole = (
        all(array.ndim == 1 and array.dtype.kind in "iu" for array in index.values())
        and len(index["indices"]) == num == len(offsets) - 1
        and (np.diff(offsets) >= 0).all()
        and 0 <= offsets[0] <= offsets[-1] <= len(index["names"])
    )
    if whole and "captions" in index:
        offsets, counts = index["caption_offsets"], index["caption_counts"]
        whole = len(counts) == num and counts.sum() == len(offsets) - 1
    if not whole:
        raise ValueError("its arrays contradict each other")


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
