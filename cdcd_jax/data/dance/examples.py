"""Prepared music as a training set: tokens, their dances, and shuffled waveforms."""

from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Integer

from cdcd_jax.data.batch import take_rows
from cdcd_jax.data.dance.views import WaveformPlan
from cdcd_jax.data.shards.manifest import MANIFEST
from cdcd_jax.data.shards.token_shards import TokenShards


class MusicExamples:
    """The views of prepared pieces, followed by their shuffled records.

    ``len`` counts the views only, so that nothing trains on a shuffled record; ``take`` reads both.

    Args:
        shards: What was prepared.
        parts: What of a dance ``cond`` holds: ``"motion"``, ``"video"``, ``"genre"``; all there is
            if None.

    Raises:
        ValueError: If they are not tokens of music, or were prepared without one of the parts.

    Attributes:
        waveforms: How the pieces were varied.
        genre_names: Name of each genre; empty where there are none.
        group: [examples] int32: genre, or song.
    """

    def __init__(self, shards: TokenShards, parts: Collection[str] | None = None):
        if shards.plan.waveforms is None:
            raise ValueError(f"{shards.folder} holds tokens of images; give another folder")
        self.shards, self.genre_names = shards, shards.class_names
        self._records = shards.plan.views
        manifest = shards.folder / MANIFEST
        self.waveforms = WaveformPlan.from_json(shards.plan.waveforms, self._records, manifest)
        known = [*shards.rows, *(["genre"] if self.genre_names else [])]
        self._parts = known if parts is None else sorted(parts)
        for name in self._parts:
            if name not in known:
                raise ValueError(f"the music in {shards.folder} was prepared without {name}")
        self.group: Int32[np.ndarray, " examples"] = np.repeat(
            shards.group[:: self._records], self.waveforms.views
        )

    def __len__(self) -> int:
        """Count the examples: views of pieces."""
        return len(self.shards.source_index) * self.waveforms.views

    @property
    def length(self) -> int:
        """Number of token positions of every example."""
        return self.shards.length

    @property
    def cond(self) -> dict[str, Any]:
        """What each example is generated from, by name; rows are read when they are indexed."""
        rows: dict[str, Any] = {
            name: _RowsOfViews(array, self.waveforms.views)
            for name, array in self.shards.rows.items()
        }
        rows["genre"] = self.group
        return {name: rows[name] for name in self._parts}

    def draw_cond(self, indices: np.ndarray, rng: np.random.Generator, /) -> dict[str, np.ndarray]:
        """Return the examples' dances; there is nothing to draw."""
        return take_rows(self.cond, indices)

    def take(self, indices: Integer[np.ndarray, "..."], /) -> Int32[np.ndarray, "... length"]:
        """Read the tokens of some examples, or of shuffled records, numbered behind them."""
        views, shuffles = self.waveforms.views, self.waveforms.shuffles
        behind = indices - len(self)
        piece = np.where(behind < 0, indices // views, behind // max(shuffles, 1))
        place = np.where(behind < 0, indices % views, views + behind % max(shuffles, 1))
        return self.shards.take(piece * self._records + place)


class ShuffledWaveforms:
    """Intra negatives that were shuffled before they were encoded.

    As many different ones as there are, in random order, then the same again.

    Args:
        examples: A training set whose pieces were shuffled.

    Raises:
        ValueError: If they were not.
    """

    def __init__(self, examples: MusicExamples):
        if not examples.waveforms.shuffles:
            raise ValueError(
                'intra = "waveform" needs shuffled waveforms among the tokens; prepare them with '
                'prepare.shuffles = 10, or shuffle the tokens with intra = "tokens"'
            )
        self._first, self._waveforms = len(examples), examples.waveforms

    def draw(
        self, rng: np.random.Generator, indices: np.ndarray, *, num_negatives: int
    ) -> Int[np.ndarray, "batch num_neg"]:
        """Draw negatives for some examples: [batch num_neg] numbers for ``take``."""
        count = self._waveforms.shuffles
        order = rng.permuted(np.tile(np.arange(count), (len(indices), 1)), axis=1)
        chosen = order[:, np.arange(num_negatives) % count]
        return self._first + (indices // self._waveforms.views)[:, None] * count + chosen


class _RowsOfViews:
    """An array with the same row for all views of a piece."""

    def __init__(self, rows: Any, views: int):
        self._rows, self._views = rows, views
        self.dtype, self.shape = rows.dtype, (len(rows) * views, *rows.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray, /) -> np.ndarray:
        return self._rows[np.asarray(index) // self._views]
