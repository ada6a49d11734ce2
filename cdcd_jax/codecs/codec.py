"""What the rest of the package knows of a codec."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Codec(Protocol):
    """A frozen, deterministic map from data to tokens and back.

    The diffusion sees only the tokens; the raw data never enters it.
    """

    @property
    def vocab_size(self) -> int:
        """Number K of real tokens; the mask is none of the codec's business."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens, row-major; a sequence is (1, length)."""
        ...

    def encode(self, data: Any, /) -> Any:
        """Turn a batch of data into int32 tokens [batch length], values 0..K-1."""
        ...

    def decode(self, tokens: Any, /) -> Any:
        """Turn tokens [batch length], values 0..K-1, into a batch of data."""
        ...
