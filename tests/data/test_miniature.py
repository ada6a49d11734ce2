"""Data sets in miniature: the readers of the real ones take them, and they are what they say."""

import numpy as np
import pytest

from cdcd_jax.data.dance.aist import load_aist
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.tiktok import load_tiktok
from cdcd_jax.data.images.coco import load_coco
from cdcd_jax.data.images.cub import load_cub
from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.imagenet import load_imagenet
from cdcd_jax.data.miniature.aist import DANCES, make_aist
from cdcd_jax.data.miniature.coco import draw_coco
from cdcd_jax.data.miniature.cub import draw_cub
from cdcd_jax.data.miniature.imagenet import WNIDS, draw_imagenet
from cdcd_jax.data.miniature.shapes import draw_shape
from cdcd_jax.data.miniature.tiktok import PIECES, make_tiktok
from cdcd_jax.evaluation.metrics.audio.beats import kinematic_beats


def test_coco(tmp_path):
    draw_coco(tmp_path)
    train, val = (load_coco(tmp_path, split) for split in ("train2014", "val2014"))
    assert (len(train), len(val)) == (24, 12)
    for source in (train, val):
        assert all(len(source[k].captions) == 5 for k in range(len(source)))
    # No combination of colour and shape comes twice in training.
    assert len({train[k].captions for k in range(24)}) == 24
    image = decode_image(train[0].data)
    assert image.shape == (72, 96, 3)
    red, green, blue = image[36, 48]
    assert red > 200 > 80 > max(green, blue)  # "A red square."


def test_cub(tmp_path):
    draw_cub(tmp_path)
    parts = {part: load_cub(tmp_path, f"{part}_classes") for part in ("train", "test")}
    labels = {part: {source[k].label for k in range(len(source))} for part, source in parts.items()}
    assert labels == {"train": {0, 1, 2, 3}, "test": {4, 5}}
    assert all(len(parts["test"][k].captions) == 10 for k in range(8))
    assert len(load_cub(tmp_path, "train")) + len(load_cub(tmp_path, "test")) == 24


def test_imagenet(tmp_path):
    draw_imagenet(tmp_path)
    train, val = (load_imagenet(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == WNIDS
    assert (len(train), len(val)) == (32, 16)
    assert len({val[k].name for k in range(16)}) == 16


def test_aist(tmp_path):
    make_aist(tmp_path, seconds=4.0)
    dances = load_aist(tmp_path, "train", video=tmp_path / "video")
    assert tuple(dances.names) == DANCES["train"]  # without the one on the ignore list
    dance = dances[1]
    assert dance.audio.shape == (4 * SAMPLE_RATE,)
    assert dance.motion.shape == (240, 219)
    assert dance.video.shape == (4, 2048)
    # Positions are slowest on the beats of the song, whose tempo its name tells.
    points = load_aist(tmp_path, "test", motion="keypoints")[0]
    beats = kinematic_beats(points.motion.reshape(-1, 17, 3), fps=60.0)
    assert points.tempo == 130.0
    period = 60 / points.tempo
    assert np.abs(beats / period - np.round(beats / period)).max() < 0.1


def test_tiktok(tmp_path):
    make_tiktok(tmp_path)
    pieces = load_tiktok(tmp_path, "train", video=True)
    assert list(pieces.names) == PIECES["train"]
    assert pieces.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert pieces[0].motion.shape == (60, 75)
    assert len(load_tiktok(tmp_path, "test")) == 2


def test_an_unknown_shape_is_named():
    with pytest.raises(ValueError, match='shape = "star" must be one of square, circle'):
        draw_shape("red", "star")
