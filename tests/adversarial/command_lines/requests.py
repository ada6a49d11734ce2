"""Requests for samples: texts, dances, and the places where results go."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.adversarial.cases import Case
from tests.adversarial.commands import (
    GLYPHS,
    GROOVE,
    TINY,
    command,
    png,
    trained_glyphs,
    trained_groove,
    trained_run,
)

TEXT = ("--mode=sample", *GLYPHS[1:], "--num_samples=2")
DANCE = ("--mode=sample", *GROOVE[1:])

PROMPTS = {
    "empty": "",
    "of spaces": " \t ",
    "of 1,000 words": "a " * 1000,
    "of 100,000 letters": "x" * 100_000,
}
TAKEN = {
    "a line break": "digit one\nserif",
    "a zero byte of the shell's": "digit\x01one",
    "control characters": "\x1b[31mdigit\x07 one\x1b[0m",
    "a path": "../../etc",
    "letters beyond ASCII": "ü 一 \U0001f600",
    "bytes that are not text": "digit \udcff",
    "format codes": "%s {0} $HOME",
    "a dash first": "-rf one",
}
PROMPT_FILES: dict[str, bytes | None] = {
    "not there": None,
    "empty": b"",
    "of empty lines": b"\n\n \n",
    "of bytes": bytes(range(256)) * 10,
    "of UTF-16": "digit one\n".encode("utf-16"),
    "of Latin-1": "chiffre z\xe9ro\n".encode("latin-1"),
    "of zeros": b"\0" * 1000,
    "one line of 10 MB": b"a " * 5_000_000,
    "of 100,000 lines": b"".join(b"digit %d\n" % k for k in range(100_000)),
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(100),
}


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


GOOD = np.zeros((150, 51), np.float32)
MOTIONS: dict[str, bytes | None] = {
    "not there": None,
    "empty": b"",
    "text": b"one two three\n",
    "cut": _npy(GOOD)[:200],
    "of the wrong width": _npy(GOOD[:, :50]),
    "of one axis": _npy(GOOD[0]),
    "of three axes": _npy(GOOD[None]),
    "of no frames": _npy(GOOD[:0]),
    "of one frame": _npy(GOOD[:1]),
    "of objects": _npy(np.array([None, 3], object)),
    "of words": _npy(np.array([["a", "b"]])),
    "of complex numbers": _npy(GOOD.astype(complex)),
    "with NaN": _npy(np.where(np.arange(51) == 7, np.nan, GOOD)),
    "infinite": _npy(GOOD + np.inf),
    "of more than the file holds": _npy(GOOD).replace(b"(150, 51)", b"(10**9, 51)"[:9]),
    "a pickle": b"\x80\x04K\x03.",
}
DANCE_FLAGS = {
    "seconds is zero": ("--seconds=0", "seconds"),
    "seconds is negative": ("--seconds=-1", "seconds"),
    "seconds is NaN": ("--seconds=nan", "seconds"),
    "seconds is infinite": ("--seconds=inf", "seconds"),
    "seconds is too short": ("--seconds=0.1", "seconds"),
    "seconds is a word": ("--seconds=all", "seconds"),
    "seconds is empty": ("--seconds=", "seconds"),
    "genre is unknown to it": ("--genre=gBR", "genre"),
    "genre is empty": ("--genre=", "genre"),
    "video is unknown to it": ("--video=video.npy", "video"),
    "denoise is negative": ("--denoise=-1", "denoise"),
    "denoise is NaN": ("--denoise=nan", "denoise"),
    "denoise is infinite": ("--denoise=inf", "denoise"),
    "two takes of one file": ("--num_samples=0", "num_samples"),
    "sound to an image": ("--audio_out=out.png", "out.png"),
    "sound without a suffix": ("--audio_out=out", "out"),
    "sound to MP3": ("--audio_out=out.mp3", "out.mp3"),
    "sound to nothing": ("--audio_out=", "audio_out"),
    "sound to a folder": ("--audio_out=folder.wav", "folder.wav"),
    "sound inside a file": ("--audio_out=good.npy/out.wav", "out.wav"),
    "sound inside proc": ("--audio_out=/proc/out.wav", "/proc/out.wav"),
    "sound over the dance": ("--audio_out=good.npy", "good.npy"),
    "a film to sound": ("--video_out=out.wav", "out.wav"),
    "a film to nothing": ("--video_out=", "video_out"),
    "a film inside proc": ("--video_out=/proc/out.mp4", "/proc/out.mp4"),
}

EXPORTS = {
    "to nothing": ("", "export"),
    "to spaces": ("  ", "export"),
    "to an existing folder": ("folder.wav", "folder.wav"),
    "to an existing file": ("file.npz", "file.npz"),
    "to an image": ("out.png", "out.png"),
    "to an array": ("out.npy", "out.npy"),
    "to a misspelt archive": ("out.npzz", "out.npzz"),
    "to a zip": ("out.zip", "out.zip"),
    "to a text": ("out.txt", "out.txt"),
    "to JSON": ("out.json", "out.json"),
    "to a compressed archive": ("out.tar.gz", "out.tar.gz"),
    "inside a file": ("file.npz/out", "file.npz"),
    "inside proc": ("/proc/out", "/proc/out"),
    "to a full device": ("/dev/full", "/dev/full"),
    "to an archive inside a device": ("/dev/null/out.npz", "/dev/null"),
    "to a name too long": ("x" * 300, "export"),
    "to a bucket": ("gs://bucket/out", "gs://bucket/out"),
    "over the run": ("run", "run"),
    "over the checkpoints": ("run/checkpoints", "run/checkpoints"),
    "to a link to itself": ("loop", "loop"),
    "to a link to nothing": ("dangling", "dangling"),
}
LEFT = ("run", "run/samples", "run/error*.txt")

EDITED: dict[str, bytes | None] = {
    "not there": None,
    "empty": b"",
    "text": b"a cat\n",
    "cut": png((8, 8))[:40],
    "a JPEG's head": b"\xff\xd8\xff\xe0" + bytes(100),
}
MASKS = {
    "mask of another size": ("--mask=large.png", "mask = large.png has 30 x 20 pixels"),
    "mask that is not there": ("--mask=no.png", "mask = no.png cannot be read"),
    "mask that is text": ("--mask=text.png", "mask = text.png"),
    "mask that is a folder": ("--mask=run", "mask = run"),
    "mask that is a device": ("--mask=/dev/zero", "/dev/zero"),
    "mask with an empty name": ("--mask=", "mask"),
    "box that is empty": ("--box=2,2,0,3", "box = (2, 2, 0, 3) is an empty box"),
    "box that leaves the image": ("--box=2,2,7,3", "leaves the image of 8 x 8 pixels"),
    "box above the image": ("--box=-2,2,3,3", "leaves the image of 8 x 8 pixels"),
    "box of three numbers": ("--box=2,2,3", "box = 2,2,3 must be four whole numbers"),
    "box of words": ("--box=a,b,c,d", "box = a,b,c,d must be four whole numbers"),
    "box of fractions": ("--box=0.5,0,4,4", "must be four whole numbers"),
    "box of huge numbers": (f"--box=0,0,{'9' * 400},4", "must be four whole numbers"),
    "strength of zero": ("--strength=0", "strength = 0.0 must be in (0, 1]"),
    "strength above one": ("--strength=1.5", "strength = 1.5 must be in (0, 1]"),
    "strength below zero": ("--strength=-0.5", "strength = -0.5 must be in (0, 1]"),
    "strength that is no number": ("--strength=nan", "strength"),
    "strength of a word": ("--strength=half", "--strength=half must be a number"),
    "more steps than there are": ("--num_steps=5", "num_steps = 5"),
    "more samples than memory": ("--num_samples=10000000", "num_samples"),
    "class that is not there": ("--label=10", "label = 10"),
}


def cases() -> Iterator[Case]:
    """Yield the table."""
    for name, prompt in PROMPTS.items():
        yield command(f"a prompt that is {name}", *TEXT, f"--prompt={prompt}", config=GLYPHS[0],
                      prepare=trained_glyphs, says="prompt", leaves=LEFT)  # fmt: skip
    for name, prompt in TAKEN.items():
        yield command(f"a prompt with {name}", *TEXT, f"--prompt={prompt}", config=GLYPHS[0],
                      prepare=trained_glyphs, codes=0, limit=40, check=_inside)  # fmt: skip
    for name, content in PROMPT_FILES.items():
        yield command(f"a file of prompts that is {name}", *TEXT, "--prompt_file=prompts.txt",
                      config=GLYPHS[0], prepare=trained_glyphs,
                      files={} if content is None else {"prompts.txt": content},
                      says="prompt", leaves=LEFT)  # fmt: skip
    yield command("a file of prompts that is a folder", *TEXT, "--prompt_file=run",
                  config=GLYPHS[0], prepare=trained_glyphs, says="prompt_file")  # fmt: skip
    yield command("a file of prompts that is a device", *TEXT, "--prompt_file=/dev/zero",
                  config=GLYPHS[0], prepare=trained_glyphs, says="/dev/zero")  # fmt: skip
    yield command("a file of prompts that is a pipe", *TEXT, "--prompt_file=pipe",
                  config=GLYPHS[0], says="pipe",
                  prepare=lambda folder: (trained_glyphs(folder), os.mkfifo(folder / "pipe"))
                  )  # fmt: skip
    yield command("a file of prompts with an empty name", *TEXT, "--prompt_file=",
                  config=GLYPHS[0], prepare=trained_glyphs, says="prompt_file")  # fmt: skip
    yield from _dances()
    yield from _edits()
    for name, (place, says) in EXPORTS.items():
        yield command(f"export {name}", "--mode=sample", *TINY, "--num_samples=2",
                      f"--export={place}", prepare=_obstacles, says=says, codes=(1, 2),
                      leaves=LEFT)  # fmt: skip
    yield command("export to an upper case archive", "--mode=sample", *TINY, "--num_samples=2",
                  "--export=out.NPZ", prepare=_obstacles, codes=0, says="out.NPZ",
                  check=lambda folder: "" if (folder / "out.NPZ").is_file() else "no file"
                  )  # fmt: skip
    for name, (place, says) in list(EXPORTS.items())[2:6]:
        yield command(f"evaluate with an export {name}", "--mode=evaluate", *TINY,
                      f"--export={place}", prepare=_obstacles, says=says, leaves=LEFT)  # fmt: skip


def _dances() -> Iterator[Case]:
    for name, content in MOTIONS.items():
        yield command(f"a dance that is {name}", *DANCE, "--motion=dance.npy", config=GROOVE[0],
                      prepare=trained_groove, says="dance.npy",
                      files={} if content is None else {"dance.npy": content},
                      leaves=LEFT)  # fmt: skip
    yield command("a dance that is not a pickle, by its name", *DANCE, "--motion=dance.pkl",
                  config=GROOVE[0], prepare=trained_groove, says="dance.pkl",
                  files={"dance.pkl": _npy(GOOD)}, leaves=LEFT)  # fmt: skip
    yield command("a dance that is a folder", *DANCE, "--motion=run", config=GROOVE[0],
                  prepare=trained_groove, says="run", leaves=LEFT)  # fmt: skip
    yield command("a dance with an empty name", *DANCE, "--motion=", config=GROOVE[0],
                  prepare=trained_groove, says="motion", leaves=LEFT)  # fmt: skip
    yield command("a label of a model of dances", *DANCE, "--label=1", config=GROOVE[0],
                  prepare=trained_groove, says="--motion", leaves=LEFT)  # fmt: skip
    for name, (flag, says) in DANCE_FLAGS.items():
        yield command(f"dance: {name}", *DANCE, "--motion=good.npy", flag, config=GROOVE[0],
                      prepare=_with_folder, says=says, files={"good.npy": _npy(GOOD)},
                      leaves=LEFT)  # fmt: skip


def _edits() -> Iterator[Case]:
    edit = ("--mode=edit", *TINY)
    files = {"grey.png": png((8, 8)), "large.png": png((20, 30)), "text.png": b"no image"}
    for name, content in EDITED.items():
        yield command(f"edit an image that is {name}", *edit, "--image=a.png", says="image = a.png",
                      prepare=trained_run, files={} if content is None else {"a.png": content},
                      leaves=LEFT)  # fmt: skip
    for name, (flag, says) in MASKS.items():
        yield command(f"edit with a {name}", *edit, "--image=grey.png", flag, says=says,
                      prepare=trained_run, files=files, leaves=LEFT)  # fmt: skip
    yield command("edit an image for dances", "--mode=edit", *GROOVE[1:], "--image=grey.png",
                  config=GROOVE[0], prepare=trained_groove, files=files, says="--music",
                  leaves=LEFT)  # fmt: skip
    yield command("edit without a text", "--mode=edit", *GLYPHS[1:], "--image=grey.png",
                  config=GLYPHS[0], prepare=trained_glyphs, files=files, says="give --prompt",
                  leaves=LEFT)  # fmt: skip
    yield command("edit a colour image with a colour mask", *edit, "--image=rgb.png", "--label=3",
                  "--mask=rgb.png", prepare=trained_run, codes=0, check=_inside, limit=40,
                  files={"rgb.png": png((20, 30), "RGB")}, says="are resized")  # fmt: skip


def _with_folder(folder: Path) -> None:
    trained_groove(folder)
    (folder / "folder.wav").mkdir()


def _obstacles(folder: Path) -> None:
    trained_run(folder)
    (folder / "folder.wav").mkdir()
    (folder / "file.npz").write_text("in the way")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere/at/all")


def _inside(folder: Path) -> str:
    """Whatever a prompt says, samples are in the run's folder."""
    outside = [path.name for path in folder.iterdir() if path.name not in ("run", "rgb.png")]
    samples = list((folder / "run" / "samples").glob("**/*.png"))
    return f"outside: {outside}" if outside else "" if samples else "there is no image"
