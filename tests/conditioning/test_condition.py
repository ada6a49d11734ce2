"""Conditions: what the denoiser is told, what stands for nothing, and what is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.conditioning.condition import (
    class_condition,
    drop_condition,
    feature_condition,
    text_condition,
)
from cdcd_jax.conditioning.vocabulary import CaptionTokenizer, learn_vocabulary

CAPTIONS = ["latin capital letter a, serif bold", "greek small letter omega, sans italic"]
SMALL = {"width": 8, "num_layers": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def tokenizer():
    return CaptionTokenizer(learn_vocabulary(CAPTIONS, vocab_size=300), length=12)


def test_words_of_the_captions_become_few_tokens(tokenizer):
    rows = tokenizer([*CAPTIONS, "", "Ωμέγα 🎈 zyx"])
    assert rows.shape == (4, 12)
    assert rows.dtype == np.int32
    counts = tokenizer.count([*CAPTIONS, "", "Ωμέγα 🎈 zyx"])
    assert counts[2] == 1  # the end alone
    assert counts[3] > counts[0] - 5  # any Unicode, byte by byte
    assert rows[2].tolist() == [tokenizer.end] + [0] * 11
    # Padding begins after the end, and only there.
    for row, count in zip(rows, counts, strict=True):
        shown = min(count, 12)
        assert row[shown - 1] == tokenizer.end
        assert (row[shown:] == 0).all()
        assert (row[:shown] > 0).all()


def test_the_vocabulary_is_the_same_each_time_and_keeps_its_size():
    first = learn_vocabulary(CAPTIONS, vocab_size=290)
    assert first == learn_vocabulary(reversed(CAPTIONS), vocab_size=290)
    assert CaptionTokenizer(first, length=4).vocab_size == 290
    assert (
        CaptionTokenizer(first, length=4)(["Latin  CAPITAL"]).tolist()
        == CaptionTokenizer(first, length=4)(["latin capital"]).tolist()
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: learn_vocabulary(CAPTIONS, vocab_size=200), "vocab_size = 200 must be at least"),
        (lambda: learn_vocabulary([], vocab_size=300), "there are no captions to learn"),
        (lambda: CaptionTokenizer("{", length=4), "the vocabulary cannot be read"),
        (
            lambda: CaptionTokenizer(learn_vocabulary(CAPTIONS, vocab_size=300), length=1),
            "length = 1 must be at least 2",
        ),
        (
            lambda: feature_condition(np.zeros((2, 3), np.float32), null="nothing"),
            'null = "nothing" must be one of',
        ),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def text(tokenizer, null):
    return text_condition(vocab_size=300, length=12, empty=tokenizer([""])[0], null=null, **SMALL)


def test_no_text_is_the_empty_text_or_learned(tokenizer):
    condition = text(tokenizer, "empty")
    params = condition.init(jax.random.key(0))
    assert set(params) == {"encoder"}
    features = condition.encode(params, jnp.asarray(tokenizer([""])))
    np.testing.assert_allclose(condition.null(params, 2)[1], features[0], atol=1e-6)

    condition = text(tokenizer, "learned")
    params = condition.init(jax.random.key(0))
    gradient = jax.grad(lambda p: jnp.sum(condition.null(p, 3)))(params)
    np.testing.assert_array_equal(gradient["null"], np.full((12, 8), 3.0))

    frozen = np.arange(6, dtype=np.float32).reshape(2, 3)
    condition = feature_condition(frozen, null="empty")
    assert condition.init(jax.random.key(0)) == {}
    np.testing.assert_array_equal(condition.null({}, 2), np.stack([frozen, frozen]))
    np.testing.assert_array_equal(condition.encode({}, frozen), frozen)


def test_dropped_conditions_are_the_null_condition():
    condition = class_condition(7)
    labels, dropped = jnp.arange(40) % 7, np.arange(40) % 3 == 0
    found = drop_condition(jnp.asarray(dropped), labels, condition.null({}, 40))
    np.testing.assert_array_equal(found == 7, dropped)
    np.testing.assert_array_equal(found[~dropped], labels[~dropped])


def test_whole_texts_are_dropped(tokenizer):
    condition = text(tokenizer, "learned")
    params = condition.init(jax.random.key(0))
    features = condition.encode(params, jnp.asarray(tokenizer(CAPTIONS * 20)))
    drawn = np.arange(40) % 3 == 0
    found = drop_condition(jnp.asarray(drawn), features, condition.null(params, 40))
    dropped = np.asarray((found == params["null"][None]).all(axis=(1, 2)))
    np.testing.assert_array_equal(dropped, drawn)
    np.testing.assert_array_equal(found[~dropped], features[~dropped])
