"""Files of weights that are missing, damaged, or of another network."""

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.adversarial.cases import Case
from tests.adversarial.command_lines.data_places import jpeg
from tests.adversarial.commands import ROOT, TINY, command, trained_run


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Hostile:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return __import__("os").system, ("touch executed",)


FILES = {
    "empty": b"",
    "text": b"these are not weights\n",
    "an image": jpeg(),
    "a web page": b"<!DOCTYPE html><html><body>Not Found</body></html>",
    "an LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "zeros": b"\0" * 100_000,
    "an empty archive": _zip(),
    "an archive of texts": _zip(a=b"x", b=b"y"),
    "an archive cut in the middle": _zip(a=b"x" * 5000)[:2000],
    "arrays of something else": _npz(a=np.zeros(3), b=np.ones((2, 2))),
    "a pickle of a number": pickle.dumps(3),
    "a pickle of a command": pickle.dumps(Hostile()),
    "an archive with a pickle of a command": _zip(**{"x/data.pkl": pickle.dumps(Hostile())}),
    "a head of safetensors beyond the file": (2**40).to_bytes(8, "little") + b"{}",
    "a head of safetensors that is not JSON": (4).to_bytes(8, "little") + b"{{{{",
}
"""What the file is -> its content."""

SMOKES = {
    "imagenet": ("codec.weights", "codec.used_codes", "eval.inception_weights",
                 "eval.resnet_weights"),
    "coco": ("condition.weights", "condition.merges", "eval.clip_weights", "eval.clip_merges"),
    "aist": ("codec.weights",),
}  # fmt: skip
"""A task -> keys that name its files of weights."""

WRITTEN = ("run", "run/*")
"""A miniature writes its data before it is built."""


def cases() -> Iterator[Case]:
    """Yield the table."""
    for task, keys in SMOKES.items():
        for key in keys:
            config = f"{ROOT}/configs/{task}_vanilla.py:smoke"
            yield command(f"{task}: {key} is not there", f"--config.{key}=none.pth", config=config,
                          says="none.pth", codes=(1, 2), leaves=WRITTEN)  # fmt: skip
            yield command(f"{task}: {key} is a folder", f"--config.{key}=folder", config=config,
                          prepare=lambda folder: (folder / "folder").mkdir(),
                          says="folder", codes=(1, 2), leaves=WRITTEN)  # fmt: skip
            few = list(FILES)[1::3] if key != "codec.weights" or task != "imagenet" else FILES
            for name in few:
                yield command(
                    f"{task}: {key} is {name}",
                    f"--config.{key}=x.pth",
                    config=config,
                    files={"x.pth": FILES[name]},
                    says="x.pth",
                    codes=(1, 2),
                    leaves=WRITTEN,
                    check=_nothing_executed,
                    limit=40,
                )
    yield from _published()
    yield from _starts()


def _published() -> Iterator[Case]:
    for mode, config in (
        ("sample", f"{ROOT}/configs/imagenet_vanilla.py"),
        ("sample", f"{ROOT}/configs/cub200_vanilla.py"),
        ("evaluate", f"{ROOT}/configs/imagenet_vanilla.py:smoke"),
    ):
        task = Path(config).stem
        flags = (f"--mode={mode}", "--reference_checkpoint=x.pth")
        for name, content in FILES.items():
            yield command(f"{mode} {task} of {name}", *flags, config=config,
                          files={"x.pth": content}, says="x.pth", codes=(1, 2), leaves=WRITTEN,
                          check=_nothing_executed)  # fmt: skip
        yield command(f"{mode} {task} of nothing", *flags, config=config, says="x.pth",
                      codes=(1, 2), leaves=WRITTEN)  # fmt: skip
        yield command(f"{mode} {task} of an empty folder", *flags, config=config, says="x.pth",
                      prepare=lambda folder: (folder / "x.pth").mkdir(), codes=(1, 2),
                      leaves=WRITTEN)  # fmt: skip
        yield command(f"{mode} {task} of an empty name", f"--mode={mode}",
                      "--reference_checkpoint=", config=config, says="reference_checkpoint",
                      leaves=WRITTEN)  # fmt: skip
    yield command("sample digits of a published file", "--mode=sample",
                  "--reference_checkpoint=x.pth", files={"x.pth": FILES["text"]},
                  codes=(1, 2))  # fmt: skip
    yield command("sample a run as a published file", *TINY, "--mode=sample",
                  "--reference_checkpoint=run", prepare=trained_run, codes=(1, 2),
                  says="published")  # fmt: skip


def _starts() -> Iterator[Case]:
    flags = (*TINY, "--start_from=x.pth")
    for name, content in FILES.items():
        yield command(f"start from {name}", *flags, files={"x.pth": content}, says="x.pth",
                      codes=(1, 2), check=_nothing_executed)  # fmt: skip
    yield command("start from nothing", *flags, says="x.pth", codes=(1, 2))
    yield command("start from an empty name", *TINY, "--start_from=", says="start_from")
    yield command("start from an empty folder", *flags, says="x.pth", codes=(1, 2),
                  prepare=lambda folder: (folder / "x.pth").mkdir())  # fmt: skip
    yield command("start from a folder without a whole checkpoint", *flags, says="x.pth",
                  prepare=lambda folder: (folder / "x.pth/checkpoints").mkdir(parents=True),
                  codes=(1, 2))  # fmt: skip
    yield command("start from a damaged run", *TINY, "--start_from=old", says="old", codes=(1, 2),
                  prepare=_damaged)  # fmt: skip
    yield command("start from a run of another width", *TINY, "--config.denoiser.width=16",
                  "--start_from=old", prepare=_old, says="old", codes=(1, 2))  # fmt: skip
    yield command("start from a run", *TINY, "--start_from=old", prepare=_old, codes=0, limit=60,
                  says="old")  # fmt: skip
    yield command("start from a checkpoint of a run", *TINY, "--start_from=old/checkpoints/2",
                  prepare=_old, codes=0, limit=60, says="old")  # fmt: skip
    yield command("start from one file of a checkpoint", *TINY,
                  "--start_from=old/checkpoints/2/state/_METADATA", prepare=_old, codes=(1, 2),
                  says="_METADATA")  # fmt: skip


def _old(folder: Path) -> None:
    trained_run(folder)
    (folder / "run").rename(folder / "old")


def _damaged(folder: Path) -> None:
    _old(folder)
    for path in (folder / "old" / "checkpoints").glob("*/state/d/*"):
        path.write_bytes(path.read_bytes()[:50])


def _nothing_executed(folder: Path) -> str:
    return "a command of the file was executed" if (folder / "executed").exists() else ""
