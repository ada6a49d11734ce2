import json

import jax
import numpy as np
import pytest

from cdcd_jax.data.toy.digits import load_digits
from cdcd_jax.evaluation.bits import measure_bits
from cdcd_jax.evaluation.evaluate import evaluate
from cdcd_jax.evaluation.table import format_table

TRAIN, TEST = load_digits("train"), load_digits("test")


def real_digits(key, labels, num_steps, truncation):
    """Stand in for a perfect generator: real test digits of the classes asked for."""
    seed = int(jax.random.bits(key))
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(TEST.tokens[TEST.cond == label]) for label in labels])


def noise(key, labels, num_steps, truncation):
    return jax.random.randint(key, (len(labels), 64), 0, 17)


def uniform_bound(key, z0, cond):
    return np.full(len(z0), 64 * np.log(17.0))


def run(sample_fn=real_digits, **options):
    options = {"num_samples": 400, "num_steps": (50,), "truncations": (1.0,)} | options
    return evaluate(
        jax.random.key(0),
        bound_fn=uniform_bound,
        sample_fn=sample_fn,
        train=TRAIN,
        test=TEST,
        progress=False,
        **options,
    )


def test_real_digits_score_like_the_ground_truth_and_shuffled_labels_like_chance():
    truth, samples, chance = run()["rows"]
    assert truth["num_samples"] == 382
    assert truth["accuracy"] > 0.95
    assert samples["accuracy"] == pytest.approx(truth["accuracy"], abs=0.04)
    assert samples["frechet_distance"] == pytest.approx(truth["frechet_distance"], rel=0.4)
    assert chance["accuracy"] == pytest.approx(0.1, abs=0.05)


def test_noise_is_far_away():
    truth, samples, _ = run(noise)["rows"]
    assert samples["accuracy"] < 0.3
    assert samples["frechet_distance"] > 3 * truth["frechet_distance"]


def test_one_row_for_each_setting_and_the_first_is_the_main_one():
    calls = []

    def sample_fn(key, labels, num_steps, truncation):
        calls.append((len(labels), num_steps, truncation))
        return real_digits(key, labels, num_steps, truncation)

    result = run(
        sample_fn, num_samples=25, num_steps=(50, 5), truncations=(0.86, 1.0), batch_size=10
    )
    settings = [(50, 0.86), (50, 1.0), (5, 0.86), (5, 1.0)]
    rows = result["rows"]
    assert [(row["num_steps"], row["truncation"]) for row in rows[1:-1]] == settings
    # Every call has the same size, so that each setting is compiled once.
    assert calls == [(10, *setting) for setting in settings for _ in range(3)]
    assert result["accuracy"] == rows[1]["accuracy"]
    assert result["frechet_distance"] == rows[1]["frechet_distance"]
    assert rows[-1]["name"] == "samples, labels shuffled"
    assert (rows[-1]["num_steps"], rows[-1]["truncation"]) == (50, 0.86)
    assert {row["num_samples"] for row in rows[1:]} == {25}
    # The same keys for every setting: here the settings make no difference at all.
    assert len({row["frechet_distance"] for row in rows[1:]}) == 1


def test_classes_are_requested_in_turn_whatever_the_batch():
    asked = []

    def sample_fn(key, labels, num_steps, truncation):
        asked.extend(labels)
        return real_digits(key, labels, num_steps, truncation)

    run(sample_fn, num_samples=30, batch_size=15)
    assert asked == list(range(10)) * 3


def test_the_main_settings_samples_are_handed_on_in_order():
    drawn, given = [], []

    def sample_fn(key, labels, num_steps, truncation):
        tokens = real_digits(key, labels, num_steps, truncation)
        drawn.append((num_steps, tokens))
        return tokens

    def on_samples(tokens, count):
        given.append(tokens[:count])

    options = {"num_samples": 25, "batch_size": 10, "num_steps": (50, 5)}
    run(sample_fn, on_samples=on_samples, **options)
    expected = np.concatenate([tokens for num_steps, tokens in drawn if num_steps == 50])
    np.testing.assert_array_equal(np.concatenate(given), expected[:25])


def test_the_result_is_json_and_prints_as_a_table():
    result = json.loads(json.dumps(run(num_samples=20, batch_size=10)))
    assert result["bits_per_token"] == pytest.approx(np.log2(17.0))
    lines = format_table(result).splitlines()
    assert "4.0875 ± 0.0000 bits per token" in lines[0]
    assert len(lines) == 2 + 3
    assert len({len(line) for line in lines[1:]}) == 1  # columns line up


def test_scores_too_large_for_their_columns_are_still_apart():
    result = run(num_samples=20, batch_size=10)
    result["rows"] = [row | {"fid": 12345.678, "kid": 12345.678} for row in result["rows"]]
    assert " 12345.68 12345.67800 " in format_table(result)


def test_bits_count_every_example_once():
    """382 examples in batches of 100: the filling of the last batch is not counted."""

    def first_token(key, z0, cond):
        assert len(z0) == 100
        return z0[:, 10].astype(np.float32)

    bits, error = measure_bits(jax.random.key(0), first_token, TEST, batch_size=100, progress=False)
    expected = TEST.tokens[:, 10] / (64 * np.log(2.0))
    assert bits == pytest.approx(expected.mean(), rel=1e-6)
    assert error == pytest.approx(expected.std() / np.sqrt(382), rel=1e-6)


def test_batches_get_different_keys():
    seen = []

    def bound(key, z0, cond):
        seen.append(jax.random.key_data(key).tolist())
        return np.zeros(len(z0))

    measure_bits(jax.random.key(0), bound, TEST, batch_size=200, progress=False)
    assert len(seen) == 2
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 1}, "num_samples must be at least 2, got 1"),
        ({"num_steps": ()}, "num_steps must be one or more"),
        ({"num_steps": (5, 0)}, "num_steps must be one or more"),
        ({"truncations": (0.0,)}, r"truncations must be one or more rates in \(0, 1\]"),
        ({"truncations": ()}, "truncations must be one or more"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_named_before_any_work(options, message):
    def never(*arguments):
        raise AssertionError("work was done")

    with pytest.raises(ValueError, match=message):
        run(never, **options)


def test_samples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(100, 64\), got \(100, 63\)"):
        run(lambda key, labels, *_: np.zeros((len(labels), 63), np.int32))
