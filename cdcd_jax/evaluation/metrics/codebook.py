"""Codebook usage of token sequences."""

import numpy as np
from jaxtyping import Int

from cdcd_jax.evaluation.metrics.metric import Metric


def codebook_metric(vocab_size: int) -> Metric:
    """Measure how many of the K tokens occur, and how evenly.

    Args:
        vocab_size: K.

    Returns:
        A metric of tokens whose result is ``codes_used``, the share of the K tokens that occur at
        all (0..1), and ``code_perplexity``, exp of the entropy of their frequencies: K when all are
        equally frequent, 1 when there is only one.

    >>> metric = codebook_metric(4)
    >>> features = metric.extract(np.array([[0, 0, 3, 3]]))
    >>> state = metric.update(metric.init(None), features, np.array([0]))
    >>> metric.result(state)
    {'codes_used': 0.5, 'code_perplexity': 2.0}
    """

    def extract(tokens: Int[np.ndarray, "examples length"]) -> Int[np.ndarray, " K"]:
        return np.bincount(tokens.ravel(), minlength=vocab_size)

    def result(counts: Int[np.ndarray, " K"]) -> dict[str, float]:
        share = counts[counts > 0] / counts.sum()
        return {
            "codes_used": float(np.mean(counts > 0)),
            "code_perplexity": float(np.exp(-np.sum(share * np.log(share)))),
        }

    return Metric(
        inputs="tokens",
        extract=extract,
        init=lambda share: np.zeros(vocab_size, np.int64),
        update=lambda counts, features, labels: counts + features,
        merge=lambda first, second: first + second,
        result=result,
        uses_labels=False,
    )
