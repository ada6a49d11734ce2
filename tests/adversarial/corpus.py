"""Files that tests replay: ``python -m tests.adversarial.corpus READER [FILE ...]``.

Adds files that ``fuzz`` has found, or without FILE some of its mutations that are refused for
different reasons, to ``corpus.json``. What is left out of larger files changes no reason.
"""

import argparse
import base64
import contextlib
import io
import json
import random
import re
import tempfile
import warnings
import zlib
from pathlib import Path

from tests.adversarial.fuzz import TARGETS, Target

TABLE = Path(__file__).with_name("corpus.json")
MOST_BYTES = 2000
"""Of a file, compressed as it is in the table."""


def load() -> dict[str, dict[str, bytes]]:
    """Return the files of each reader, by a name whose suffix the reader needs."""
    table = json.loads(TABLE.read_text())
    return {
        reader: {name: zlib.decompress(base64.b64decode(text)) for name, text in files.items()}
        for reader, files in table.items()
    }


def is_large(data: bytes) -> bool:
    """Whether a file is too large for the table."""
    return len(zlib.compress(data)) > MOST_BYTES


def find_reason(target: Target, path: Path) -> str:
    """Return what the readers of a format say of a file, without path, numbers and brackets."""
    said = []
    for reader in target.readers:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                reader(path)
            said.append("taken")
        except Exception as error:
            text = str(error).replace(str(path.parent), "")
            said.append(re.sub(r"[0-9][0-9,.]*", "0", re.sub(r"\([^()]*\)", "", text)))
    return "; ".join(said)


def shorten(target: Target, path: Path, data: bytes) -> bytes:
    """Leave out pieces of a large file of which the same is said without them."""

    def reason(content: bytes) -> str:
        path.write_bytes(content)
        return find_reason(target, path)

    wanted, size = reason(data), len(data) // 2
    while size and is_large(data):
        start = 0
        while start < len(data) and is_large(data):
            shorter = data[:start] + data[start + size :]
            if reason(shorter) == wanted:
                data = shorter
            else:
                start += size
        size //= 2
    return data


def mutated(target: Target, folder: Path, seed: int, count: int) -> dict[str, bytes]:
    """Return mutations of a format's valid files that are refused for different reasons."""
    rng, originals, found = random.Random(seed), {}, {}
    for name, write in target.seeds.items():
        write(folder / name)
        originals[name] = (folder / name).read_bytes()
    for _ in range(1000):
        name = rng.choice(list(originals))
        with contextlib.suppress(UnicodeDecodeError, UnicodeEncodeError):
            data = target.mutate(originals[name], rng)
            (folder / name).write_bytes(data)
            reason = find_reason(target, folder / name)
            if reason not in found and not is_large(data):
                found[reason] = f"{seed}-{len(found)}{Path(name).suffix}", data
        if len(found) == count:
            break
    return dict(found.values())


def main() -> None:
    """Add files of one reader to the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.adversarial.corpus", description=__doc__)
    parser.add_argument("reader", choices=TARGETS)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--count", type=int, default=6, help="of the mutations")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    target = TARGETS[options.reader]
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    kept = table.setdefault(options.reader, {})
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        files = {path.name: path.read_bytes() for path in options.files}
        if taken := files.keys() & kept.keys():
            parser.error(f"the table has {', '.join(taken)}; rename what is to be added")
        for name, data in (files or mutated(target, folder, options.seed, options.count)).items():
            path = folder / f"a{Path(name).suffix}"
            small = shorten(target, path, data)
            path.write_bytes(small)
            print(f"{name}: {len(data)} -> {len(small)} bytes: {find_reason(target, path)}")
            kept[name] = base64.b64encode(zlib.compress(small)).decode()
    TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
