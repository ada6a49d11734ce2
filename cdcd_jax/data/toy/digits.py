"""Real handwritten digits, 8x8 pixels of 17 grey levels, one token per pixel; no download.

scikit-learn ships the test part of the UCI "Optical Recognition of Handwritten Digits" set
(Alpaydin and Kaynak, 1998): 1,797 digits of 13 writers. Who wrote which is not published, but the
order is that of the forms they filled in: each form has the same sequence (0..9 three times,
then a fixed list of a hundred), so the labels show where one ends. There are 14 forms of 122 to 130
digits, and a form is one hand: 54% of the digits have their nearest other digit (in pixels) on
their own form, against 7% by chance.

The split therefore cuts between two forms: the first 11 (1,415 digits) train, the last 3 (382)
test. No form is on both sides, so a model that copies a training hand gains nothing by it; a
shuffled split would put every writer on both sides and flatter every score. With 14 forms of 13
writers, one writer may have filled in two; whether those are on both sides cannot be known.
"""

import numpy as np
from sklearn.datasets import load_digits as _load_sklearn_digits

from cdcd_jax.data.batch import TokenExamples

VOCAB_SIZE = 17
"""Grey levels 0..16: how many of a 4x4 block's pixels are ink."""

NUM_CLASSES = 10

GRID = (8, 8)

NUM_TRAIN = 1415
"""Where the twelfth form starts."""


def load_digits(split: str) -> TokenExamples:
    """Load one split of the digits in file order.

    Args:
        split: ``"train"`` (1,415 digits, 11 forms) or ``"test"`` (382 digits, 3 forms).

    Returns:
        Tokens in row-major order, with the digit as condition and as group.

    Raises:
        ValueError: If there is no such split.

    >>> digits = load_digits("test")
    >>> digits.tokens.shape, int(digits.tokens.max()), digits.cond[:5].tolist()
    ((382, 64), 16, [0, 1, 2, 3, 4])
    """
    parts = {"train": slice(None, NUM_TRAIN), "test": slice(NUM_TRAIN, None)}
    if split not in parts:
        raise ValueError(f'there is no split "{split}" of the digits, only "train" and "test"')
    images, labels = _load_sklearn_digits(return_X_y=True)
    labels = labels[parts[split]].astype(np.int32)
    return TokenExamples(tokens=images[parts[split]].astype(np.int32), cond=labels, group=labels)
