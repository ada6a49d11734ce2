"""Data that are missing, empty, of another layout, damaged, or hostile, for each of the tasks."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.adversarial.cases import Case
from tests.adversarial.commands import ROOT, command

TASKS = {
    "imagenet": "imagenet_vanilla",
    "coco": "coco_vanilla",
    "cub": "cub200_vanilla",
    "aist": "aist_vanilla",
    "tiktok": "tiktok_vanilla",
    "folder": "grocery_vanilla",
}
OWN = {"folder": ("--config.data.name=folder",)}
PLACE = "--config.data.path=data"


def jpeg(size: int = 40) -> bytes:
    """Return an image of noise."""
    pixels = np.random.default_rng(size).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _empty(data: Path) -> None:
    data.mkdir()


def _file(data: Path) -> None:
    data.write_text("a file")


def _loop(data: Path) -> None:
    data.symlink_to(data.name)


def _text_only(data: Path) -> None:
    data.mkdir()
    (data / "README.txt").write_text("the images are elsewhere")


def _flat(data: Path) -> None:
    data.mkdir()
    for number in range(3):
        (data / f"{number}.jpg").write_bytes(jpeg(40 + number))


def _empty_splits(data: Path) -> None:
    for name in ("train", "val", "test", "train2014", "val2014", "annotations", "CUB_200_2011",
                 "motions", "motion_s2", "audio_s2", "video_s2"):  # fmt: skip
        (data / name).mkdir(parents=True)


def _other_layout(data: Path) -> None:
    (data / "images" / "cats").mkdir(parents=True)
    (data / "images" / "cats" / "1.jpg").write_bytes(jpeg())
    (data / "labels.csv").write_text("1.jpg,cats\n")


PLACES: dict[str, Callable[[Path], None] | None] = {
    "not there": None,
    "empty": _empty,
    "a file": _file,
    "a link to itself": _loop,
    "of texts only": _text_only,
    "of images without classes": _flat,
    "of empty splits": _empty_splits,
    "of another layout": _other_layout,
}


def cases() -> Iterator[Case]:
    """Yield the table."""
    for task, name in TASKS.items():
        config = f"{ROOT}/configs/{name}.py:smoke"
        own = OWN.get(task, ("--config.data.synthetic=False",))
        yield command(f"{task}: no data are named", *own, "--mode=prepare", config=config,
                      says="data.path")  # fmt: skip
        yield command(f"{task}: data named by nothing", *own, "--config.data.path=", config=config,
                      says="data.path")  # fmt: skip
        for place, make in PLACES.items():
            if task == "folder" and place == "of another layout":
                continue  # where any folder is a class
            yield command(
                f"{task}: data that are {place}",
                *own,
                PLACE,
                config=config,
                says="data",
                prepare=make and (lambda folder, make=make: make(folder / "data")),
                codes=(1, 2),
            )
    yield from _splits()
    yield from _images()
    yield from _captions()


def _splits() -> Iterator[Case]:
    for task in ("imagenet", "coco", "cub", "aist", "tiktok"):
        config = f"{ROOT}/configs/{TASKS[task]}.py:smoke"
        for split in ("trian", "", "../train", "/etc"):
            yield command(f"{task}: split {split!r}", f"--config.data.train_split={split}",
                          config=config, says="split", codes=(1, 2), limit=40,
                          leaves=("run", "run/*"))  # fmt: skip


def _images() -> Iterator[Case]:
    """A folder of classes, one file of which is not an image."""
    files = {
        "empty": b"",
        "text": b"no image",
        "cut": jpeg()[:300],
        "zeros": b"\0" * 5000,
        "of a web page": b"<!DOCTYPE html><html>404</html>",
        "an image of a million by a million": _huge_png(),
    }
    for name, content in files.items():
        yield command(
            f"an image that is {name}",
            *OWN["folder"],
            PLACE,
            "--mode=codec",
            config=f"{ROOT}/configs/grocery_vanilla.py:smoke",
            files={f"data/train/{c}/{k}.jpg": jpeg(40 + k) for c in "ab" for k in range(3)}
            | {f"data/test/{c}/{k}.jpg": jpeg(50 + k) for c in "ab" for k in range(3)}
            | {"data/train/b/bad.jpg": content},
            codes=(1, 2),
            says="bad.jpg",
            leaves=("run", "run/*"),
            limit=60,
        )
    classes = {f"data/{s}/{c}/{k}.jpg": jpeg(40 + k) for s in ("train", "test") for c in "ab"
               for k in range(2)}  # fmt: skip
    yield command("a class that tests know and training does not", *OWN["folder"], PLACE,
                  config=f"{ROOT}/configs/grocery_vanilla.py:smoke", codes=(1, 2), says="c",
                  files=classes | {"data/test/c/1.jpg": jpeg()},
                  leaves=("run", "run/*"))  # fmt: skip
    yield command("one class only, and inter negatives of others", *OWN["folder"], PLACE,
                  config=f"{ROOT}/configs/grocery_sample_inter.py:smoke", says="class",
                  files={n: c for n, c in classes.items() if "/a/" in n}, codes=(1, 2),
                  leaves=("run", "run/*"), limit=60)  # fmt: skip


def _huge_png() -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", 1_000_000, 1_000_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9999))


def _captions() -> Iterator[Case]:
    """Captions of one's own, in JSON lines."""
    config = f"{ROOT}/configs/glyphs_vanilla.py:smoke"
    good = [{"image": f"{k}.jpg", "captions": [f"image {k}"]} for k in range(4)]
    lines = {
        "no JSON": "a caption\n",
        "cut": json.dumps(good[0])[:20],
        "a list": "[1, 2]\n",
        "an image outside the folder": json.dumps(good[0] | {"image": "../../etc/passwd"}),
        "an absolute image": json.dumps(good[0] | {"image": "/etc/passwd"}),
        "no captions": json.dumps(good[0] | {"captions": []}),
        "an empty caption": json.dumps(good[0] | {"captions": [""]}),
        "a caption that is a number": json.dumps(good[0] | {"captions": [3]}),
        "an image that is not there": json.dumps(good[0] | {"image": "none.jpg"}),
        "100,000 brackets": "[" * 100_000,
        "a number of 5,000 digits": '{"image": %s}' % ("9" * 5000),
        "an image twice": json.dumps(good[1]),
    }
    for name, line in lines.items():
        content = "\n".join([*map(json.dumps, good[1:]), line])
        yield command(
            f"captions: {name}",
            "--config.data.name=captions",
            PLACE,
            config=config,
            files={f"data/{k}.jpg": jpeg(40 + k) for k in range(4)}
            | {"data/train.jsonl": content, "data/test.jsonl": content},
            says="jsonl",
            codes=(1, 2),
        )
