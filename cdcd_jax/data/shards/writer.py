"""Writing one token shard, and publishing the folder when all shards exist."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from cdcd_jax.data.batch import check_tokens
from cdcd_jax.data.shards.manifest import (
    INDEX,
    MANIFEST,
    Bond,
    Plan,
    file_digest,
    read_json,
    sweep_up,
    write_json,
    writing,
)
from cdcd_jax.data.shards.records import pack_records, record_dtype

WRITER_OPTIONS = "group_size:1,uncompressed"
"""A record is read alone; tokens hardly compress, and reading is nearly twice as fast without."""


@dataclass(frozen=True)
class Views:
    """The views to encode of one image or piece of music, or an error.

    Attributes:
        index: Its number in its source.
        name: Its name there.
        label: Its class.
        crops: What the encoder takes: uint8 [size size 3] of an image, float32 [samples] of music;
            empty for one that is skipped.
        error: Why it is skipped.
        captions: Texts that describe it.
        cond: Arrays that its tokens are generated from, by name; each shape is the same for all.
    """

    index: int
    name: str
    label: int
    crops: Sequence[np.ndarray]
    error: Exception | None = None
    captions: tuple[str, ...] = ()
    cond: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_shard(
    path: Path,
    images: Iterable[Views],
    plan: Plan,
    encode_fn: Callable[[np.ndarray], Any],
    *,
    batch_size: int,
) -> None:
    """Encode a shard's images, write the shard, then the JSON beside it that says it is complete.

    Args:
        path: The shard's file.
        images: All its images in order.
        plan: What is prepared.
        encode_fn: Turns uint8 [batch height width 3] into tokens [batch length].
        batch_size: Number of crops encoded at once.

    Raises:
        ValueError: If the file cannot be written, or the encoder's result does not fit.
    """
    found = _Found()
    crops = _list_crops(images, found)
    with writing(path) as temporary:
        with _disk_errors():
            writer = ArrayRecordWriter(str(temporary), WRITER_OPTIONS)
        try:
            while batch := list(islice(crops, batch_size)):
                records = _encode(batch, plan, encode_fn)
                with _disk_errors():
                    for record in records:
                        writer.write(record)
        finally:
            with _disk_errors():
                writer.close()
    content = {
        "plan": plan.digest,
        "count": len(found.kept) * plan.views,
        "bytes": path.stat().st_size,
        "sha256": file_digest(path),
        "labels": [image.label for image in found.kept],
        "indices": [image.index for image in found.kept],
        "names": [image.name for image in found.kept],
        "skipped": [[image.index, image.name, str(image.error)] for image in found.skipped],
    }
    if any(image.captions for image in found.kept):
        content["captions"] = [image.captions for image in found.kept]
    if found.kept and found.kept[0].cond:
        content["cond"] = {
            name: _write_rows(path, name, [image.cond[name] for image in found.kept])
            for name in found.kept[0].cond
        }
    write_json(path.with_suffix(".json"), content)


def _write_rows(path: Path, name: str, rows: Sequence[np.ndarray]) -> dict[str, Any]:
    """Write an array with a row for each image beside the shard, to be read by index."""
    file = path.with_suffix(f".{name}.npy")
    with writing(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, np.stack(rows))
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": file_digest(file)}


def is_complete(path: Path, plan: Plan) -> bool:
    """Return whether a shard and its JSON exist, belong to this plan, and agree in size."""
    beside = path.with_suffix(".json")
    if not path.exists() or not beside.exists():
        return False
    content = read_json(beside)
    if content.get("plan") != plan.digest or content.get("bytes") != path.stat().st_size:
        return False
    rows = [(path.with_name(file["file"]), file) for file in content.get("cond", {}).values()]
    return all(file.exists() and file.stat().st_size == row["bytes"] for file, row in rows)


def publish(folder: Path, plan: Plan, bond: Bond) -> None:
    """Write the index and the manifest of complete shards, and remove what kills have left.

    Args:
        folder: Where they are.
        plan: What was prepared.
        bond: Which split it is, if it is one of two.

    Raises:
        ValueError: If every image was skipped, or a file cannot be read or written.
    """
    names = [plan.shard_name(shard) for shard in range(plan.num_shards)]
    shards = [read_json((folder / name).with_suffix(".json")) for name in names]
    skipped = [entry for shard in shards for entry in shard["skipped"]]
    labels = np.array([label for shard in shards for label in shard["labels"]], np.int32)
    if not len(labels):
        raise ValueError(f"none of the {len(skipped)} images of {plan.source} can be decoded")
    encoded = [name.encode(errors="surrogateescape") for shard in shards for name in shard["names"]]
    captions = [
        texts for shard in shards for texts in shard.get("captions", [()] * len(shard["names"]))
    ]
    with writing(folder / INDEX) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            labels=labels,
            indices=np.array([index for shard in shards for index in shard["indices"]], np.int64),
            names=np.frombuffer(b"".join(encoded), np.uint8),
            name_offsets=np.cumsum([0, *map(len, encoded)], dtype=np.int64),
            **_pack_captions(captions),
        )
    # Labels without classes only number the images: there is nothing to count.
    counts = np.bincount(labels) * plan.views if plan.class_names else np.zeros(0, int)
    counts = np.pad(counts, (0, max(0, len(plan.class_names) - len(counts))))
    bound = asdict(bond) if bond.split else {}
    manifest = (
        plan.to_json()
        | bound
        | {
            "num_records": len(labels) * plan.views,
            "class_counts": counts.tolist(),
            "skipped": skipped,
            "index": {"file": INDEX, "sha256": file_digest(folder / INDEX)},
            "shards": [
                {"file": name}
                | {key: shard[key] for key in ("count", "bytes", "sha256", "cond") if key in shard}
                for name, shard in zip(names, shards, strict=True)
            ],
        }
    )
    write_json(folder / MANIFEST, manifest)
    sweep_up(folder)


def _pack_captions(captions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Lay the captions of all images out as arrays; without captions there are no arrays."""
    if not any(captions):
        return {}
    encoded = [text.encode() for texts in captions for text in texts]
    return {
        "captions": np.frombuffer(b"".join(encoded), np.uint8),
        "caption_offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
        "caption_counts": np.array([len(texts) for texts in captions], np.int64),
    }


