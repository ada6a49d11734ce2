import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from cdcd_jax.data.negatives import OtherGroups


@given(
    group=st.lists(st.integers(-3, 3), min_size=2, max_size=30).filter(lambda g: len(set(g)) > 1),
    num_negatives=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_never_of_the_own_group(group, num_negatives, seed):
    group = np.array(group)
    indices = np.arange(len(group))
    drawn = OtherGroups(group).draw(
        np.random.default_rng(seed), indices, num_negatives=num_negatives
    )
    assert drawn.shape == (len(group), num_negatives)
    assert np.all(group[drawn] != group[:, None])


def test_uniform_over_all_examples_of_other_groups():
    """Groups of very different sizes, interleaved: every other example is equally likely."""
    group = np.array([0, 1, 2, 1, 1, 0, 2, 1, 1, 1, 1, 3])
    others = OtherGroups(group)
    for index in (0, 1, 2, 11):
        drawn = others.draw(np.random.default_rng(0), np.array([index]), num_negatives=20_000)
        counts = np.bincount(drawn[0], minlength=len(group))
        allowed = group != group[index]
        assert counts[~allowed].sum() == 0
        assert chisquare(counts[allowed]).pvalue > 1e-3


def test_examples_of_a_batch_draw_independently():
    group = np.arange(1000) % 10
    drawn = OtherGroups(group).draw(np.random.default_rng(0), np.array([0, 0, 0]), num_negatives=8)
    assert len(np.unique(drawn, axis=0)) == 3


def test_more_negatives_than_examples_repeat_some():
    drawn = OtherGroups(np.array([0, 1, 1])).draw(
        np.random.default_rng(0), np.array([0]), num_negatives=50
    )
    assert set(drawn[0]) == {1, 2}


def test_a_single_group_has_no_negatives():
    with pytest.raises(ValueError, match="inter negatives need at least two classes"):
        OtherGroups(np.zeros(5, int))
