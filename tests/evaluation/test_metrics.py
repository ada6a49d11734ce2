"""Scores of streams: any split into batches and hosts gives the same, known cases the known."""

from functools import cache, reduce
from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np
import pytest

from cdcd_jax.data.toy.digits import load_digits
from cdcd_jax.evaluation.batches import Share, own_share
from cdcd_jax.evaluation.hosts import gather_hosts
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.evaluation.metrics.feature_sample import (
    init_feature_sample,
    kept_features,
    merge_feature_samples,
    update_feature_sample,
)
from cdcd_jax.evaluation.metrics.images.classifier import (
    classifier_metric,
    image_classifier,
    token_classifier,
)
from cdcd_jax.evaluation.metrics.images.frechet import (
    frechet_distance,
    init_moments,
    update_moments,
)
from cdcd_jax.evaluation.metrics.images.inception import inception_metric, inception_reference
from cdcd_jax.evaluation.metrics.images.inception_score import (
    inception_score,
    init_splits,
    update_splits,
)
from cdcd_jax.evaluation.metrics.images.recognition import recognition_metric
from cdcd_jax.evaluation.metrics.images.reference import Reference
from cdcd_jax.evaluation.metrics.metric import EvaluationError, score_examples
from cdcd_jax.spacing import evenly_spaced

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(60, 16, 16, 3)).astype(np.float32)
LABELS = np.arange(60) % 12
TOKENS = RNG.integers(0, 17, (60, 64))


def all_of(total):
    return Share(total, total, 0, total)


def fake_inception(images):
    """Stand in for the network: colours of the corners, and logits of eleven classes."""
    features = images[:, ::15, ::15].reshape(len(images), -1)
    return SimpleNamespace(features=features, unbiased_logits=8 * features[:, :11])


class HeldImages(NamedTuple):
    """Real images in memory."""

    images: np.ndarray
    num_distinct: int = 40

    def __len__(self):
        return len(self.images)

    def name_of(self, place):
        return f"image {place}"

    def batches(self, batch_size, *, title, progress):
        for start in range(0, len(self.images), batch_size):
            yield 255 * self.images[start : start + batch_size], None


@cache
def metrics():
    digits = load_digits("train")
    reference = inception_reference(
        fake_inception, HeldImages(IMAGES[:40]), batch_size=25, dim=12, progress=False
    )
    return {
        "tokens": classifier_metric(token_classifier(digits.tokens[:300], digits.cond[:300])),
        "images": classifier_metric(image_classifier([(IMAGES[:40], LABELS[:40])])),
        "codebook": codebook_metric(17),
        "inception": inception_metric(fake_inception, reference, num_logits=11),
        "resnet": recognition_metric(lambda images: images[:, 0, :, 0], range(12)),
    }


@pytest.fixture(scope="module", params=("tokens", "images", "codebook", "inception", "resnet"))
def metric(request):
    return metrics()[request.param]


def examples_of(metric):
    return {"tokens": TOKENS, "images": IMAGES}[metric.inputs]


def run(metric, state, rows):
    seen = metric.extract(examples_of(metric)[rows])
    return metric.update(state, seen, LABELS[rows])


def same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        assert first[key] == pytest.approx(second[key], rel=1e-6, abs=1e-9), key


def test_batches_add_up_to_the_whole(metric):
    whole = run(metric, metric.init(all_of(60)), np.arange(60))
    state = metric.init(all_of(60))
    for rows in np.split(np.arange(60), [1, 20, 33, 59]):
        state = run(metric, state, rows)
    same(metric.result(state), metric.result(whole))


@pytest.mark.parametrize("num_hosts", [2, 3])
def test_hosts_add_up_to_the_whole(monkeypatch, metric, num_hosts):
    """Each host has its rows of batches of 25, and bytes travel between them."""
    expected = metric.result(run(metric, metric.init(all_of(60)), np.arange(60)))
    monkeypatch.setattr(jax, "process_count", lambda: num_hosts)
    parts = []
    for host in range(num_hosts):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        share = own_share(60, 25)
        state = metric.init(share)
        for index in range(3):
            if len(own := share.of_batch(index)):
                state = run(metric, state, own)
        parts.append(state)
    monkeypatch.undo()
    same(metric.result(reduce(metric.merge, [gather_hosts(part)[0] for part in parts])), expected)


