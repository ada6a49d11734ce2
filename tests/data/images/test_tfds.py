import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.tfds import TfdsPictures

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")
pytest.importorskip("importlib_resources")


def jpeg(value):
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (value, value, value)).save(file, "JPEG", quality=95)
    return file.getvalue()


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """A set as TFDS makes them: its real files on disk, with six pictures of two classes."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent  # tests are no package, where TFDS would look

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
            picture = {"image": io.BytesIO(jpeg(40 * number)), "label": number % 2}
            yield number, picture | {"file_name": f"{number}.JPEG"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    TinyPictures(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_pictures_come_encoded_with_their_label_and_name(data_dir):
    source = TfdsPictures("tiny_pictures", data_dir=data_dir)
    assert isinstance(source, Source)
    assert source.class_names == ("cat", "dog")
    pictures = [source[index] for index in range(len(source))]
    assert sorted(picture.name for picture in pictures) == [f"{k}.JPEG" for k in range(6)]
    for picture in pictures:
        number = int(picture.name[0])
        assert picture.label == number % 2
        assert picture.data == jpeg(40 * number)
        assert np.abs(decode_image(picture.data).astype(int) - 40 * number).max() <= 1


def test_a_part_of_a_split_has_another_fingerprint(data_dir):
    whole = TfdsPictures("tiny_pictures", data_dir=data_dir)
    half = TfdsPictures("tiny_pictures", "train[:50%]", data_dir=data_dir)
    assert (len(whole), len(half)) == (6, 3)
    assert whole.fingerprint != half.fingerprint


@pytest.mark.parametrize(("name", "split"), [("tiny_pictures", "valid"), ("no_such_set", "train")])
def test_what_tfds_has_not_is_named_with_the_way_out(data_dir, name, split):
    with pytest.raises(ValueError, match=f"TFDS cannot read {name}, {split}, .* make it with"):
        TfdsPictures(name, split, data_dir=data_dir)
