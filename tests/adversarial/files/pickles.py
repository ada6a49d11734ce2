"""Pickles that execute, fill the memory, never end or make no sense."""

import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

from cdcd_jax.data.dance.motion import load_motion
from cdcd_jax.data.images.cub import _read_names
from cdcd_jax.interop import read_state_dict
from tests.adversarial import seeds
from tests.adversarial.cases import Case
from tests.adversarial.files.forked import file_case


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _calls(module: str, name: str, argument: str) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + _text(argument) + b"tR."


def _ways() -> bytes:
    """Return a key that is hashed in 2^60 ways."""
    return b"}K\x01\x85" + b"2\x86" * 60 + b"K\x01s."


def _alike() -> bytes:
    """Return a dict of 20,000 whole numbers that a dict finds in one place."""
    step = 2**61 - 1
    keys = b"".join(
        b"\x8a\x0f" + (step * (k + 1)).to_bytes(15, "little", signed=True) + b"K\0"
        for k in range(20_000)
    )
    return b"}(" + keys + b"u."


EIGHT = struct.pack("<Q", 2**62)
KINDS = {
    "the object number 2^31": b"]r\xff\xff\xff\x7f.",
    "the object number 2^32 - 1": b"}r\xff\xff\xff\xff.",
    "a written number of an object": b"]p99999999999\n.",
    "a frame of 2^62": b"\x95" + EIGHT + b"].",
    "a frame that ends early": b"\x95\x09" + bytes(7) + b"].",
    "bytes of 2^62": b"\x8e" + EIGHT + b".",
    "a text of 2^62": b"\x8d" + EIGHT + b".",
    "changeable bytes of 2^62": b"\x96" + EIGHT + b".",
    "bytes of 4 GB": b"B\xff\xff\xff\xff.",
    "a text of 4 GB": b"X\xff\xff\xff\xff.",
    "a text of -1 bytes": b"T\xff\xff\xff\xff.",
    "a whole number of 2 GB": b"\x8b\xff\xff\xff\x7f.",
    "one of -1 bytes": b"\x8b\xff\xff\xff\xff.",
    "a number of 5,000 digits": b"L" + b"9" * 5000 + b"L\n.",
    "a number of 100,000 hexadecimal digits": b"I0x" + b"f" * 100_000 + b"\n.",
    "a number of 200 bytes": b"\x8a\xc8" + b"\x7f" * 200 + b".",
    "200,000 lists within each other": b"]" * 200_000 + b"a" * 199_999 + b".",
    "500,000 tuples within each other": b")" + b"\x85" * 500_000 + b".",
    "a key of 2^60 ways": _ways(),
    "20,000 keys in one place": _alike(),
    "10 million lists": b"](" + b"]" * 10_000_000 + b"e.",
    "10 million dicts": b"](" + b"}" * 10_000_000 + b"e.",
    "3 million sets": b"](" + b"\x8f" * 3_000_000 + b"e.",
    "300,000 names": b"](" + b"".join(b"ca\nb%d\n" % k for k in range(300_000)) + b"e.",
    "a call of os.system": _calls("os", "system", "touch /tmp/hostile"),
    "a call of eval": _calls("builtins", "eval", "1"),
    "a call of posix": _calls("posix", "system", ":"),
    "a call of getattr": _calls("builtins", "getattr", "a"),
    "a call of bytes": b"cbuiltins\nbytes\n(J\xff\xff\xff\x7ftR.",
    "a call of bytearray": b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
    "a call of nothing": b"NN\x85R.",
    "a call of a text": _text("a") + b")R.",
    "a call without a tuple": b"ccollections\nOrderedDict\nK\x01R.",
    "an instance by its name": b"(ios\nsystem\n.",
    "an instance of a list": b"])\x81.",
    "a state for a list": b"]}b.",
    "a state for a number": b"K\x01}b.",
    "an extension": b"\x82\x01.",
    "a buffer from outside": b"\x97.",
    "a storage of nothing": b"NQ.",
    "a storage by a line": b"Pabc\n.",
    "a pop of nothing": b"0.",
    "a mark of nothing": b"t.",
    "an item of nothing": b"K\x01K\x02s.",
    "an item of a number": b"K\x01K\x02K\x03s.",
    "a list of a number": b"K\x01(K\x02e.",
    "an object never made": b"h\x07.",
    "no end": b"](K\x01e",
    "nothing": b"",
    "protocol 9": b"\x80\x09].",
    "an unknown opcode": b"\xff.",
    "a text that is not UTF-8": b"X\x01\0\0\0\xff.",
    "a line that never ends": b"V" + b"a" * 100_000,
    "half of the usual": pickle.dumps({"smpl_poses": [1.0] * 99})[:200],
    "a number alone": b"K\x01.",
    "a list of numbers": pickle.dumps([1, 2]),
    "an empty list": b"].",
}

READERS = {"motion.pkl": load_motion, "filenames.pickle": _read_names, "a.pth": read_state_dict}


def cases() -> Iterator[Case]:
    """Yield each pickle as motion, as a list of names and in a checkpoint."""
    for name, read in READERS.items():
        for kind, data in KINDS.items():

            def write(folder: Path, name: str = name, data: bytes = data) -> Path:
                path = folder / name
                if path.suffix == ".pth":
                    return seeds.write_zip(path, a__data_dot_pkl=b"\x80\x02" + data)
                path.write_bytes(data)
                return path

            yield file_case(f"{kind} in {name}", write, read, name)
