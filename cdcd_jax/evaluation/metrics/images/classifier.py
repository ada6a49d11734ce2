"""The reference classifier of samples, fitted on real training examples only."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Real, Shaped
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.svm import SVC

from cdcd_jax.evaluation.metrics.images.descriptors import describe_images
from cdcd_jax.evaluation.metrics.images.frechet import (
    Moments,
    frechet_distance,
    init_moments,
    merge_moments,
    update_moments,
)
from cdcd_jax.evaluation.metrics.metric import Inputs, Metric

Examples = Shaped[np.ndarray, "examples ..."]
Labels = Int[np.ndarray, " examples"]

TOP = 5


class Classifier:
    """A classifier of examples, whose features a Frechet distance is measured in.

    The features are the classifier's decision values, standardised by their mean and deviation over
    the training examples. Where there is one for each class, their mean over the classes is taken
    away first: it says nothing about the class, and blur moves it a long way.

    Args:
        vectors: [examples dim] descriptions of real training examples.
        labels: [examples] their classes; at least two different ones.
        inputs: What the examples are.
        machine: A classifier of scikit-learn, not fitted yet.
        describe: Turns a batch of examples into such vectors.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    def __init__(
        self,
        vectors: Real[np.ndarray, "examples dim"],
        labels: Labels,
        *,
        inputs: Inputs,
        machine: Any,
        describe: Callable[[np.ndarray], np.ndarray],
    ):
        if len(np.unique(labels)) < 2:
            raise ValueError("a classifier needs training examples of at least two classes")
        self.inputs: Inputs = inputs
        self._machine, self._describe = machine, describe
        self._machine.fit(vectors, labels)
        decisions = self._decisions(vectors)
        self.ranks = decisions.shape[1] == len(machine.classes_) > TOP
        """True if it has a decision value for each class, and more classes than predictions."""
        decisions = self._centred(decisions)
        self._mean = decisions.mean(axis=0, keepdims=True)
        self._deviation = decisions.std(axis=0, keepdims=True)
        features = (decisions - self._mean) / self._deviation
        self.reference = update_moments(init_moments(features.shape[1]), features)
        """Moments of the training examples' features."""

    def predict(self, examples: Examples) -> Labels:
        """Return the class of each example."""
        return self._machine.predict(self._describe(examples))

    def accuracy(self, examples: Examples, labels: Labels) -> float:
        """Return the share of examples, 0..1, that are taken for what their labels say."""
        return float(np.mean(self.predict(examples) == labels))

    def features(self, examples: Examples) -> Float64[np.ndarray, "examples dim"]:
        """Return decision values of mean 0 and deviation 1 over the training examples."""
        return self._standardised(self._decisions(self._describe(examples)))

    def extract(self, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Return guesses [examples guesses], the best first, and features.

        A classifier that ranks guesses five classes, another one.
        """
        vectors = self._describe(examples)
        decisions = self._decisions(vectors)
        if self.ranks:
            order = np.argsort(-decisions, axis=1, kind="stable")[:, :TOP]
            return self._machine.classes_[order], self._standardised(decisions)
        return self._machine.predict(vectors)[:, None], self._standardised(decisions)

    def _decisions(self, vectors: np.ndarray) -> np.ndarray:
        # With two classes scikit-learn leaves the only axis out.
        return self._machine.decision_function(vectors).reshape(len(vectors), -1)

    def _centred(self, decisions: np.ndarray) -> np.ndarray:
        return decisions - decisions.mean(axis=1, keepdims=True) if self.ranks else decisions

    def _standardised(self, decisions: np.ndarray) -> np.ndarray:
        return (self._centred(decisions) - self._mean) / self._deviation


def token_classifier(tokens: Int[np.ndarray, "examples length"], labels: Labels) -> Classifier:
    """Fit a classifier of tokens as numbers: of grey levels, not of a codebook.

    A support vector machine with a Gaussian kernel. It fits the digits in 0.1 s, is the same at
    each fit, and recognises 96% of the test digits, whose writers it has not seen. Its features
    have one dimension for each pair of classes.

    Args:
        tokens: Real training examples.
        labels: Their classes; at least two different ones.

    Returns:
        The classifier.

    >>> classifier = token_classifier(np.array([[0, 0], [1, 0], [9, 9]]), np.array([3, 3, 5]))
    >>> classifier.predict(np.array([[0, 1], [9, 8]])).tolist()
    [3, 5]
    """
    # Cross-validation that leaves out whole forms of digits is flat in C from 3 to 100.
    machine = SVC(C=10.0, gamma="scale", decision_function_shape="ovo")
    return Classifier(
        tokens, labels, inputs="tokens", machine=machine, describe=lambda tokens: tokens
    )


def image_classifier(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Classifier:
    """Fit a classifier of colour images: their descriptors, and linear discriminants of them.

    It needs no pretrained weights and no long training, so it serves for comparing settings, not
    for comparing with published numbers. Its features have one dimension for each class.

    Args:
        batches: Real training images [batch height width 3], uint8 or values 0..1, and their
            classes [batch]; only descriptors are kept.

    Returns:
        The classifier.

    Raises:
        ValueError: If there are fewer than two classes.
    """
    described = [(describe_images(images), labels) for images, labels in batches]
    vectors, labels = (np.concatenate(parts) for parts in zip(*described, strict=True))
    # Shrinkage because there are about as many dimensions as examples.
    machine = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)
    return Classifier(vectors, labels, inputs="images", machine=machine, describe=describe_images)


class _State(NamedTuple):
    counts: Int[np.ndarray, "3"]  # examples, right at once, right among the first guesses
    moments: Moments


def classifier_metric(classifier: Classifier) -> Metric:
    """Score examples by a classifier.

    Args:
        classifier: The classifier.

    Returns:
        A metric whose result is ``accuracy`` (0..1, how often the requested class is
        predicted), ``top5_accuracy`` where classes are ranked, and ``frechet_distance`` to
        the classifier's training examples in its features.
    """
    dim = classifier.reference.mean.size

    def update(
        state: _State, extracted: tuple[np.ndarray, np.ndarray], labels: np.ndarray
    ) -> _State:
        predictions, features = extracted
        right = predictions == labels[:, None]
        counts = np.array([len(labels), right[:, 0].sum(), right.any(axis=1).sum()])
        return _State(state.counts + counts, update_moments(state.moments, features))

    def result(state: _State) -> dict[str, float]:
        total, first, among = state.counts.tolist()
        ranked = {"top5_accuracy": among / total} if classifier.ranks else {}
        distance = frechet_distance(state.moments, classifier.reference)
        return {"accuracy": first / total, **ranked, "frechet_distance": distance}

    return Metric(
        inputs=classifier.inputs,
        extract=classifier.extract,
        init=lambda share: _State(np.zeros(3, np.int64), init_moments(dim)),
        update=update,
        merge=lambda a, b: _State(a.counts + b.counts, merge_moments(a.moments, b.moments)),
        result=result,
    )
