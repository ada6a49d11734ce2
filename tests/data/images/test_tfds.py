import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.tfds import TfdsImages

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")
pytest.importorskip("importlib_resources")


def jpeg(value):
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (value, value, value)).save(file, "JPEG", quality=95)
    return file.getvalue()


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """A set as TFDS makes them: its real files on disk, with six images of two classes."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent  # tests are not package, where TFDS would look

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "file_name": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(6):
            image = {"image": io.BytesIO(jpeg(40 * number)), "label": number % 2}
            yield number, image | {"file_name": f"{number}.JPEG"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    TinyImages(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_images_come_encoded_with_their_label_and_name(data_dir):
    source = TfdsImages("tiny_images", data_dir=data_dir)
    assert isinstance(source, Source)
    assert source.class_names == ("cat", "dog")
    images = [source[index] for index in range(len(source))]
    assert sorted(image.name for image in images) == [f"{k}.JPEG" for k in range(6)]
    for image in images:
        number = int(image.name[0])
        assert image.label == number % 2
        assert image.data == jpeg(40 * number)
        assert np.abs(decode_image(image.data).astype(int) - 40 * number).max() <= 1


def test_a_part_of_a_split_has_another_fingerprint(data_dir):
    whole = TfdsImages("tiny_images", data_dir=data_dir)
    half = TfdsImages("tiny_images", "train[:50%]", data_dir=data_dir)
    assert (len(whole), len(half)) == (6, 3)
    assert whole.fingerprint != half.fingerprint


@pytest.mark.parametrize(("name", "split"), [("tiny_images", "valid"), ("no_such_set", "train")])
def test_what_tfds_has_not_is_named_with_the_way_out(data_dir, name, split):
    with pytest.raises(ValueError, match=f"TFDS cannot read {name}, {split}, .* make it with"):
        TfdsImages(name, split, data_dir=data_dir)
