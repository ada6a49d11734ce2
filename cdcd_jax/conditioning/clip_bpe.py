"""CLIP's tokens of a text: byte pairs of cleaned, lower-cased words (Radford et al. 2021)."""

import gzip
import html
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
from jaxtyping import Int
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from cdcd_jax.reading.regular import check_size, read_bytes

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
BYTE_TOKENS = 2 * 256
"""Every byte, inside a word and at its end."""

NUM_MERGES = 49152 - 256 - 2
"""How many of the file's 262,144 merges CLIP uses: its vocabulary has 49,408 entries."""

MERGES_BYTES = 2**23
"""Most bytes of the file, packed and unpacked: the published one unpacks to 3.2 million."""

PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""Words, single digits, runs of other signs; text is lower-cased before."""


class ClipTokenizer:
    """CLIP's tokenizer.

    Attributes:
        length: Tokens of a text, start and end included; 77 in every published model.
        start: The token before a text.
        end: The token after it.
    """

    def __init__(
        self,
        merges_file: str | Path,
        *,
        length: int = 77,
        num_merges: int = NUM_MERGES,
        lower_first: bool = True,
    ):
        """Read the merges.

        Args:
            merges_file: ``bpe_simple_vocab_16e6.txt.gz`` as OpenAI publishes it with CLIP, or the
                same unpacked; also part of the packages open_clip_torch and clip-anytorch.
            length: Tokens of a text, >= 2.
            num_merges: How many of the merges are used.
            lower_first: See :func:`clean_text`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file has fewer merges, or ``length`` is too small.
        """
        if length < 2:
            raise ValueError(f"length = {length} must be at least 2, for start and end")
        merges = _read_merges(Path(merges_file), num_merges)
        letters = _byte_letters()
        words = [*letters, *(letter + WORD_END for letter in letters)]
        words += ["".join(merge) for merge in merges] + [START, END]
        vocabulary = {word: token for token, word in enumerate(words)}
        self.length, self._lower_first = length, lower_first
        self.start, self.end = vocabulary[START], vocabulary[END]
        self._tokenizer = Tokenizer(
            models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=WORD_END)
        )
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        self._tokenizer.add_special_tokens([START, END])

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.end + 1

    def count(self, texts: Sequence[str]) -> Int[np.ndarray, " batch"]:
        """Count each text's tokens, start and end included, before anything is cut."""
        encoded = self._tokenizer.encode_batch(self._clean(texts))
        return np.array([len(one.ids) + 2 for one in encoded], np.int64)

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "batch length"]:
        """Tokenise texts.

        Args:
            texts: Any Unicode; broken encodings are repaired, HTML entities resolved.

        Returns:
            int32: start, the text, end, then zeros. A text that is too long is cut, and ends with
            the end.
        """
        rows = np.zeros((len(texts), self.length), np.int32)
        encodings = self._tokenizer.encode_batch(self._clean(texts))
        for row, encoded in zip(rows, encodings, strict=True):
            tokens = [self.start, *encoded.ids][: self.length - 1]
            row[: len(tokens) + 1] = [*tokens, self.end]
        return rows

    def _clean(self, texts: Sequence[str]) -> list[str]:
        return [clean_text(text, lower_first=self._lower_first) for text in texts]


def clean_text(text: str, *, lower_first: bool = True) -> str:
    """Lower-case, repair the encoding, resolve HTML entities twice, join by single spaces.

    Args:
        text: Any Unicode.
        lower_first: Whether to lower-case before repairing, and again after, as the code of CDCD
            and VQ-Diffusion does: what was wrongly decoded may then stay so. CLIP itself
            lower-cases only after.

    Returns:
        The text in lower case.

    >>> clean_text("Smart “Quotes” &amp;amp;  tabs")
    'smart "quotes" & tabs'
    >>> clean_text("CafÃ©", lower_first=False), clean_text("CafÃ©")
    ('café', 'cafã©')
    """
    repaired = ftfy.fix_text(text.lower() if lower_first else text)
    return " ".join(html.unescape(html.unescape(repaired)).split()).lower()


def _read_merges(path: Path, number: int) -> list[tuple[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}; give CLIP's merges, bpe_simple_vocab_16e6.txt.gz."
        )
    content = read_bytes(path, MERGES_BYTES)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MERGES_BYTES + 1)
            check_size(path, len(content), MERGES_BYTES)
        text = content.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a complete list of merges: {error}.") from error
    pairs = [tuple(line.split()) for line in text.split("\n")[1 : number + 1]]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    if len(merges) < number:
        raise ValueError(f"{path} has {len(merges)} merges of the {number} that are needed.")
    return merges


def _byte_letters() -> list[str]:
    """Return a visible letter for each byte, those that are visible themselves first."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = range(256 - len(visible))
    return [chr(byte) for byte in visible] + [chr(256 + number) for number in hidden]
