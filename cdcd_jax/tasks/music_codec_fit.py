"""The fit of a codebook of spectra, from the sections ``codec`` and ``codec_fit``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.codecs.phases import SpectrumOptions
from cdcd_jax.data.dance.recordings import Recordings
from cdcd_jax.evaluation.metrics.images.real_images import spread
from cdcd_jax.settings.sections import plain
from cdcd_jax.tasks.images import Places, find_places
from cdcd_jax.tasks.music import find_window, load_recordings, spectrum_options


@dataclass(frozen=True, kw_only=True)
class MusicCodecFit:
    """Hold what the fit of a codebook of spectra needs.

    Attributes:
        train: Recordings it is fitted to.
        chosen: Numbers of those that are taken.
        test: Recordings it never hears.
        places: Where the codec goes.
        options: How sound is cut and described.
        samples: Length of what is taken of each recording.
        seed: Seed of the choice.
        batch_size: Windows that are encoded or decoded at once.
        config: The whole configuration as JSON types.
    """

    train: Recordings
    chosen: np.ndarray
    test: Recordings
    places: Places
    options: SpectrumOptions
    samples: int
    seed: int
    batch_size: int
    config: dict[str, Any]


def build_music_codec_fit(config: Any, workdir: Path) -> MusicCodecFit:
    """Make the fit of a codebook of spectra of a configuration.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/music.py`` makes it.
        workdir: Folder of the run, where the codec goes unless ``codec.folder`` is given.

    Returns:
        The fit; no recording is read yet.

    Raises:
        ValueError: If a value is wrong or the recordings are not there.
    """
    places = find_places(config, workdir)
    assert places is not None  # the section ``codec`` of music has a folder
    train, test = (load_recordings(config, split) for split in ("train", "test"))
    fit = config.codec_fit
    if fit.num_recordings < 1 or fit.seconds <= 0:
        raise ValueError(
            f"codec_fit.num_recordings = {fit.num_recordings} and codec_fit.seconds = "
            f"{fit.seconds} must be above 0"
        )
    window = find_window(config)
    return MusicCodecFit(
        train=train,
        chosen=spread(len(train.names), fit.num_recordings),
        test=test,
        places=places,
        options=SpectrumOptions(**spectrum_options(config.codec)),
        samples=max(1, round(fit.seconds / window.seconds)) * window.samples,
        seed=fit.seed,
        batch_size=config.codec.batch_size,
        config=plain(config),
    )
