"""Changes of valid files: of bits, pieces and lengths, of JSON's values and of pickles' opcodes."""

import json
import pickle
import random
import re
import struct
import zipfile
from io import BytesIO
from typing import Any

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**64 - 1,
)
TEXTS = (
    "",
    "a",
    "a.weight",
    "torch",
    "0",
    "\0",
    "é" * 40,
    "../x",
    "float32",
    "F8_E4M3",
    "x" * 5000,
    "\ud800",
)
NAMES = (
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "FloatStorage"),
    ("torch", "Size"),
    ("collections", "OrderedDict"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("builtins", "bytes"),
    ("os", "system"),
    ("argparse", "Namespace"),
    ("__torch__.a", "B"),
)


def mutate_bytes(original: bytes, rng: random.Random) -> bytes:
    """Flip bits, splice, cut, repeat or overwrite lengths, a few times."""
    data = bytearray(original)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice((1, 2, 4, 8, 30, 200)))
        kind = rng.randrange(8)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place:end] = rng.randbytes(end - place)
        elif kind == 2:
            del data[place:end]
        elif kind == 3:
            data[place:place] = data[place:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            form = rng.choice(("<H", "<I", "<Q", ">I", "<B"))
            number = rng.choice(NUMBERS) & (2 ** (8 * struct.calcsize(form)) - 1)
            data[place : place + struct.calcsize(form)] = struct.pack(form, number)
        elif kind == 5:
            other = rng.randrange(len(data) + 1)
            data[place:end] = data[other : other + 40]
        elif kind == 6:
            del data[place:]
        else:
            data[place:place] = rng.randbytes(rng.randrange(1, 9))
    return bytes(data)


def mutate_json(text: str, rng: random.Random) -> str:
    """Put values, numbers and brackets in other places."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|[\[\]{},:]|\w+|\s+', text)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not tokens:
            break
        place = rng.randrange(len(tokens))
        kind = rng.randrange(7)
        value: Any = rng.choice((None, True, -1, 0.5, 1e308, [], {}, *NUMBERS, *TEXTS))
        if kind < 3:
            tokens[place] = json.dumps(value)
        elif kind == 3:
            tokens[place] = rng.choice(
                (
                    "NaN",
                    "1e999",
                    "9" * rng.choice((19, 21, 5000)),
                    '"\\ud800"',
                    "[" * rng.choice((3, 70, 2000)),
                    "-Infinity",
                )
            )
        elif kind == 4:
            del tokens[place]
        elif kind == 5:
            other = rng.randrange(len(tokens))
            tokens[place:place] = tokens[other : other + rng.choice((1, 4, 20))]
        else:
            tokens[place] = tokens[rng.randrange(len(tokens))]
    return "".join(tokens)


def mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """Change the members of a zip, with checksums that are right again, or its bytes."""
    if rng.random() < 0.4:
        return mutate_bytes(data, rng)
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as changed:
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = archive.read(name)
            if name == chosen or rng.random() < 0.1:
                content = mutate_member(content, rng)
            method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            changed.writestr(name, content, method)
            if rng.random() < 0.03:
                changed.writestr(rng.choice((name + "x", "archive/data/9")), content)
    return out.getvalue()


def mutate_member(content: bytes, rng: random.Random) -> bytes:
    """Change a member: the numbers in an array's head, or any bytes."""
    if content.startswith(b"\x93NUMPY") and rng.random() < 0.6:
        length = int.from_bytes(content[8:10], "little")
        head = content[10 : 10 + length].decode("latin1")
        pieces = re.findall(r"'[^']*'|\d+|[^'\d]+", head)
        place = rng.randrange(len(pieces))
        pieces[place] = rng.choice(
            (
                str(rng.choice(NUMBERS)),
                "-1",
                "'|O'",
                "'<f8'",
                "'>f4'",
                "True",
                "(" * 300,
                "None",
                "'V9'",
                "'<U2147483647'",
                "1, " * 40,
                "-" * 900 + "1",
                "'<M8[s]'",
                "{}",
                "1.5",
            )
        )
        text = "".join(pieces).encode()[:60_000]
        return content[:8] + len(text).to_bytes(2, "little") + text + content[10 + length :]
    return mutate_bytes(content, rng)


def make_pickle(rng: random.Random) -> bytes:
    """Generate opcodes, with arguments that mostly make sense."""
    parts = [b"\x80" + bytes([rng.choice((2, 2, 3, 4, 5, 9))])]
    for _ in range(rng.choice((3, 10, 30, 100))):
        parts.append(_opcode(rng))
    parts.append(rng.choice((b".", b"u.", b"t.", b"")))
    if rng.random() < 0.3:  # a whole tensor, in the middle
        parts.insert(rng.randrange(1, len(parts)), _tensor(rng))
    return b"".join(parts)


PLAIN = (
    b"NK\x01 \x88 \x89 ] } ) \x8f ( t a e s u d l R b "
    b"\x81 \x92 \x90 \x91 0 1 2 \x85 \x86 \x87 o \x94 Q \x93"
)
OPCODES = tuple(code for code in PLAIN.split(b" "))


def _opcode(rng: random.Random) -> bytes:
    kind = rng.randrange(10)
    if kind < 4:
        return rng.choice(OPCODES)
    number = rng.choice(NUMBERS)
    if kind == 4:
        module, name = rng.choice(NAMES)
        return rng.choice((b"c", b"i")) + f"{module}\n{name}\n".encode()
    if kind == 5:
        text = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
        length = len(text) if rng.random() < 0.9 else number % 2**32
        return rng.choice((b"X", b"T", b"B")) + struct.pack("<I", length & 0xFFFFFFFF) + text
    if kind == 6:
        return rng.choice(
            (
                b"J" + struct.pack("<I", number % 2**32),
                b"M" + struct.pack("<H", number % 2**16),
                b"\x8a\x08" + struct.pack("<Q", number),
                b"I" + str(number).encode() + b"\n",
                b"L" + b"9" * rng.choice((3, 30, 5000)) + b"L\n",
                b"G" + struct.pack(">d", rng.choice((0.0, 1e308, float("nan")))),
            )
        )
    if kind == 7:
        return rng.choice((b"q", b"h")) + bytes([rng.randrange(6)])
    if kind == 8:
        return rng.choice((b"r", b"j")) + struct.pack(
            "<I", rng.choice((0, 1, 2, 5, number % 2**32))
        )
    return rng.choice((b"\x95", b"\x8e", b"\x8d", b"\x96", b"\x8b")) + struct.pack("<Q", number)


def _tensor(rng: random.Random) -> bytes:
    def integer(value: int) -> bytes:
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)

    def numbers() -> bytes:
        count = rng.choice((0, 1, 2, 2, 3, 40))
        return (
            b"("
            + b"".join(integer(rng.choice((1, 2, 3, -1, *NUMBERS))) for _ in range(count))
            + b"t"
        )

    size = integer(rng.choice((6, *NUMBERS)))
    storage = (
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + size + b"tQ"
    )
    offset = integer(rng.choice((0, 0, 1, -1, *NUMBERS)))
    return (
        b"X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + offset
        + numbers()
        + numbers()
        + b"\x89}tR"
    )


def mutate_pickle(data: bytes, rng: random.Random) -> bytes:
    """Change a pickle's bytes, or make one of opcodes."""
    if rng.random() < 0.5:
        return mutate_bytes(data, rng)
    return make_pickle(rng)


assert pickle.HIGHEST_PROTOCOL == 5
