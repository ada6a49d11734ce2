"""Byte pairs learned on a set's own captions, for a text encoder trained with the model."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from cdcd_jax.conditioning.clip_bpe import clean_text

PAD, END = "[PAD]", "[END]"
SMALLEST = 256 + 2
"""Every byte, the padding and the end: with these any text can be written."""


def learn_vocabulary(captions: Iterable[str], *, vocab_size: int) -> str:
    """Learn byte pairs from captions (Sennrich et al. 2016).

    Args:
        captions: The training set's texts.
        vocab_size: Largest number of different tokens, >= 258; few captions give fewer.

    Returns:
        The vocabulary as JSON, for :class:`CaptionTokenizer`.

    Raises:
        ValueError: If the size is too small, or there are no captions.
    """
    if vocab_size < SMALLEST:
        raise ValueError(f"vocab_size = {vocab_size} must be at least {SMALLEST}, for every byte")
    texts = sorted({clean_text(caption) for caption in captions})
    if not texts:
        raise ValueError("there are no captions to learn a vocabulary from")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


class CaptionTokenizer:
    """A tokenizer of captions with a learned vocabulary.

    Args:
        vocabulary: From :func:`learn_vocabulary`.
        length: Tokens of a caption, the end included, >= 2.

    Raises:
        ValueError: If the vocabulary cannot be read or the length is too small.

    >>> tokenizer = CaptionTokenizer(learn_vocabulary(["a bird"], vocab_size=300), length=5)
    >>> (tokenizer(["A  bird", ""]) > 0).sum(axis=1).tolist()
    [3, 1]
    """

    def __init__(self, vocabulary: str, *, length: int):
        if length < 2:
            raise ValueError(f"length = {length} must be at least 2, for a word and the end")
        try:
            self._tokenizer = Tokenizer.from_str(vocabulary)
        except Exception as error:  # what the library raises has no type of its own
            raise ValueError(f"the vocabulary cannot be read: {error}") from error
        self.length = length
        self.end = self._tokenizer.token_to_id(END)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self._tokenizer.get_vocab_size()

    def count(self, texts: Sequence[str]) -> Int[np.ndarray, " batch"]:
        """Count each text's tokens, the end included, before anything is cut."""
        encoded = self._tokenizer.encode_batch([clean_text(text) for text in texts])
        return np.array([len(one.ids) + 1 for one in encoded], np.int64)

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "batch length"]:
        """Tokenise captions, lower-cased and cleaned as CLIP's are.

        Args:
            texts: Any Unicode.

        Returns:
            int32: the text, the end, then padding (0). A text that is too long is cut, and ends
            with the end.
        """
        rows = np.zeros((len(texts), self.length), np.int32)
        encoded = self._tokenizer.encode_batch([clean_text(text) for text in texts])
        for row, one in zip(rows, encoded, strict=True):
            ids = one.ids[: self.length - 1]
            row[: len(ids) + 1] = [*ids, self.end]
        return rows
