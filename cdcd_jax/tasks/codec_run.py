"""Runs that make a codec, from the sections whose names begin with ``codec``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.distributed.mesh import batch_share
from cdcd_jax.settings.sections import (
    compatibility_values,
    find_mesh,
    find_mutable_keys,
    find_rules,
    make_decaying_optimizer,
    make_loop,
    make_section,
    plain,
)
from cdcd_jax.tasks.codec_family import CodecTraining
from cdcd_jax.tasks.codecs import find_codec
from cdcd_jax.tasks.memory import check_needs, codec_needs
from cdcd_jax.tasks.places import SPLITS, Places, find_places
from cdcd_jax.tasks.reconstructions import ImageReconstructions, SoundReconstructions
from cdcd_jax.tasks.task import find_task
from cdcd_jax.training.run import Training
from cdcd_jax.training.state import TrainState, init_state
from cdcd_jax.training.step import TrainStep, make_train_step


@dataclass(frozen=True, kw_only=True)
class CodecRun:
    """A run that makes a codec: by ``fit``, or by ``training`` and ``codec_of``.

    Attributes:
        fit: Fits the codec in one pass over the data; None where it is trained.
        training: What ``run_training`` takes; None where it is fitted.
        codec_of: Makes the codec of a state of the training; None where it is fitted.
        save: Writes a codec to a file.
        read_test: Reads the test examples that show what the codec makes of data.
        places: Where the codec goes.
        config: The whole configuration as JSON types.
    """

    fit: Callable[[], Codec] | None = None
    training: Training | None = None
    codec_of: Callable[[TrainState], Codec] | None = None
    save: Callable[[Codec, Path], None]
    read_test: Callable[[], ImageReconstructions | SoundReconstructions]
    places: Places
    config: dict[str, Any]


def build_codec_run(config: Any, workdir: Path, *, mesh: Mesh | None = None) -> CodecRun:
    """Make what fits or trains the codec of a configuration.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/images.py`` makes it.
        workdir: Folder of the run, where the codec goes unless ``codec.folder`` is given.
        mesh: Devices to train on; all, as the section ``mesh`` arranges them, if None.

    Returns:
        The run. Nothing is read, trained or compiled yet.

    Raises:
        ValueError: If a value is wrong or the data are not there; the sentence names
            ``section.key``.
    """
    check_needs(codec_needs(config))
    places, family = find_places(config, workdir), find_codec(config)
    if not family.sections:
        raise ValueError(f'data.name = "{config.data.name}" has no codec to train')
    train, test = (find_task(config).open_for_codec(split) for split in SPLITS)
    made = make_section(config, "codec", family.make, config, train)
    common = {
        "save": family.save,
        "read_test": partial(family.reconstructions, config, test),
        "places": places,
        "config": plain(config),
    }
    if not isinstance(made, CodecTraining):
        return CodecRun(fit=made, **common)
    mesh = find_mesh(config) if mesh is None else mesh
    training = _make_training(config, mesh, made, train.fingerprint)
    return CodecRun(training=training, codec_of=made.codec, **common)


def _make_training(config: Any, mesh: Mesh, made: CodecTraining, data_fingerprint: str) -> Training:
    """Make what ``run_training`` takes.

    Raises:
        ValueError: If a value is wrong, or the shapes do not fit together.
    """
    train = config.codec_train
    share, num_shares = make_section(config, "mesh", batch_share, mesh)
    loop = make_section(config, "codec_train", make_loop, train, mesh)
    initial_state, train_step = make_codec_step(config, made)
    sections = ("codec", *find_codec(config).sections)
    training = Training(
        mesh=mesh,
        batch_size=train.batch_size,
        init_state=initial_state,
        train_step=train_step,
        make_batches=partial(
            made.make_batches,
            batch_size=train.batch_size,
            seed=train.seed,
            process_index=share,
            num_processes=num_shares,
            num_threads=config.data.num_threads,
            prefetch=config.data.prefetch,
        ),
        loop=loop,
        keep_checkpoints=train.keep_checkpoints,
        compatibility=compatibility_values(
            config, sections, train="codec_train", optimizer="codec_optimizer"
        )
        | {"data": data_fingerprint},
        mutable_keys=find_mutable_keys("codec_train"),
        rules=find_rules(config, "codec_rules"),
    )
    make_section(config, "mesh", training.shardings)
    return training


def make_codec_step(config: Any, made: CodecTraining) -> tuple[Callable[[], TrainState], TrainStep]:
    """Make what builds the state before the first step, and the step.

    Args:
        config: The whole configuration.
        made: From ``CodecFamily.make``.

    Raises:
        ValueError: If a value is wrong, or the shapes do not fit together.
    """
    train = config.codec_train
    optimizer = make_section(
        config,
        "codec_optimizer",
        make_decaying_optimizer,
        num_steps=train.num_steps,
        **config.codec_optimizer,
    )
    train_step = make_section(
        config,
        "codec_train",
        make_train_step,
        made.objective,
        optimizer,
        num_microbatches=train.num_microbatches,
        max_skipped=train.max_skipped,
        ema_decay=0.0,  # the average is the parameters themselves
    )

    def initial_state() -> TrainState:
        key, stats_key = jax.random.split(jax.random.key(train.seed))
        return init_state(key, made.init_params, optimizer, made.init_stats(stats_key))

    state = jax.eval_shape(initial_state)
    make_section(config, "codec", jax.eval_shape, train_step, state, made.batch)
    return initial_state, train_step
