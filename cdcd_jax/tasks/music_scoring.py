"""Metrics of music for dances, from the section ``eval``."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.dance.waveforms import normalise_peak
from cdcd_jax.evaluation.batches import even_batches, own_share
from cdcd_jax.evaluation.metrics.audio.beats import kinematic_beats
from cdcd_jax.evaluation.metrics.audio.genres import fit_genre_classifier
from cdcd_jax.evaluation.metrics.audio.music import DanceTruth, make_music_metrics
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.evaluation.metrics.metric import RawExamples
from cdcd_jax.io import is_first_host
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.tasks.music import load_segments
from cdcd_jax.tasks.token_data import TokenData


def music_options(config: Any, data: TokenData) -> dict[str, Any]:
    """Make the options of ``evaluate``: metrics, the codec's way back and the real test music.

    The classifier of genres learns from real training music that never went through the codec.

    Args:
        config: The whole configuration.
        data: The tokens and their codec.

    Returns:
        Options of ``evaluate``.
    """
    assert isinstance(data.train, MusicExamples)
    assert isinstance(data.test, MusicExamples)
    truth = read_truth(load_segments(config, "test"), data.test)
    classifier = None
    if data.class_names:
        segments, pieces = load_segments(config, "train"), data.train.shards.source_index
        chosen = evenly_spaced(len(pieces), config.eval.num_judged)
        audio = _read_audio(segments, pieces[chosen], "music for the classifier")
        classifier = fit_genre_classifier(audio, segments.groups[pieces[chosen]])
    metrics = make_music_metrics(truth, classifier)

    def batches(batch_size: int, progress: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        share = own_share(len(truth.audio), batch_size)
        for index, _, _ in even_batches(*share[:2], "real test music", False):
            labels = share.of_batch(index)
            if len(labels):
                yield truth.audio[labels], labels

    return {
        "metrics": [*metrics, codebook_metric(data.codec.vocab_size)],
        "decode_fn": data.codec.decode,
        "raw": RawExamples("real test music", "audio", len(truth.audio), batches),
    }


def read_truth(
    segments: Segments, test: MusicExamples, chosen: np.ndarray | None = None
) -> DanceTruth:
    """Read the real music of test examples, and when their dances have their beats.

    Args:
        segments: All pieces of the split.
        test: Those that were prepared.
        chosen: Numbers of the examples wanted; all if None.

    Returns:
        What belongs to these examples, in their order.
    """
    chosen = np.arange(len(test)) if chosen is None else chosen
    pieces, dances = test.shards.source_index[chosen], segments.dances
    audio = _read_audio(segments, pieces, "real test music")
    motion = test.shards.rows["motion"][chosen]
    beats = []
    for moves in motion:
        positions = dances.joints(moves)
        beats.append(kinematic_beats(moves if positions is None else positions, fps=dances.fps))
    return DanceTruth(audio, beats, segments.groups[pieces])


def _read_audio(segments: Segments, pieces: np.ndarray, title: str) -> np.ndarray:
    bar = tqdm(pieces, desc=title, unit="piece", disable=len(pieces) < 50 or not is_first_host())
    rows = [normalise_peak(segments[int(piece)].audio) for piece in bar]
    return np.stack(rows).astype(np.float32)
