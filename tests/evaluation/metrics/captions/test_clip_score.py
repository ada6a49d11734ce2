"""CLIPScore and R-precision: another implementation's numbers, and cases worked out by hand."""

import gzip

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from cdcd_jax.conditioning.clip_bpe import ClipTokenizer
from cdcd_jax.evaluation.batches import Share
from cdcd_jax.evaluation.metrics.captions import clip_score
from cdcd_jax.evaluation.metrics.captions.clip_score import clip_metric, make_clip_metric
from cdcd_jax.evaluation.metrics.captions.clip_towers import check_vit_b_32, load_clip
from cdcd_jax.evaluation.metrics.metric import score_examples
from tests.support.golden_files import load_golden
from tests.support.procedural import layout_of, procedural_state

MERGES = "p h\no t\nph ot\nphot o</w>\nd e\np i\nc t\nde pi\ndepi ct\ndepict s</w>\n"


@pytest.fixture(scope="module")
def data():
    return load_golden("clip_score/transformers.npz")


def run(metric, images, labels):
    state = metric.init(len(labels))
    for start in range(0, len(labels), 3):
        seen = metric.extract(images[start : start + 3])
        state = metric.update(state, seen, labels[start : start + 3])
    return state


def test_the_score_is_that_of_transformers(data):
    lengths = 1 + np.arange(4)[:, None]  # of no matter
    asked, numbers = data["asked"], np.arange(4)
    metric = clip_metric(lambda images: data["image_fp32"], data["text_fp32"] * lengths, numbers)
    [result] = score_examples(
        [metric], Share(4, 4, 0, 4), [({"images": data["pictures"]}, [asked])]
    )
    assert result["clip_score"] == pytest.approx(float(data["clip_score"]), abs=1e-6)
    rest = np.where(np.eye(4)[asked] == 1, -np.inf, data["cosines"])
    nearest = data["cosines"][np.arange(4), asked] > rest.max(axis=1)
    assert (result["r_precision"], set(result)) == (nearest.mean(), {"clip_score", "r_precision"})


def test_only_other_texts_are_rivals():
    texts = np.eye(3)[[0, 1, 0, 2, 0]]
    images, labels = np.eye(3)[[0, 0, 1, 2, 0, 1]], np.array([0, 2, 1, 3, 1, 0])
    metric = clip_metric(lambda images: images, texts, np.array([7, 1, 7, 2, 7]))
    state = run(metric, images, labels)
    # The first four are right, the captions 0, 2 and 4 being one text.
    assert metric.result(state) == {"clip_score": 2.5 * 4 / 6, "r_precision": 4 / 6}
    halves = [run(metric, images[part], labels[part]) for part in (slice(0, 2), slice(2, 6))]
    assert metric.result(metric.merge(*halves)) == metric.result(state)
    same = clip_metric(lambda images: images, np.ones((5, 3)), np.arange(5))
    assert same.result(run(same, images, labels))["r_precision"] == 0  # a tie is not a find
    alone = clip_metric(lambda images: -images, texts, np.zeros(5, int))
    assert alone.result(run(alone, images, labels)) == {"clip_score": 0}  # no other text


def test_rivals_are_as_many_as_requested():
    random = np.random.default_rng(0)
    texts = random.normal(size=(400, 6))
    images, labels = texts + 1.2 * random.normal(size=(400, 6)), np.arange(400)

    def precision(num_rivals, seed=0):
        metric = clip_metric(lambda x: x, texts, labels, num_rivals=num_rivals, seed=seed)
        return metric.result(run(metric, images, labels))["r_precision"]

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    cosines = unit(images) @ unit(texts).T
    worse = (cosines < np.diag(cosines)[:, None]).sum(axis=1)
    for num_rivals in (1, 9, 99):
        # Drawn without replacement among the 399 others.
        steps = np.arange(num_rivals)
        chances = np.prod(np.maximum(worse[:, None] - steps, 0) / (399 - steps), axis=1)
        spread = np.sqrt(np.sum(chances * (1 - chances))) / 400
        assert abs(precision(num_rivals) - chances.mean()) < 3.5 * spread
    assert precision(399) == precision(1000) == np.mean(worse == 399)
    assert precision(9) == precision(9) != precision(9, seed=1)


