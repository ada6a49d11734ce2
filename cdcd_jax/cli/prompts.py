"""Prompts from the command line or a file."""

from collections.abc import Sequence
from pathlib import Path

from cdcd_jax.reading.regular import LIST_BYTES, check_lines, read_bytes


def read_prompts(given: Sequence[str], path: str | Path | None) -> tuple[str, ...]:
    """Join the prompts of the command line and those of a file.

    Args:
        given: Prompts of the command line.
        path: A file in UTF-8 with a prompt a line; empty lines are skipped.

    Returns:
        The prompts, each once and without spaces around it; a file is named after each.

    Raises:
        ValueError: If a prompt of the command line is empty, or the file is missing, not in UTF-8
            or without prompts.
    """
    prompts = [text.strip() for text in given]
    for number, text in enumerate(prompts, 1):
        if not text:
            raise ValueError(f"prompt {number} is empty; say what is to be drawn")
    if path is None:
        return tuple(dict.fromkeys(prompts))
    try:
        content = read_bytes(path, LIST_BYTES)
    except OSError as error:
        raise ValueError(f"prompt_file = {path} cannot be read: {error.strerror}") from error
    check_lines(path, content)
    lines = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            if b"\0" in line:
                raise ValueError("a zero byte, as UTF-16 has them between its letters")
            lines.append(line.decode("utf-8").strip())
        except ValueError as error:
            raise ValueError(
                f"prompt_file = {path}: line {number} is not UTF-8; save the file in that encoding"
            ) from error
    if not any(lines):
        raise ValueError(f"prompt_file = {path} holds no prompts; write one a line")
    return tuple(dict.fromkeys([*prompts, *filter(None, lines)]))
