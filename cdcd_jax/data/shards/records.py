"""The record of a token shard: checksum, label, origin and tokens.

Little-endian and of fixed size, so that a batch of records is one structured array:

    crc    uint32            CRC-32 of everything that follows
    label  int32             class, 0..classes-1
    index  int64             number of the image in its source
    view   int32             which crop of the image
    tokens uint16 or uint32  row-major; 16 bits where K <= 65,536
"""

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

_CRC_BYTES = 4


class RecordError(ValueError):
    """An error that names a damaged record.

    Attributes:
        position: Its place among the records that were unpacked.
    """

    def __init__(self, position: int):
        super().__init__(f"record {position} is damaged")
        self.position = position


def record_dtype(*, length: int, vocab_size: int) -> np.dtype:
    """Describe a record as a structured type.

    Args:
        length: Number of tokens, >= 1.
        vocab_size: K, the number of different tokens, 1..2**31.

    Returns:
        The packed little-endian type.

    Raises:
        ValueError: If a number is out of range.

    >>> record_dtype(length=256, vocab_size=974).itemsize
    532
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if not 1 <= vocab_size <= 2**31:
        raise ValueError(f"vocab_size must be in 1..2**31, got {vocab_size}")
    token = "<u2" if vocab_size <= 2**16 else "<u4"
    fields = [("crc", "<u4"), ("label", "<i4"), ("index", "<i8"), ("view", "<i4")]
    return np.dtype([*fields, ("tokens", token, (length,))])


def pack_records(
    tokens: Int[np.ndarray, "records length"],
    *,
    labels: Sequence[int],
    indices: Sequence[int],
    views: Sequence[int],
    dtype: np.dtype,
) -> list[bytes]:
    """Pack tokens and where they came from.

    Args:
        tokens: Values 0..K-1.
        labels: Class of each.
        indices: Number of each one's image in the source.
        views: Which crop of the image each is.
        dtype: From ``record_dtype``.

    Returns:
        The records.

    >>> dtype = record_dtype(length=2, vocab_size=9)
    >>> tokens = np.array([[3, 8]])
    >>> records = pack_records(tokens, labels=[1], indices=[40], views=[0], dtype=dtype)
    >>> unpack_records(records, dtype)["tokens"].tolist()
    [[3, 8]]
    """
    rows = np.zeros(len(tokens), dtype)
    rows["tokens"], rows["label"] = tokens, labels
    rows["index"], rows["view"] = indices, views
    data, size = rows.tobytes(), dtype.itemsize
    bodies = [data[k * size + _CRC_BYTES : (k + 1) * size] for k in range(len(rows))]
    return [zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body for body in bodies]


def unpack_records(records: Sequence[bytes], dtype: np.dtype) -> np.ndarray:
    """Unpack records and check them.

    Args:
        records: Records of the type.
        dtype: From ``record_dtype``.

    Returns:
        Structured array [records], read-only.

    Raises:
        RecordError: If a record has another size or checksum; it says which.
    """
    for position, record in enumerate(records):
        body = memoryview(record)[_CRC_BYTES:]
        stored = int.from_bytes(record[:_CRC_BYTES], "little")
        if len(record) != dtype.itemsize or zlib.crc32(body) != stored:
            raise RecordError(position)
    return np.frombuffer(b"".join(records), dtype)


def as_tokens(rows: np.ndarray) -> Int32[np.ndarray, "records length"]:
    """Copy the tokens out of unpacked records."""
    return rows["tokens"].astype(np.int32)
