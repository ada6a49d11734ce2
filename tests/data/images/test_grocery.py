import io
import json

import numpy as np
import pytest
from PIL import Image

from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.grocery import load_grocery


def write_grocery(folder, **changes):
    """Write three images in the set's form."""
    images = []
    for value in (0, 100, 200):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), (value, value, value)).save(file, "JPEG")
        images.append(file.getvalue())
    arrays = {
        "val_jpeg": np.frombuffer(b"".join(images), np.uint8),
        "val_offsets": np.cumsum([0] + [len(image) for image in images]),
        "val_fine": np.array([1, 0, 1], np.uint8),
    }
    np.savez(folder / "grocery64_jpeg.npz", **arrays | changes)
    classes = [{"id": 1, "name": "Milk"}, {"id": 0, "name": "Kiwi"}]
    (folder / "classes.json").write_text(json.dumps(classes))


def test_images_are_cut_out_at_the_offsets(tmp_path):
    write_grocery(tmp_path)
    source = load_grocery(tmp_path, "val")
    assert (len(source), source.class_names) == (3, ("Kiwi", "Milk"))
    assert [source[index].label for index in range(3)] == [1, 0, 1]
    for index, value in enumerate((0, 100, 200)):
        assert np.abs(decode_image(source[index].data).astype(int) - value).max() <= 1


def test_a_bad_set_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"must hold grocery64_jpeg\.npz and classes\.json"):
        load_grocery(tmp_path, "val")
    write_grocery(tmp_path)
    with pytest.raises(ValueError, match='no split "valid" of the groceries'):
        load_grocery(tmp_path, "valid")
    with pytest.raises(ValueError, match=r"in another form: .*train_jpeg"):
        load_grocery(tmp_path, "train")
    for changes in ({"val_offsets": np.arange(4)}, {"val_fine": np.array([1, 0, 2], np.uint8)}):
        write_grocery(tmp_path, **changes)
        with pytest.raises(ValueError, match="contradicts itself: its val split is damaged"):
            load_grocery(tmp_path, "val")