@pytest.fixture(scope="module")
def files(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    state = procedural_state(layout_of(data))
    state = {key: np.asarray(array) for key, array in state.items()}
    weights, merges = folder / "model.safetensors", folder / "merges.txt.gz"
    save_file(state, weights)
    merges.write_bytes(gzip.compress(f"#version\n{MERGES}".encode()))
    return str(weights), str(merges), state


def test_captions_are_read_with_their_prefix(files, data, monkeypatch):
    weights, merges, _ = files
    monkeypatch.setattr(clip_score, "check_vit_b_32", lambda towers, path: None)
    captions = ["a red cat", "blue", "A  Red cat", "xyz"]
    metric = make_clip_metric(weights, merges, captions, batch_size=3, progress=False)
    images = data["pictures"] / np.float32(255)
    seen = metric.extract(images)
    exact = data["image_fp32"] / np.linalg.norm(data["image_fp32"], axis=1, keepdims=True)
    np.testing.assert_allclose(seen, exact, atol=1e-6)

    towers = load_clip(weights)
    text = clip_score.make_clip_text(**vars(towers.text_options))
    tokenizer = ClipTokenizer(merges, length=24, num_merges=10)
    tokens = tokenizer([f"A photo depicts {caption}" for caption in captions])
    np.testing.assert_array_equal(tokens[0], tokens[2])
    assert tokens[0].argmax() < 23  # nothing is cut
    embeddings = np.asarray(jax.jit(text.embed)(towers.text_params, tokens))
    cosines = exact @ (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).T
    labels = np.array([0, 2, 1, 3])
    result = metric.result(metric.update(metric.init(4), seen, labels))
    own = cosines[np.arange(4), labels]
    assert result["clip_score"] == pytest.approx(2.5 * np.maximum(own, 0).mean(), abs=1e-6)
    assert result["r_precision"] == np.mean(own >= cosines.max(axis=1))


def test_captions_are_repaired_before_they_are_lower_cased(files, data, monkeypatch):
    """CLIP's order: lower-casing "Ã©" first would leave two signs that nothing can repair."""
    weights, merges, _ = files
    monkeypatch.setattr(clip_score, "check_vit_b_32", lambda towers, path: None)
    metric = make_clip_metric(weights, merges, ["CafÃ©", "café", "other"], progress=False)
    seen = metric.extract(data["pictures"][:2] / np.float32(255))
    broken, whole = (
        metric.result(metric.update(metric.init(2), seen, np.full(2, label))) for label in (0, 1)
    )
    assert broken == whole


def test_wrong_files_are_named(files, tmp_path, monkeypatch):
    weights, merges, state = files

    def refused(message, *, weights=weights, merges=merges, captions=("a",)):
        with pytest.raises(ValueError, match=message) as error:
            make_clip_metric(str(weights), str(merges), captions, batch_size=2)
        assert str(error.value).count(". ") == 0  # one sentence

    refused("there are no captions", captions=())
    refused(r"clip_weights: none.pt cannot be used as CLIP: There is no file", weights="none.pt")
    refused(r"clip_weights: .* is not CLIP ViT-B/32: its text tower has vocab_size = 524, not 494")
    text = {key: array for key, array in state.items() if not key.startswith("vis")}
    save_file(text, tmp_path / "text.safetensors")
    monkeypatch.setattr(clip_score, "check_vit_b_32", lambda towers, path: None)
    refused("text.safetensors has no image tower", weights=tmp_path / "text.safetensors")
    save_file(state | {"text_model.x": np.zeros(1)}, tmp_path / "other.safetensors")
    refused("has no place for, such as text_model.x", weights=tmp_path / "other.safetensors")
    refused(r"clip_merges: There is no file none.gz", merges="none.gz")
    (tmp_path / "short.txt").write_text("#version\na b\n")
    refused(r"clip_merges: .*short.txt has 1 merges of the 10", merges=tmp_path / "short.txt")


def test_sizes_of_other_towers_are_named(files):
    towers = load_clip(files[0])
    right = clip_score.make_clip_text(embed_dim=512).options
    image = clip_score.make_clip_image().options
    check_vit_b_32(towers._replace(text_options=right, image_options=image), "a.pt")
    large = clip_score.make_clip_image(patch_size=14, width=1024, num_heads=16).options
    message = "a.pt is not CLIP ViT-B/32: its image tower has patch_size = 14, not 32; take"
    with pytest.raises(ValueError, match=message):
        check_vit_b_32(towers._replace(text_options=right, image_options=large), "a.pt")
