"""Valid files of each format, small: what hostile ones are made of."""

import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from safetensors.numpy import save_file

from cdcd_jax.interop.torch_writer import write_torch

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.ones(3, np.float32),
    "b": np.array(2.5, np.float64),
}


class _Named:
    """A name in a pickle."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class _Storage:
    """A storage of PyTorch, by its key."""

    def __init__(self, key: str, size: int):
        self.key, self.size = key, size


class _Called:
    """A name called with arguments."""

    def __init__(self, named: _Named, *arguments: Any):
        self.named, self.arguments = named, arguments


_Machine: Any = pickle._Pickler


class _Pickler(_Machine):
    """Write names, calls of them and storages, none of which need exist here."""

    legacy = False

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            kind = _Named("torch", "FloatStorage")
            view = (None,) if self.legacy else ()
            return ("storage", kind, obj.key, "cpu", obj.size, *view)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Called):
            self.save(obj.named)
            self.save(obj.arguments)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def dump(value: Any, file: Any, *, legacy: bool = False) -> None:
    """Pickle a value with names and storages, as PyTorch does."""
    pickler = _Pickler(file, protocol=2)
    pickler.legacy = legacy
    pickler.dump(value)


def tensor(key: str, shape: Any, strides: Any, size: int, offset: Any = 0) -> _Called:
    """Return a tensor as PyTorch pickles it."""
    rebuild = _Named("torch._utils", "_rebuild_tensor_v2")
    return _Called(rebuild, _Storage(key, size), offset, shape, strides, False, OrderedDict())


named, called = _Named, _Called


def write_zip(path: Path, **members: bytes) -> Path:
    """Write a zip; ``__`` in a name stands for ``/`` and ``_dot_`` for a dot."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return path


def write_legacy(path: Path, tree: Any = None, keys: Any = None, **storages: Any) -> Path:
    """Write a file as PyTorch did before version 1.6."""
    if tree is None:
        tree, storages = {"w": tensor("0", (2, 2), (2, 1), 4)}, {"0": np.ones(4, np.float32)}
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(value, file, protocol=2)
        dump(tree, file, legacy=True)
        pickle.dump(sorted(storages) if keys is None else keys, file, protocol=2)
        for key in sorted(storages):
            file.write(storages[key].size.to_bytes(8, "little") + storages[key].tobytes())
    return path


def write_npz(path: Path, **arrays: Any) -> Path:
    """Write an archive of arrays."""
    np.savez(path, **(arrays or ARRAYS))
    return path


def write_safetensors(path: Path) -> Path:
    """Write a safetensors file."""
    save_file({name: np.atleast_1d(array) for name, array in ARRAYS.items()}, path)
    return path


def write_head(path: Path, head: Any, data: bytes = b"", length: int | None = None) -> Path:
    """Write a safetensors file of any head."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    length = len(text) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + text + data)
    return path


def write_sound(path: Path, **options: Any) -> Path:
    """Write half a second of sound; the suffix says how."""
    time = np.arange(4000) / 8000
    sound = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(path, np.stack([sound, 0.3 * sound], axis=1), 8000, **options)
    return path


def write_checkpoint(path: Path) -> Path:
    """Write a zip checkpoint of PyTorch."""
    arrays = {name: np.atleast_1d(array) for name, array in ARRAYS.items()}
    return write_torch(path, {"epoch": 3, "state_dict": arrays})


def write_motion(path: Path, protocol: int = 2) -> Path:
    """Write a pickled motion as AIST++ has it."""
    motion = {
        "smpl_poses": np.zeros((9, 72)), "smpl_trans": np.zeros((9, 3)),
        "smpl_scaling": np.array([1.5]),
    }  # fmt: skip
    path.write_bytes(pickle.dumps(motion, protocol=protocol))
    return path


def write_captions(folder: Path, lines: Any = None, *, image: bool = True) -> Path:
    """Write ``train.jsonl`` and its image."""
    from PIL import Image

    if image:
        Image.new("RGB", (4, 4)).save(folder / "a.jpg")
    lines = [{"image": "a.jpg", "captions": ["a red bird"]}] if lines is None else lines
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "train.jsonl").write_text("\n".join(texts) + "\n")
    return folder


def write_coco(folder: Path, content: Any = None) -> Path:
    """Write COCO's captions of one image."""
    from PIL import Image

    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "train2017").mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(folder / "train2017" / "a.jpg")
    if content is None:
        content = {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "annotations": [{"image_id": 1, "caption": "a red bird", "id": 5}],
        }
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "annotations" / "captions_train2017.json").write_text(text)
    return folder
