import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd_jax.data.shards.records import RecordError, pack_records, record_dtype, unpack_records


def pack(tokens, vocab_size):
    count = len(tokens)
    dtype = record_dtype(length=tokens.shape[1], vocab_size=vocab_size)
    numbers = {"labels": range(count), "indices": [2**40] * count, "views": [3] * count}
    return pack_records(tokens, **numbers, dtype=dtype), dtype


@pytest.mark.parametrize(("vocab_size", "size"), [(2, 2), (65536, 2), (65537, 4), (2**31, 4)])
def test_every_token_of_the_vocabulary_survives(vocab_size, size):
    tokens = np.array([[0, vocab_size - 1, 1], [vocab_size // 2, 0, vocab_size - 1]])
    records, dtype = pack(tokens, vocab_size)
    assert [len(record) for record in records] == [20 + 3 * size] * 2
    rows = unpack_records(records, dtype)
    assert np.array_equal(rows["tokens"], tokens)
    assert rows["label"].tolist() == [0, 1]
    assert rows["index"].tolist() == [2**40] * 2
    assert rows["view"].tolist() == [3, 3]


@settings(deadline=None)
@given(byte=st.integers(0, 27), bit=st.integers(0, 7), which=st.integers(0, 2))
def test_any_flipped_bit_is_found_and_its_record_named(byte, bit, which):
    records, dtype = pack(np.arange(12).reshape(3, 4), 12)
    damaged = bytearray(records[which])
    damaged[byte] ^= 1 << bit
    records[which] = bytes(damaged)
    with pytest.raises(RecordError) as caught:
        unpack_records(records, dtype)
    assert caught.value.position == which


@pytest.mark.parametrize("record", [b"", b"abc"])
def test_a_record_of_another_size_is_damaged(record):
    records, dtype = pack(np.arange(12).reshape(3, 4), 12)
    for wrong in (record, records[1] + b"\0"):
        with pytest.raises(RecordError, match="record 1 is damaged"):
            unpack_records([records[0], wrong], dtype)


def test_no_such_record_type():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        record_dtype(length=0, vocab_size=4)
    with pytest.raises(ValueError, match="vocab_size must be in"):
        record_dtype(length=4, vocab_size=2**31 + 1)
