"""Untrusted JSON: limited in size, memory and depth, and with one meaning only."""

import json
import math
import re
from pathlib import Path
from typing import Any

from cdcd_jax.reading.regular import read_text

MAX_BYTES = 2**28
"""Of a file; COCO's captions have 67 million."""

MAX_DEPTH = 64
"""Containers within each other."""

LARGEST = 2**64
"""Of whole numbers, whatever their sign."""

FREE_MEMORY, MEMORY_PER_BYTE = 2**27, 16
"""What values may take: this much, or so many bytes for each byte of text. COCO's captions take 5,
ten negatives for each of its images without spaces 8, and a file of empty lists 40."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path, limit: int = MAX_BYTES) -> Any:
    """Read a file of one JSON value.

    Args:
        path: The file.
        limit: Most bytes that it may have.

    Returns:
        The value.

    Raises:
        ValueError: If it is missing, too large, not in UTF-8 or no JSON as ``parse_json`` takes it.
    """
    return parse_json(read_text(path, limit), str(path))


def parse_json(
    text: str,
    where: str,
    *,
    line: int | None = None,
    way_out: str = "the file is damaged or cut off",
    memory_per_byte: int = MEMORY_PER_BYTE,
) -> Any:
    """Parse one JSON value.

    Args:
        text: The text.
        where: What it is called in the message.
        line: Number of the line that it is in its file.
        way_out: The end of the message.
        memory_per_byte: What values may take for each byte of text, beyond ``FREE_MEMORY``.

    Returns:
        The value. Its numbers are finite, its texts whole Unicode, no name occurs twice in an
        object.

    Raises:
        ValueError: If it is something else, or would take far more memory than text of its length
            usually does; the sentence names line and column.

    >>> parse_json('{"a": 1, "a": 2}', "x.json")
    Traceback (most recent call last):
    ValueError: x.json: this is not JSON ("a" occurs twice); the file is damaged or cut off
    """
    if line is not None:
        where = f"{where}, line {line}"
    # The bytes of all values, estimated from the signs between them.
    count = text.count
    memory = 192 * count("{") + 88 * count("[") + 40 * count(",") + 30 * count('"')
    try:
        if memory > max(FREE_MEMORY, memory_per_byte * len(text)):
            raise ValueError("it has far more lists, objects or numbers than text")
        value = json.loads(text, object_pairs_hook=_object)
        _check_values(value)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        reason = error.msg
        if line is None:
            where = f"{where}, line {error.lineno}, column {error.colno}"
        else:
            reason += f", column {error.colno}"
    except RecursionError:
        reason = f"more than {MAX_DEPTH} lists and objects within each other"
    except UnicodeEncodeError:
        reason = "a text holds half a character"
    except ValueError as error:
        reason = str(error)[:160]
    raise ValueError(f"{where}: this is not JSON ({reason}); {way_out}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f'"{repeated:.60}" occurs twice')
    return found


def _check_values(value: Any) -> None:
    """Raise an error for numbers that others would not read, and for too many levels."""
    level = [value]
    for _ in range(MAX_DEPTH + 2):
        for number in level:
            if isinstance(number, int) and not -LARGEST <= number <= LARGEST:
                raise ValueError("a whole number has more than 64 bits")
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{number} is not a number of JSON, or too large a one")
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if not isinstance(inner, str)
        ]
        if not level:
            return
    raise RecursionError
