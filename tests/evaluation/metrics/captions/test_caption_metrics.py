"""The metrics of images from captions: which there are, and what they are measured to."""

import io

import numpy as np
from PIL import Image

from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.evaluation.metrics import pretrained
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.evaluation.metrics.images.real_images import RealImages
from cdcd_jax.evaluation.metrics.pretrained import make_caption_metrics


def bright(level):
    """A PNG of one grey level."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (level, level, level)).save(file, "PNG")
    return file.getvalue()


SOURCE = ImageBytes("greys", [bright(10 * k) for k in range(6)], list(range(6)), [])


def test_real_images_are_repeated_to_the_number_that_is_drawn():
    numbers = np.array([1, 2, 5])  # the others could not be decoded
    images = RealImages(SOURCE, image_size=4, limit=8, numbers=numbers, oversample=True)
    assert len(images) == 8
    seen = [
        (int(image[0, 0, 0]), int(label))
        for batch, labels in images.batches(3, progress=False)
        for image, label in zip(batch, labels, strict=True)
    ]
    assert seen == [(10, 0), (20, 1), (50, 2)] * 2 + [(10, 0), (20, 1)]
    once = RealImages(SOURCE, image_size=4, limit=8, numbers=numbers)
    assert len(once) == 3


def test_clip_scores_need_both_files(monkeypatch):
    real = RealImages(SOURCE, image_size=4, limit=6)
    asked, clip = {}, codebook_metric(9)

    def make_clip_metric(weights, merges, captions, *, batch_size, any_clip):
        assert not any_clip  # scores of another than ViT-B/32 are not comparable
        asked.update(weights=weights, merges=merges, captions=captions, batch_size=batch_size)
        return clip

    monkeypatch.setattr(pretrained, "make_clip_metric", make_clip_metric)
    options = {"captions": ("a", "b"), "vocab_size": 4, "batch_size": 7}
    assert len(make_caption_metrics(real, **options)) == 1  # of the codebook
    metrics = make_caption_metrics(
        real, **options, clip_weights="ViT-B-32.pt", clip_merges="bpe.gz"
    )
    assert metrics[1:] == [clip]
    assert asked == {
        "weights": "ViT-B-32.pt",
        "merges": "bpe.gz",
        "captions": ("a", "b"),
        "batch_size": 7,
    }
