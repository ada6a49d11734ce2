"""Captioned examples: one caption an epoch, all of them in time, the same on any host."""

import numpy as np
import pytest

from cdcd_jax.data.batch import Examples, TokenExamples
from cdcd_jax.data.images.captioned import CaptionedExamples, number_captions
from cdcd_jax.data.pipeline import make_train_dataset

CAPTIONS = [["a", "b"], ["c"], ["d", "e", "f"]]
VIEWS = 2


def captioned():
    """Three images of two views each; a caption's token is its number."""
    flat, first = number_captions(CAPTIONS)
    texts = np.arange(len(flat), dtype=np.int32)[:, None]
    image = np.repeat(np.arange(3), VIEWS)
    tokens = TokenExamples(tokens=np.arange(6)[:, None], cond=image, group=image)
    return CaptionedExamples(tokens, texts, first, image)


def test_each_epoch_draws_one_of_an_images_own_captions():
    examples = captioned()
    assert isinstance(examples, Examples)
    seen = [set() for _ in range(6)]
    batches = make_train_dataset(examples, batch_size=6, seed=0)
    for epoch in range(40):
        batch = batches[epoch]
        assert sorted(batch["tokens"][:, 0]) == list(range(6))
        for token, text in zip(batch["tokens"][:, 0], batch["cond"][:, 0], strict=True):
            seen[token].add(int(text))
    assert seen == [{0, 1}, {0, 1}, {2}, {2}, {3, 4, 5}, {3, 4, 5}]


def test_the_captions_are_the_same_for_any_number_of_processes():
    options = {"batch_size": 4, "seed": 3, "num_negatives": 2}
    whole = make_train_dataset(captioned(), **options)
    parts = [
        make_train_dataset(captioned(), **options, process_index=index, num_processes=2)
        for index in range(2)
    ]
    for step in range(5):
        for key in ("tokens", "cond", "negatives"):
            joined = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(joined, whole[step][key])
    groups = whole[0]["negatives"][..., 0] // VIEWS
    assert (groups != whole[0]["tokens"] // VIEWS).all()


def test_what_is_always_the_same_goes_round_the_captions():
    examples = captioned()
    np.testing.assert_array_equal(examples.caption_of, [0, 1, 2, 2, 4, 5])
    np.testing.assert_array_equal(examples.cond[:, 0], examples.caption_of)


def test_images_without_captions_are_refused():
    flat, first = number_captions([["a"], []])
    tokens = TokenExamples(tokens=np.zeros((2, 1), int), cond=np.arange(2), group=np.arange(2))
    texts = np.zeros((len(flat), 1), np.int32)
    with pytest.raises(ValueError, match="image 1 has no caption"):
        CaptionedExamples(tokens, texts, first, np.arange(2))
    with pytest.raises(ValueError, match="do not fit"):
        CaptionedExamples(tokens, texts, first, np.arange(3))
