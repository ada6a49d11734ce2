"""Give readers changed files for some minutes: ``python -m tests.adversarial.fuzz READER``.

A reader must return a valid value, or raise a ValueError or an OSError that names the file, within
20 s and 300 MB. What does neither is kept as a file and printed.
"""

import argparse
import contextlib
import io
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdcd_jax.codecs.codec_file import FORMAT, read_arrays
from cdcd_jax.data.dance.audio import audio_seconds, load_audio
from cdcd_jax.data.dance.motion import load_motion
from cdcd_jax.data.images.caption_list import load_captions
from cdcd_jax.data.images.coco import load_coco
from cdcd_jax.data.negative_lists import load_negatives
from cdcd_jax.data.shards.manifest import Plan
from cdcd_jax.data.shards.manifest import read_json as read_manifest
from cdcd_jax.evaluation.metrics.images.reference import check_reference
from cdcd_jax.interop import read_state_dict
from tests.adversarial import mutations, seeds
from tests.adversarial.memory import LIMIT, bytes_since, forget_peak

SECONDS = 20

ARCHIVE = Path(__file__).parents[1] / "golden" / "clip_archive" / "tiny.pt"


class Target(NamedTuple):
    """A format and its readers.

    Attributes:
        seeds: Writes valid files: name of each and a function of its path.
        mutate: Changes a file's bytes.
        readers: Given the path, each returns a valid value or raises.
    """

    seeds: dict[str, Callable[[Path], Any]]
    mutate: Callable[[bytes, random.Random], bytes]
    readers: tuple[Callable[[Path], Any], ...]


def check_arrays(path: Path) -> None:
    """Read a state dict; every value must be a whole array."""
    for name, array in read_state_dict(path).items():
        assert isinstance(name, str)
        assert isinstance(array, np.ndarray)
        assert array.tobytes() is not None


def check_entry(path: Path) -> None:
    """Read an entry of a checkpoint."""
    for array in read_state_dict(path, ("state_dict", "model")).values():
        assert isinstance(array, np.ndarray)


def check_sound(path: Path) -> None:
    """Read sound, which must be finite."""
    audio = load_audio(path)
    assert (audio.dtype, audio.ndim) == (np.float32, 1)
    assert np.isfinite(audio).all()
    assert 0 < audio_seconds(path) < 1e6


def check_motion(path: Path) -> None:
    """Read motion."""
    assert load_motion(path).ndim == 2


def _pickled(path: Path) -> None:
    """Read a pickle as that of a checkpoint."""
    archive = path.with_suffix(".pth")
    seeds.write_zip(archive, a__data_dot_pkl=path.read_bytes(), a__data__0=bytes(24))
    try:
        check_arrays(archive)
    except (ValueError, OSError) as error:
        raise type(error)(str(error).replace(str(archive), str(path))) from error


def _json(path: Path) -> None:
    """Read a text as captions, COCO's captions, a list of negatives and a plan."""
    text = path.read_text(errors="surrogateescape")
    folder = path.with_name("sets")
    folder.mkdir(exist_ok=True)
    uses = (
        (folder / "train.jsonl", lambda: load_captions(folder)),
        (
            folder / "annotations" / "captions_train2017.json",
            lambda: load_coco(folder, "train2017"),
        ),
        (path, lambda: load_negatives(path, ["a.jpg", "b.jpg"], np.arange(2), np.arange(2))),
        (path, lambda: Plan.from_json(read_manifest(path), path)),
    )
    if not (folder / "a.jpg").exists():
        seeds.write_captions(folder)
        seeds.write_coco(folder)
    refused = []
    for place, use in uses:
        place.write_text(text, errors="surrogateescape")
        try:
            use()
        except (ValueError, OSError) as error:
            if str(place) not in str(error) and str(folder) not in str(error):
                raise
            refused.append(error)
    if len(refused) == len(uses):
        reasons = "; ".join(str(error).removeprefix(str(folder)) for error in refused)
        raise ValueError(f"{path}: refused by all ({reasons})") from refused[0]


def _write_text(text: Any) -> Callable[[Path], Any]:
    return lambda path: path.write_text(text if isinstance(text, str) else json.dumps(text))


PLAN = {
    "format": "cdcd_jax token shards", "version": 1,
    "plan": {
        "fingerprint": "f", "source": "s", "source_fingerprint": "t", "num_images": 9,
        "class_names": ["a"], "vocab_size": 16, "grid": [2, 2], "image_size": 8, "views": 1,
        "crop": "center", "flip": False, "seed": 0, "shard_size": 4,
    },
}  # fmt: skip