class _Crop(NamedTuple):
    """One crop on its way to the encoder."""

    number: int
    label: int
    view: int
    image: np.ndarray


@dataclass
class _Found:
    """The images that a shard holds and those it skips, without their crops."""

    kept: list[Views] = field(default_factory=list)
    skipped: list[Views] = field(default_factory=list)


def _list_crops(images: Iterable[Views], found: _Found) -> Iterator[_Crop]:
    for image in images:
        (found.kept if image.error is None else found.skipped).append(replace(image, crops=()))
        for view, crop in enumerate(image.crops):
            yield _Crop(image.index, image.label, view, crop)


def _encode(
    batch: Sequence[_Crop], plan: Plan, encode_fn: Callable[[np.ndarray], Any]
) -> list[bytes]:
    tokens = np.asarray(encode_fn(np.stack([crop.image for crop in batch])))
    if tokens.shape != (len(batch), plan.length):
        raise ValueError(
            f"the encoder made tokens of shape {tokens.shape} of {len(batch)} images, "
            f"not {(len(batch), plan.length)} as grid {plan.grid} says"
        )
    check_tokens(tokens, vocab_size=plan.vocab_size)
    return pack_records(
        tokens,
        labels=[crop.label for crop in batch],
        indices=[crop.number for crop in batch],
        views=[crop.view for crop in batch],
        dtype=record_dtype(length=plan.length, vocab_size=plan.vocab_size),
    )


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise ArrayRecord's RuntimeError as an OSError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error
