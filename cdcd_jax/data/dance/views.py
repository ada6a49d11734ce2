"""The records of a piece of music: the piece, quieter copies, and shuffled copies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from cdcd_jax.data.dance.waveforms import normalise_peak, shuffle_waveform, vary_amplitude
from cdcd_jax.data.shards.manifest import AGAIN
from cdcd_jax.data.shards.writer import Views


class PieceError(ValueError):
    """An error that names a piece of music without usable sound."""


@runtime_checkable
class Pieces(Protocol):
    """Pieces of music with their dances, as ``Segments`` provides them."""

    groups: np.ndarray

    def segment_name(self, index: int) -> str:
        """Name one without reading it."""
        ...

    def __len__(self) -> int:
        """Count the pieces."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Read one: ``name``, ``group``, ``audio``, ``motion`` and, if there is some, ``video``."""
        ...


class WaveformPlan(NamedTuple):
    """Options of how pieces are cut and varied.

    Attributes:
        seconds: Length of a piece.
        stride: Seconds between the beginnings of two pieces.
        views: Records of each piece in its order, >= 1; the first is as loud as it gets.
        shuffles: Records of each piece in disorder, >= 0: intra negatives (CDCD Sec. 3.3).
        num_chunks: Chunks of the waveform that these are cut in, >= 2.
        quietest: Lowest amplitude of the views after the first, in (0, 1].
    """

    seconds: float
    stride: float
    views: int = 1
    shuffles: int = 0
    num_chunks: int = 8
    quietest: float = 0.3

    def check(self) -> None:
        """Raise a ValueError that names what is out of range."""
        for name, least in {"views": 1, "shuffles": 0, "num_chunks": 2}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")
        if not 0 < self.quietest <= 1:
            raise ValueError(f"quietest = {self.quietest} must be in (0, 1]")

    @classmethod
    def from_json(cls, content: Mapping[str, Any], num_records: int, path: Path) -> "WaveformPlan":
        """Take it out of a manifest that says how many records each piece has.

        Raises:
            ValueError: If it is damaged.
        """
        try:
            plan = cls(**content)
            plan.check()
            counts = plan.views, plan.shuffles, plan.num_chunks
            if {type(count) for count in counts} != {int}:
                raise TypeError("a count of another kind")
            if plan.views + plan.shuffles != num_records:
                raise ValueError("another number of records")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged; delete it and {AGAIN}") from error
        return plan


def load_piece(pieces: Pieces, plan: WaveformPlan, seed: int, index: int) -> Views:
    """Read one piece as the encoder and the training set need it.

    All records are brought to a peak of 0.95. What is random follows from seed and index.

    Args:
        pieces: The pieces.
        plan: How they are varied.
        seed: >= 0.
        index: Which piece.

    Returns:
        The waveforms, views first and shuffled ones behind them; ``cond`` holds ``motion`` and
        ``video``. One that is silent or cannot be read comes back with an error instead.
    """
    try:
        piece = pieces[index]
        loud = normalise_peak(piece.audio)
    except ValueError as error:
        name = pieces.segment_name(index)
        bad = PieceError(f"{name}: {error}; or leave such pieces out with prepare.on_bad=skip")
        return Views(index, name, int(pieces.groups[index]), (), bad)
    rng = np.random.default_rng((seed, index))
    quieter = [vary_amplitude(loud, rng, low=plan.quietest) for _ in range(plan.views - 1)]
    shuffled = [
        shuffle_waveform(loud, rng, num_chunks=plan.num_chunks) for _ in range(plan.shuffles)
    ]
    crops: Sequence[np.ndarray] = [loud, *quieter, *shuffled]
    cond = {"motion": piece.motion}
    if piece.video is not None:
        cond["video"] = piece.video
    return Views(index, piece.name, int(piece.group), crops, cond=cond)