TARGETS: dict[str, Target] = {
    "unpickler": Target(
        {"a.pkl": seeds.write_motion, "b.pkl": lambda path: seeds.write_motion(path, 4),
         "c.pkl": lambda path: seeds.write_motion(path, 0)},
        mutations.mutate_pickle, (check_motion, _pickled),
    ),
    "torch": Target(
        {"a.pth": seeds.write_checkpoint, "b.pth": seeds.write_legacy,
         "c.pth": lambda path: path.write_bytes(ARCHIVE.read_bytes())},
        lambda data, rng: _mutate_torch(data, rng),
        (check_arrays, check_entry),
    ),
    "safetensors": Target(
        {"a.safetensors": seeds.write_safetensors},
        lambda data, rng: mutate_head(data, rng),
        (check_arrays, lambda path: read_arrays(path, FORMAT)),
    ),
    "npz": Target(
        {"a.npz": seeds.write_npz, "b.npz": lambda p: seeds.write_npz(p, motion=np.ones((4, 6)))},
        mutations.mutate_zip, (check_arrays, check_motion, check_reference),
    ),
    "json": Target(
        {"a.json": _write_text({"image": "a.jpg", "captions": ["a bird", "red"], "group": 3}),
         "b.json": _write_text({"images": [{"id": 1, "file_name": "a.jpg"}],
                                "annotations": [{"image_id": 1, "caption": "x", "id": 2}]}),
         "c.json": _write_text({"a.jpg": ["b.jpg"], "b.jpg": ["a.jpg", 5]}),
         "d.json": _write_text(PLAN)},
        lambda data, rng: _mutate_text(data, rng), (_json,),
    ),
    "wav": Target(
        {"a.wav": seeds.write_sound, "b.flac": seeds.write_sound, "c.ogg": seeds.write_sound,
         "d.mp3": seeds.write_sound, "e.aiff": seeds.write_sound,
         "f.wav": lambda path: seeds.write_sound(path, subtype="FLOAT"),
         "g.wav": lambda path: seeds.write_sound(path, subtype="MS_ADPCM")},
        mutations.mutate_bytes, (check_sound,),
    ),
}  # fmt: skip


def _mutate_torch(data: bytes, rng: random.Random) -> bytes:
    mutate = mutations.mutate_zip if data[:2] == b"PK" else mutations.mutate_bytes
    return mutate(data, rng)


def mutate_head(data: bytes, rng: random.Random) -> bytes:
    """Change the head of a safetensors file, whose length is right again, or any bytes."""
    if rng.random() < 0.4:
        return mutations.mutate_bytes(data, rng)
    length = int.from_bytes(data[:8], "little")
    head = mutations.mutate_json(data[8 : 8 + length].decode(), rng).encode(
        "utf-8", "surrogatepass"
    )
    return len(head).to_bytes(8, "little") + head + data[8 + length :]


def _mutate_text(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return mutations.mutate_bytes(data, rng)
    return mutations.mutate_json(data.decode(), rng).encode("utf-8", "surrogatepass")


def check(target: Target, path: Path) -> tuple[str | None, int, int]:
    """Give a file to each reader of a format.

    Returns:
        What was wrong, or None; how many readers took the file; the most memory in bytes.
    """
    taken, peak = 0, 0
    for reader in target.readers:
        before, began = forget_peak(), time.monotonic()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                reader(path)
            taken += 1
        except (ValueError, OSError) as error:
            if str(path) not in str(error):
                return f"the file is not named: {error!r}\n{traceback.format_exc()}", taken, peak
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return traceback.format_exc(), taken, peak
        peak = max(peak, bytes_since(before))
        if peak > LIMIT:
            return f"{peak:,} bytes of memory", taken, peak
        if time.monotonic() - began > SECONDS:
            return f"{time.monotonic() - began:.0f} s", taken, peak
    return None, taken, peak


def hang(*_: Any) -> None:
    """Stop a reader that does not answer."""
    raise RuntimeError(f"no answer within {SECONDS} s")


def main() -> int:
    """Fuzz one format; return 1 if there was a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.adversarial.fuzz", description=__doc__)
    parser.add_argument("reader", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "findings")
    options = parser.parse_args()
    target, rng = TARGETS[options.reader], random.Random(options.seed)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
    signal.signal(signal.SIGALRM, hang)
    count = taken = found = most = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        originals = {}
        for name, write in target.seeds.items():
            write(Path(folder) / name)
            originals[name] = (Path(folder) / name).read_bytes()
            wrong, well, _ = check(target, Path(folder) / name)
            if wrong is not None or not well:
                print(f"the valid file {name} is not taken: {wrong}")
                return 1
        while time.monotonic() < began + 60 * options.minutes and found < 10:
            name = rng.choice(list(originals))
            path = Path(folder) / name
            try:
                data = target.mutate(originals[name], rng)
            except (UnicodeDecodeError, UnicodeEncodeError):
                continue
            path.write_bytes(data)
            signal.alarm(SECONDS + 5)
            wrong, well, peak = check(target, path)
            signal.alarm(0)
            count, taken, most = count + 1, taken + bool(well), max(most, peak)
            if wrong is not None:
                found += 1
                options.findings.mkdir(parents=True, exist_ok=True)
                kept = options.findings / f"{options.reader}-{found}{path.suffix}"
                kept.write_bytes(data)
                print(f"finding {found}: {kept}\n{wrong}", flush=True)
    seconds = time.monotonic() - began
    print(
        f"{options.reader}: {count} files in {seconds:.0f} s ({count / seconds:.0f}/s), "
        f"{taken} taken, {count - taken} refused, {found} findings, at most {most / 1e6:.0f} MB"
    )
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
