"""Samples as other people's metrics read them: whole or not at all, in order, a batch at a time."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from cdcd_jax.evaluation.metrics.images.archived_images import ArchivedImages
from cdcd_jax.evaluation.npz import stream_rows
from cdcd_jax.reading.arrays import read_layouts
from cdcd_jax.visualization.export import check_export, export_images

IMAGES = np.random.default_rng(0).uniform(-0.1, 1.1, (7, 6, 5, 3)).astype(np.float32)
BYTES = np.round(255 * np.clip(IMAGES, 0, 1)).astype(np.uint8)


def export(path, images=IMAGES, total=7):
    with export_images(path, total) as add:
        for start in range(0, len(images), 3):
            add(images[start : start + 3])


def export_until_interrupted(path):
    with export_images(path, 7) as add:
        add(IMAGES[:3])
        raise KeyboardInterrupt


def read(path):
    if path.suffix == ".npz":
        return np.load(path)["arr_0"]
    files = sorted(path.iterdir())
    assert [file.name for file in files] == [f"{k:06d}.png" for k in range(len(files))]
    return np.stack([np.asarray(Image.open(file)) for file in files])


@pytest.mark.parametrize("name", ["samples.npz", "samples"])
def test_images_come_back_in_order(tmp_path, name):
    path = tmp_path / "new" / name
    export(path)
    np.testing.assert_array_equal(read(path), BYTES)
    assert [file.name for file in path.parent.iterdir()] == [name]
    export(tmp_path / f"grey{name}", IMAGES[..., 0])
    np.testing.assert_array_equal(read(tmp_path / f"grey{name}"), BYTES[..., :1].repeat(3, axis=3))


@pytest.mark.parametrize("name", ["samples.npz", "samples"])
def test_nothing_is_left_of_what_was_not_finished(tmp_path, name):
    for total in (6, 8):
        with pytest.raises(ValueError, match=f"7 images came to be exported .* not {total}"):
            export(tmp_path / name, total=total)
    with pytest.raises(KeyboardInterrupt):
        export_until_interrupted(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_written_and_read_in_little_memory(tmp_path):
    path, batch = tmp_path / "samples.npz", np.zeros((10, 64, 64, 3), np.float32)
    export(tmp_path / "warm.npz")
    tracemalloc.start()
    with export_images(path, 400) as add:
        for _ in range(40):
            add(batch)
    for rows in stream_rows(path, "arr_0", 10):
        assert rows.shape == (10, 64, 64, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2
    assert read_layouts(path)["arr_0"].shape == (400, 64, 64, 3)


def test_what_was_exported_is_a_reference_for_others(tmp_path):
    export(tmp_path / "samples.npz")
    archived = ArchivedImages(tmp_path / "samples.npz", "arr_0")
    batches = list(archived.batches(4, progress=False))
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), BYTES)


def test_nothing_is_written_over(tmp_path):
    with pytest.raises(ValueError, match=r"already exists; name another"):
        check_export(tmp_path)
    with pytest.raises(ValueError, match=r"x\.png must be a folder, whose name needs no \.png, or"):
        check_export(tmp_path / "x.png")
    check_export(tmp_path / "new.npz")


def test_an_ending_in_capitals_is_an_archive_too(tmp_path):
    path = tmp_path / "out.NPZ"
    with export_images(path, 1) as add:
        add(np.ones((1, 8, 8, 3)))
    assert path.is_file()
