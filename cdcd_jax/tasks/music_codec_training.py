"""The training of a codec of music, from the sections whose names begin with ``codec``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cdcd_jax.codecs.codebook import Codebook, resume_codebook
from cdcd_jax.codecs.jukebox import Jukebox, make_jukebox
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.audio_stream import make_audio_iterator
from cdcd_jax.data.dance.recordings import Recordings
from cdcd_jax.distributed.mesh import batch_share
from cdcd_jax.interop.jukebox import jukebox_from_state_dict
from cdcd_jax.interop.published_music import read_vqvae
from cdcd_jax.settings.sections import find_mesh, make_section, plain
from cdcd_jax.tasks.codec_training import make_codec_run
from cdcd_jax.tasks.images import Places, find_places
from cdcd_jax.tasks.memory import check_needs, codec_needs
from cdcd_jax.tasks.music import jukebox_options, load_recordings
from cdcd_jax.training.audio_codec_objective import (
    init_audio_codec_training,
    make_audio_codec_objective,
    with_audio_codes,
)
from cdcd_jax.training.run import Training
from cdcd_jax.training.state import TrainState
from cdcd_jax.typing import Params, PRNGKey


@dataclass(frozen=True, kw_only=True)
class MusicCodecTraining:
    """Hold what the training of a codec of music is made of.

    Attributes:
        training: What ``run_training`` takes.
        jukebox: The codec's functions.
        level: The level that is trained.
        samples: Length of the sounds it learns from, in samples.
        test: Recordings it never hears.
        places: Where the codec goes.
        batch_size: Sounds that are encoded or decoded at once.
        config: The whole configuration as JSON types.
    """

    training: Training
    jukebox: Jukebox
    level: int
    samples: int
    test: Recordings
    places: Places
    batch_size: int
    config: dict[str, Any]

    def params(self, state: TrainState) -> Params:
        """Take the codec's parameters out of the state of its training."""
        return with_audio_codes(state.params, state.stats, self.level)


def build_music_codec_training(
    config: Any, workdir: Path, *, mesh: Mesh | None = None
) -> MusicCodecTraining:
    """Make the training of a codec of music of a configuration.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/music.py`` makes it.
        workdir: Folder of the run, where the codec goes unless ``codec.folder`` is given.
        mesh: Devices to train on; all, as the section ``mesh`` arranges them, if None.

    Returns:
        The training. Nothing is trained or compiled yet.

    Raises:
        ValueError: If a value is wrong; the sentence names ``section.key``.
    """
    check_needs(codec_needs(config))
    mesh = find_mesh(config) if mesh is None else mesh
    share, num_shares = make_section(config, "mesh", batch_share, mesh)
    places = find_places(config, workdir)
    assert places is not None  # the section ``codec`` of music has a folder
    if config.codec.name != "jukebox":
        raise ValueError(f'codec.name = "{config.codec.name}" is no codec of music: "jukebox" is')
    train, level = config.codec_train, config.codec.level
    recordings, test = (load_recordings(config, split) for split in ("train", "test"))
    jukebox = make_section(config, "codec", make_jukebox, **jukebox_options(config.codec))
    make_section(config, "codec", jukebox.options.check_level, level)
    samples = make_section(
        config, "codec_train", _samples, train.seconds, jukebox.options.hops[level]
    )
    objective = make_section(
        config,
        "codec_loss",
        make_audio_codec_objective,
        jukebox,
        level=level,
        **config.codec_loss,
    )
    init = make_section(config, "codec_train", _start, jukebox, level, train.start_from)
    training = make_codec_run(
        config,
        mesh,
        objective,
        init,
        {"audio": jax.ShapeDtypeStruct((train.batch_size, samples), "float32")},
        lambda: make_audio_iterator(
            recordings,
            samples=samples,
            batch_size=train.batch_size,
            seed=train.seed,
            quietest=train.quietest,
            process_index=share,
            num_processes=num_shares,
            num_threads=config.data.num_threads,
            prefetch=config.data.prefetch,
        ),
        recordings.fingerprint,
    )
    return MusicCodecTraining(
        training=training,
        jukebox=jukebox,
        level=level,
        samples=samples,
        test=test,
        places=places,
        batch_size=config.codec.batch_size,
        config=plain(config),
    )


def _samples(seconds: float, hop: int) -> int:
    """Count the samples of so many seconds, in whole tokens."""
    samples = int(seconds * SAMPLE_RATE / hop) * hop
    if samples < 4096:
        raise ValueError(f"seconds = {seconds} is too short for the spectra of the loss; take 1.0")
    return samples


def _start(
    jukebox: Jukebox, level: int, start_from: str | None
) -> tuple[Callable[[PRNGKey], Params], Callable[[PRNGKey], Codebook]]:
    """Start from random weights, or from published ones to be fine-tuned."""
    init_params, init_stats = init_audio_codec_training(jukebox, level)
    if start_from is None:
        return init_params, init_stats
    try:
        state = read_vqvae(start_from)
        template = jax.eval_shape(jukebox.init, jax.random.key(0))
        params = jukebox_from_state_dict(state, template)[f"level_{level}"]
    except (ValueError, OSError) as error:
        raise ValueError(f"start_from = {start_from} cannot be used: {error}") from error
    codes = np.asarray(params["quantizer"]["codebook"])
    networks = {name: part for name, part in params.items() if name != "quantizer"}
    return lambda key: {f"level_{level}": networks}, lambda key: resume_codebook(codes)