@pytest.mark.parametrize("num_hosts", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [1, 5, 8, 13])
def test_shares_of_hosts_make_up_the_set(monkeypatch, num_hosts, total):
    monkeypatch.setattr(jax, "process_count", lambda: num_hosts)
    seen = []
    for host in range(num_hosts):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        share = own_share(total, 4)
        own = np.concatenate([share.of_batch(index) for index in range(-(-total // 4))])
        assert len(own) == share.num_own
        np.testing.assert_array_equal(share.places(0, share.num_own), own)
        seen += own.tolist()
    assert sorted(seen) == list(range(total))


def test_gathering_keeps_every_bit():
    state = {"count": 3, "mean": np.array([1 / 3, 1e-300]), "sums": np.arange(4).reshape(2, 2)}
    (gathered,) = gather_hosts(state)
    assert gathered["count"] == 3
    for key in ("mean", "sums"):
        assert gathered[key].dtype == state[key].dtype
        np.testing.assert_array_equal(gathered[key], state[key])


def test_examples_are_looked_at_once_for_all_labellings():
    looks = []

    def logits_fn(images):
        looks.append(len(images))
        return np.eye(12)[LABELS[: len(images)]]

    metric = recognition_metric(logits_fn, range(12))
    wrong = (LABELS + 6) % 12
    batches = [({"images": IMAGES}, (LABELS, wrong))]
    right, shuffled = score_examples([metric], all_of(60), batches, num_labellings=2)
    assert looks == [60]
    assert right == {"resnet_top1": 1.0, "resnet_top5": 1.0}
    assert shuffled["resnet_top1"] == 0.0


def test_the_top_five_predictions_and_other_numbering_of_the_classes():
    """Our classes 0, 1, 2 are outputs 5, 0, 9 of ten, whose logits fall from output 0 to 9."""
    metric = recognition_metric(lambda images: np.tile(-np.arange(10.0), (3, 1)), [5, 0, 9])
    state = metric.update(metric.init(all_of(3)), metric.extract(IMAGES[:3]), np.array([0, 1, 2]))
    assert metric.result(state) == {"resnet_top1": 1 / 3, "resnet_top5": 1 / 3}
    state = metric.update(state, metric.extract(IMAGES[:3]), np.array([1, 1, 1]))
    assert metric.result(state) == {"resnet_top1": 4 / 6, "resnet_top5": 4 / 6}


@pytest.mark.parametrize("limit", [5, 100])
@pytest.mark.parametrize("num_hosts", [1, 3])
def test_features_are_kept_evenly_over_the_set_whatever_the_hosts(monkeypatch, num_hosts, limit):
    features = np.arange(120.0).reshape(60, 2)
    monkeypatch.setattr(jax, "process_count", lambda: num_hosts)
    samples = []
    for host in range(num_hosts):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        share = own_share(60, 7)
        sample = init_feature_sample(share, 2, distinct=30, limit=limit)
        for index in range(9):
            sample = update_feature_sample(sample, features[share.of_batch(index)])
        samples.append(sample)
    assert len({sample.features.shape for sample in samples}) == 1  # or they could not be gathered
    kept = kept_features(reduce(merge_feature_samples, samples))
    # Of the first thirty, which are all that are different.
    np.testing.assert_array_equal(kept, features[evenly_spaced(30, limit)])


@pytest.mark.parametrize("broken", ["the features", "the image"])
def test_the_first_image_whose_features_are_not_finite_is_named(broken):
    images = IMAGES.copy()
    if broken == "the image":
        images[[37, 52], 0, 0, 0] = np.nan

    def inception(batch):
        outputs = fake_inception(batch)
        bad = (batch[:, 1, 1, 1] == IMAGES[37, 1, 1, 1]) & (broken == "the features")
        return SimpleNamespace(
            features=np.where(bad[:, None], np.inf, outputs.features),
            unbiased_logits=outputs.unbiased_logits,
        )

    metric = inception_metric(inception, Reference(init_moments(12)), num_logits=11)
    batches = [({"images": images[k : k + 20]}, (LABELS[k : k + 20],)) for k in (0, 20, 40)]
    cause = "although the example is finite" if broken == "the features" else "itself is not"
    with pytest.raises(EvaluationError, match=f"of sample 37 are not finite, .*{cause}"):
        score_examples([metric], Share(60, 20, 0, 20), batches, name_of=lambda k: f"sample {k}")
    held = HeldImages(images[:40])
    with pytest.raises(EvaluationError, match=r"of image 37 are not finite"):
        inception_reference(inception, held, batch_size=25, dim=12, progress=False)


def test_what_uses_no_labels_is_computed_once():
    results = []
    plain = metrics()["codebook"]

    def result(state):
        results.append(state)
        return plain.result(state)

    batches = [({"tokens": TOKENS}, (LABELS, LABELS[::-1]))]
    first, second = score_examples(
        [plain._replace(result=result)], all_of(60), batches, num_labellings=2
    )
    assert first == second
    assert len(results) == 1


def test_inception_score_by_its_definition():
    logits = RNG.normal(size=(40, 7)) * 3
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = []
    for part in np.split(probs, 10):
        marginal = part.mean(axis=0)
        expected.append(np.exp(np.mean(np.sum(part * np.log(part / marginal), axis=1))))
    splits = init_splits(all_of(40), 7)
    for batch in np.split(logits, [3, 17]):
        splits = update_splits(splits, batch)
    mean, deviation = inception_score(splits)
    assert mean == pytest.approx(np.mean(expected), rel=1e-9)
    assert deviation == pytest.approx(np.std(expected), rel=1e-9)
    # Fewer examples than parts, and logits that would overflow.
    assert inception_score(update_splits(init_splits(all_of(3), 7), np.full((3, 7), 1e4)))[0] == 1.0


@pytest.mark.parametrize("total", [3, 10, 105])
def test_the_parts_of_the_inception_score_are_rounded_as_published(total):
    logits = RNG.normal(size=(total, 3)) * 3
    splits = update_splits(init_splits(all_of(total), 3), logits)
    bounds = [(i * total // 10, (i + 1) * total // 10) for i in range(10)]
    assert splits.counts.tolist() == [end - start for start, end in bounds]
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = [probs[start:end].sum(axis=0) for start, end in bounds]
    np.testing.assert_allclose(splits.probs, expected)


def test_the_distance_is_to_the_reference():
    metric = metrics()["inception"]
    state = run(metric, metric.init(all_of(40)), np.arange(40))
    assert metric.result(state)["fid"] == pytest.approx(0.0, abs=1e-6)
    features = fake_inception(IMAGES[40:]).features
    other = update_moments(init_moments(12), features)
    reference = update_moments(init_moments(12), fake_inception(IMAGES[:40]).features)
    state = run(metric, metric.init(all_of(20)), np.arange(40, 60))
    assert metric.result(state)["fid"] == pytest.approx(frechet_distance(other, reference))


def test_a_classifier_of_images_uses_colours_and_ranks_its_predictions():
    """Twelve classes of noise around a colour each."""
    colours = RNG.uniform(0.2, 0.8, size=(12, 1, 1, 3))

    def draw(labels):
        return np.clip(colours[labels] + RNG.normal(0, 0.1, (len(labels), 16, 16, 3)), 0, 1)

    labels = np.arange(120) % 12
    as_bytes = np.round(255 * draw(labels)).astype(np.uint8)
    classifier = image_classifier([(as_bytes[:50], labels[:50]), (as_bytes[50:], labels[50:])])
    assert classifier.accuracy(draw(labels), labels) > 0.8
    metric = classifier_metric(classifier)
    fresh = metric.update(metric.init(all_of(120)), metric.extract(draw(labels)), labels)
    wrong = metric.update(metric.init(all_of(120)), metric.extract(draw(0 * labels)), labels)
    good, bad = metric.result(fresh), metric.result(wrong)
    assert good["top5_accuracy"] >= good["accuracy"] > 0.8
    assert bad["accuracy"] == pytest.approx(1 / 12, abs=0.02)
    assert bad["top5_accuracy"] == pytest.approx(5 / 12, abs=0.1)
    assert bad["frechet_distance"] > 2 * good["frechet_distance"]
    with pytest.raises(ValueError, match="at least 8 pixels a side, got"):
        classifier.predict(np.zeros((1, 16, 7, 3)))


def test_merging_nothing_with_nothing_is_nothing():
    empty = init_moments(2)
    assert gather_hosts(empty)[0].num_examples == 0
    assert jax.tree.all(
        jax.tree.map(np.array_equal, update_moments(empty, np.zeros((0, 2))), empty)
    )
