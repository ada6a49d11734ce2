"""Images of a TensorFlow Datasets set, read without TensorFlow.

The set must be on disk already, in the ArrayRecord format: ``tfds build imagenet2012
--file_format=array_record``. Needs the extra "tfds" (``pip install "cdcd_jax[tfds]"``).
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cdcd_jax.data.images.sources import EncodedImage


class TfdsImages:
    """The images of a TFDS set that has the features ``image`` and ``label``.

    Args:
        name: What TFDS calls the set, e.g. ``"imagenet2012"``.
        split: A split in TFDS's notation, e.g. ``"train"`` or ``"train[:90%]"``.
        data_dir: The folder that TFDS keeps its sets in; None for ``~/tensorflow_datasets``.

    Raises:
        ValueError: If TFDS is not installed, or the set is not on disk, has no such split or other
            features.
    """

    def __init__(self, name: str, split: str = "train", *, data_dir: str | Path | None = None):
        if find_spec("tensorflow_datasets") is None:
            raise ValueError('this needs TFDS: pip install "cdcd_jax[tfds]"')
        tfds = import_module("tensorflow_datasets")  # here, as it is an extra and slow to import
        folder = None if data_dir is None else str(data_dir)
        try:
            builder = tfds.builder(name, data_dir=folder)
            features: Any = builder.info.features or {}
            if not {"image", "label"} <= set(features):
                raise ValueError(f"its features are {sorted(features)}, not image and label")
            self._records: Any = builder.as_data_source(
                split, decoders={"image": tfds.decode.SkipDecoding()}
            )
        except Exception as error:
            # TFDS raises errors of its own and of other packages, some of several paragraphs.
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"TFDS cannot read {name}, {split}, in {folder or '~/tensorflow_datasets'} "
                f"({reason}); make it with `tfds build {name} --file_format=array_record`"
            ) from error
        self.name = f"tfds {builder.info.full_name}, {split}"
        self.class_names = tuple(features["label"].names)
        self.fingerprint = f"{self.name}, {len(self)} images"

    def __len__(self) -> int:
        """Count the images."""
        return len(self._records)

    def __getitem__(self, index: int, /) -> EncodedImage:
        """Read an image; it is called by its file name where the set has one."""
        record = self._records[index]
        name = record.get("file_name", b"")
        name = name.decode() if isinstance(name, bytes) else str(name)
        return EncodedImage(name or str(index), int(record["label"]), bytes(record["image"]))
