"""Arguments of ``cdcd.evaluate`` are checked before any work."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import cdcd_jax as cdcd
from tests.support.tiny_generator import tiny_generator


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": None}, "metrics = None must be names of metrics (codebook"),
        ({"metrics": "accuracy"}, '"accuracy"'),
        ({"metrics": ["codebook", 3]}, "metrics = ['codebook', 3] must be names of metrics"),
        ({"num_samples": 2.5}, "num_samples"),
    ],
)
def test_wrong_metrics_and_numbers_are_named(options, message):
    def denoise(params, zt, t, cond):
        raise AssertionError("nothing is computed")

    generator = tiny_generator(denoise, vocab_size=3, length=2, num_steps=2)
    data = jnp.asarray(np.zeros((4, 2), np.int32))
    with pytest.raises(ValueError, match=re.escape(message)):
        cdcd.evaluate(generator, data, 0, **options)
