import numpy as np
import pytest

from cdcd_jax.data.toy.digits import GRID, NUM_CLASSES, NUM_TRAIN, VOCAB_SIZE, load_digits

FORM_START = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 3 + [0, 9, 5, 5, 6, 5, 0]


def test_the_splits_hold_every_digit_once():
    train, test = load_digits("train"), load_digits("test")
    assert (len(train), len(test)) == (1415, 382)
    rows = np.concatenate([train.tokens, test.tokens])
    # The set has no two equal images, so a repeated row would be an example in both splits.
    assert len(np.unique(rows, axis=0)) == 1797


@pytest.mark.parametrize("split", ["train", "test"])
def test_tokens_are_the_seventeen_grey_levels(split):
    digits = load_digits(split)
    assert digits.tokens.dtype == np.int32
    assert digits.tokens.shape[1] == GRID[0] * GRID[1]
    assert np.array_equal(np.unique(digits.tokens), np.arange(VOCAB_SIZE))
    assert np.array_equal(np.unique(digits.cond), np.arange(NUM_CLASSES))


def test_the_split_is_between_two_forms():
    """Both splits start with the sequence that every form starts with: no writer is cut in two."""
    for split in ("train", "test"):
        assert load_digits(split).cond[: len(FORM_START)].tolist() == FORM_START
    assert len(load_digits("train")) == NUM_TRAIN


def test_classes_are_balanced_in_both_splits():
    for split in ("train", "test"):
        counts = np.bincount(load_digits(split).cond)
        assert counts.max() < 1.2 * counts.min()


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match='no split "valid"'):
        load_digits("valid")
