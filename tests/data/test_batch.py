import numpy as np
import pytest

from cdcd_jax.data.batch import Examples, TokenExamples, check_batch, check_tokens


def make_batch(**changes):
    batch = {
        "tokens": np.zeros((2, 4), np.int32),
        "cond": np.zeros(2, np.int32),
        "negatives": np.zeros((2, 3, 4), np.int32),
    }
    batch.update(changes)
    return {key: value for key, value in batch.items() if value is not None}


def test_a_good_batch_passes():
    check_batch(make_batch(), vocab_size=5, length=4, num_negatives=3)
    check_batch(make_batch(negatives=None), vocab_size=5, length=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": None}, 'no "tokens"'),
        ({"cond": None}, 'no "cond"'),
        ({"negatives": None}, 'no "negatives"'),
        ({"tokens": np.zeros((2, 5), np.int32)}, r"tokens must have shape \[batch, 4\]"),
        ({"tokens": np.zeros((2, 4), np.int64)}, "tokens must be int32, got int64"),
        ({"tokens": np.full((2, 4), 5, np.int32)}, r"tokens must be in 0..4 .*found 5"),
        ({"tokens": np.full((2, 4), -1, np.int32)}, "found -1"),
        ({"cond": np.zeros(3, np.int32)}, "cond must have one row"),
        ({"negatives": np.zeros((2, 1, 4), np.int32)}, r"negatives must have shape \(2, 3, 4\)"),
        ({"negatives": np.full((2, 3, 4), 9, np.int32)}, "negatives must be in 0..4"),
    ],
)
def test_a_bad_batch_gets_a_sentence_that_names_the_key(changes, message):
    with pytest.raises(ValueError, match=message):
        check_batch(make_batch(**changes), vocab_size=5, length=4, num_negatives=3)


def test_unused_negatives_are_refused():
    with pytest.raises(ValueError, match="negatives must have shape"):
        check_batch(make_batch(), vocab_size=5, length=4, num_negatives=0)


def test_no_tokens_are_no_bad_tokens():
    check_tokens(np.zeros((2, 0, 4), np.int32), vocab_size=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": np.zeros(3, np.int32)}, "tokens must be integers of shape"),
        ({"tokens": np.zeros((3, 4), np.float32)}, "tokens must be integers"),
        ({"group": np.zeros((3, 1), np.int32)}, "group must be integers of shape"),
        ({"group": np.zeros(2, np.int32)}, "group must have one row for each of the 3"),
        ({"cond": np.zeros((2, 8), np.float32)}, "cond must have one row for each of the 3"),
    ],
)
def test_examples_need_one_row_each(changes, message):
    arrays = {
        "tokens": np.zeros((3, 4), np.int32),
        "cond": np.zeros((3, 8), np.float32),
        "group": np.arange(3),
    }
    assert len(TokenExamples(**arrays)) == 3
    with pytest.raises(ValueError, match=message):
        TokenExamples(**arrays | changes)


def test_examples_are_taken_in_the_shape_of_their_indices():
    rows = np.arange(12).reshape(3, 4)
    examples = TokenExamples(tokens=rows, cond=np.arange(3), group=np.arange(3))
    assert isinstance(examples, Examples)
    assert (len(examples), examples.length) == (3, 4)
    taken = examples.take(np.array([[2, 0], [1, 1]]))
    assert taken.dtype == np.int32
    assert np.array_equal(taken, rows[[[2, 0], [1, 1]]])
    taken[:] = 0  # a batch may be written to without spoiling the set
    assert rows.sum() == 66
