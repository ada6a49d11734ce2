"""A generator of captioned images is scored by the captions that it was requested."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.data.batch import TokenExamples
from cdcd_jax.data.images.captioned import CaptionedExamples
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.evaluation.evaluate import evaluate
from cdcd_jax.evaluation.metrics.images.real_images import RealImages, raw_images
from cdcd_jax.evaluation.metrics.metric import Metric
from cdcd_jax.evaluation.requests import SampleRequests
from cdcd_jax.evaluation.table import format_table

NUMBERS = np.array([0, 1, 3, 4, 6, 7, 8, 9])
"""Of the images that were prepared; the others could not be decoded."""

SHADES = 20 * NUMBERS


def grey(number):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (20 * number,) * 3).save(file, "PNG")
    return file.getvalue()


def captioned():
    """Each image's two tokens are its shade, and its captions say that and how they say it."""
    count = len(NUMBERS)
    label = np.zeros(count, np.int32)
    tokens = TokenExamples(
        tokens=np.repeat(SHADES[:, None], 2, axis=1), cond=label, group=np.arange(count)
    )
    texts = np.stack([SHADES.repeat(3), np.tile([201, 202, 203], count)], axis=1).astype(np.int32)
    return CaptionedExamples(tokens, texts, np.arange(0, 3 * count + 1, 3), np.arange(count))


TEST = captioned()


def match_metric(sees, asked, shades=SHADES):
    """Count how often what is seen has the shade that belongs to the label."""

    def update(state, features, labels):
        asked.extend(labels.tolist())
        return state + np.array([len(labels), np.sum(features == shades[labels])])

    def extract(batch):
        return np.round(255 * batch[:, 0, 0, 0]) if sees == "images" else batch[:, 0]

    return Metric(
        inputs=sees,
        extract=extract,
        init=lambda share: np.zeros(2),
        update=update,
        merge=lambda first, second: first + second,
        result=lambda state: {f"{sees}_match": float(state[1] / state[0])},
    )


def listen(key, cond, num_steps, truncation):
    return np.repeat(cond[:, :1], 2, axis=1)


def ignore(key, cond, num_steps, truncation):
    return np.full((len(cond), 2), SHADES[2], np.int32)


def bound(key, z0, cond):
    """Give nothing where the caption says what the tokens are, four bits where it does not."""
    return 4 * np.log(2.0) * (z0[:, 0] != cond[:, 0])


def run(sample_fn, asked=None, shades=SHADES, **options):
    source = ImageBytes("greys", [grey(k) for k in range(10)], [0] * 10, [])
    options = {"num_samples": 12, "num_real": 100} | options
    return evaluate(
        jax.random.key(0),
        bound_fn=bound,
        sample_fn=sample_fn,
        train=TEST,
        test=TEST,
        by_example=True,
        metrics=[
            match_metric("tokens", [] if asked is None else asked, shades),
            match_metric("images", [], shades),
        ],
        decode_fn=lambda tokens: np.broadcast_to(
            tokens[:, :1, None, None] / np.float32(255), (len(tokens), 4, 4, 3)
        ),
        raw=raw_images(RealImages(source, image_size=4, limit=100, numbers=NUMBERS)),
        num_steps=(5,),
        truncations=(1.0,),
        batch_size=5,
        progress=False,
        **options,
    )


def test_who_listens_to_the_captions_beats_who_draws_for_others():
    result = run(listen)
    raw, coded, samples, shuffled = result["rows"]
    assert [row["num_samples"] for row in result["rows"]] == [8, 8, 12, 12]
    assert raw["images_match"] == coded["images_match"] == samples["images_match"] == 1
    assert coded["tokens_match"] == samples["tokens_match"] == result["tokens_match"] == 1
    assert shuffled["tokens_match"] == shuffled["images_match"] < 0.5
    assert "tokens_match" not in raw


def test_who_ignores_them_is_no_better_than_chance():
    *_, samples, shuffled = run(ignore)["rows"]
    # One or two of twelve samples were requested by that caption, in whatever order.
    assert samples["tokens_match"] == shuffled["tokens_match"]
    assert samples["tokens_match"] in (1 / 12, 2 / 12)


@pytest.mark.parametrize(
    ("num_samples", "wanted"),
    [(5, [0, 2, 4, 5, 7]), (12, [*range(8), *range(4)])],
)
def test_metrics_get_the_numbers_of_the_requested_examples(num_samples, wanted):
    asked = []
    assert run(listen, asked, num_samples=num_samples)["tokens_match"] == 1
    real, drawn = asked[:8], asked[8:]
    assert real == list(range(8))
    # Each batch is scored by the labels asked for, then by the shuffled ones.
    batches = [(at, min(at + 5, num_samples)) for at in range(0, num_samples, 5)]
    own, others = [], []
    for start, end in batches:
        own += drawn[2 * start : start + end]
        others += drawn[start + end : 2 * end]
    assert own == wanted
    assert sorted(others) == sorted(wanted)
    assert others != own


@pytest.mark.parametrize("num_samples", [24, 12, 30])
def test_samples_for_all_captions_of_each_image(num_samples):
    """Eight images with three captions each: 24 are requested, and the real ones have their own.

    A label is then the number of a caption, of which the match takes the image's shade.
    """
    asked = []
    requests = SampleRequests(TEST.texts, TEST.caption_of)
    shades = SHADES.repeat(3)
    result = run(listen, asked, shades=shades, num_samples=num_samples, requests=requests)
    raw, coded, samples, shuffled = result["rows"]
    assert raw["images_match"] == coded["tokens_match"] == samples["tokens_match"] == 1
    assert shuffled["tokens_match"] < 0.5
    assert asked[:8] == TEST.caption_of.tolist()
    drawn = asked[8:]
    assert len(drawn) == 2 * num_samples
    assert len(set(drawn)) == min(num_samples, 24)
    # Both the labels asked for and the shuffled ones: each caption as often as the others.
    counts = np.bincount(drawn, minlength=24)
    assert counts.max() - counts.min() <= 2


@pytest.mark.parametrize(("num_real", "count"), [(100, 8), (3, 3), (2, 2)])
def test_the_bound_under_captions_of_others(num_real, count):
    result = run(listen, num_real=num_real)
    assert result["num_test_examples"] == count
    assert result["bits_per_token"] == 0
    assert result["bits_per_token_shuffled"] == pytest.approx(2)  # none keeps its own
    assert "0.0000 bits per token, 2.0000 with another example's condition" in format_table(result)


def test_captions_are_no_classes_for_a_classifier():
    with pytest.raises(ValueError, match="metrics are needed, as there are no classes"):
        evaluate(
            jax.random.key(0),
            bound_fn=bound,
            sample_fn=listen,
            train=TEST,
            test=TEST,
            by_example=True,
            num_steps=(5,),
        )


def test_real_images_are_spread_over_those_that_were_prepared():
    source = ImageBytes("greys", [grey(k) for k in range(10)], [0] * 10, [])
    for oversample in (False, True):
        options = {"image_size": 4, "limit": 3, "numbers": NUMBERS, "oversample": oversample}
        (batch,) = RealImages(source, **options).batches(9, progress=False)
        np.testing.assert_array_equal(batch[1], [0, 4, 7])
        np.testing.assert_array_equal(batch[0][:, 0, 0, 0], SHADES[[0, 4, 7]])
