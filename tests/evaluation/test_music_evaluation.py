"""Scores of music made for dances: real, through the codec, made, and under shuffled dances."""

import jax
import numpy as np
import pytest

from cdcd_jax.data.batch import TokenExamples, take_rows
from cdcd_jax.evaluation.evaluate import evaluate
from cdcd_jax.evaluation.metrics.audio.music import DanceTruth, make_music_metrics
from cdcd_jax.evaluation.metrics.metric import RawExamples
from cdcd_jax.evaluation.table import format_table

LENGTH, HOP, EXAMPLES = 40, 1102, 12


def decode(tokens):
    """Play a click of 30 ms for each token 1, at its beginning."""
    click = np.random.default_rng(0).normal(size=660) * np.exp(-np.arange(660) / 150)
    sound = np.zeros((len(tokens), LENGTH, HOP), np.float32)
    sound[:, :, :660] = np.asarray(tokens)[:, :, None] * click * 0.3
    return sound.reshape(len(tokens), -1)


@pytest.fixture(scope="module")
def examples():
    """Draw dances whose motion is their music's clicks, so that a model can be perfect."""
    rng = np.random.default_rng(1)
    tokens = np.zeros((EXAMPLES, LENGTH), np.int32)
    for row in tokens:
        row[np.arange(rng.integers(2, 9), LENGTH, rng.integers(6, 11))] = 1
    cond = {"motion": tokens[:, :, None].astype(np.float32), "genre": np.arange(EXAMPLES) % 2}
    return TokenExamples(tokens=tokens, cond=cond, group=cond["genre"])


def test_a_model_that_follows_the_dance_stands_out_from_shuffled_dances(examples):
    audio = decode(examples.tokens)
    beats = [np.flatnonzero(row) * HOP / 22050 for row in examples.tokens]
    truth = DanceTruth(audio, beats, examples.group)
    asked = []

    def sample_fn(key, cond, num_steps, truncation):
        asked.append({name: rows.shape for name, rows in cond.items()})
        return np.rint(cond["motion"][:, :, 0]).astype(np.int32)

    def bound_fn(key, z0, cond):
        wrong = np.abs(cond["motion"][:, :, 0] - z0).sum(1)
        return np.log(2.0) * wrong

    result = evaluate(
        jax.random.key(0),
        bound_fn=bound_fn,
        sample_fn=sample_fn,
        train=examples,
        test=examples,
        by_example=True,
        metrics=make_music_metrics(truth, None),
        decode_fn=decode,
        raw=RawExamples(
            "real test music", "audio", EXAMPLES, lambda size, bar: [(audio, np.arange(EXAMPLES))]
        ),
        num_samples=EXAMPLES,
        num_steps=(5,),
        truncations=(1.0,),
        batch_size=5,
        progress=False,
    )
    assert asked[0] == {"motion": (5, LENGTH, 1), "genre": (5,)}
    assert result["bits_per_token"] == 0
    assert result["bits_per_token_shuffled"] > 0.1
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == [
        "real test music", "real, through the codec", "samples", "samples, labels shuffled",
    ]  # fmt: skip
    for name in list(rows)[:3]:
        assert rows[name]["onset_f"] == rows[name]["beats_hit"] == 1
        assert rows[name]["tempo_difference"] == 0
        assert rows[name]["beat_alignment"] > 0.8
    assert rows["samples, labels shuffled"]["onset_f"] < 0.6
    assert rows["samples, labels shuffled"]["beat_alignment"] < 0.5
    table = format_table(result)
    assert "with another example's condition" in table
    assert "onset F" in table


def test_rows_of_conditions_are_taken_by_name(examples):
    rows = take_rows(examples.cond, np.array([3, 1]))
    assert rows["motion"].shape == (2, LENGTH, 1)
    assert rows["genre"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="motion must have one row for each of the 12"):
        TokenExamples(
            tokens=examples.tokens, cond={"motion": np.zeros((3, 1))}, group=examples.group
        )
