"""The training of a codec, from the sections whose names begin with ``codec``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cdcd_jax.codecs.discriminator import make_discriminator, smallest_picture
from cdcd_jax.codecs.pyramid import pyramid_distance
from cdcd_jax.codecs.vqgan import VQGAN, make_vqgan
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.stream import make_image_iterator
from cdcd_jax.data.shards.prepare_options import check_crops
from cdcd_jax.distributed.mesh import batch_share
from cdcd_jax.interop.lpips import lpips_from_torch
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.models.features.lpips import make_lpips
from cdcd_jax.settings.sections import (
    find_housekeeping,
    find_mesh,
    find_rules,
    make_decaying_optimizer,
    make_fingerprint,
    make_loop,
    make_section,
    plain,
)
from cdcd_jax.tasks.codecs import vqgan_options
from cdcd_jax.tasks.images import Places, find_places, load_source
from cdcd_jax.tasks.memory import check_needs, codec_needs
from cdcd_jax.training.codec_objective import (
    init_codec_training,
    make_codec_objective,
    with_codes,
)
from cdcd_jax.training.run import Training
from cdcd_jax.training.state import TrainState, init_state
from cdcd_jax.training.step import Objective, make_train_step
from cdcd_jax.typing import Params, PRNGKey


@dataclass(frozen=True, kw_only=True)
class CodecTraining:
    """Hold what the training of a codec is made of.

    Attributes:
        training: What ``run_training`` takes.
        vqgan: The codec's functions.
        train_source: The pictures it learns from.
        test_source: Pictures it never sees.
        places: Where the codec goes.
        batch_size: Pictures that are encoded or decoded at once.
        config: The whole configuration as JSON types.
    """

    training: Training
    vqgan: VQGAN
    train_source: Source
    test_source: Source
    places: Places
    batch_size: int
    config: dict[str, Any]


def build_codec_training(config: Any, workdir: Path, *, mesh: Mesh | None = None) -> CodecTraining:
    """Make the training of a codec of a configuration.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/pictures.py`` makes it.
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
    if places is None:
        raise ValueError(f'data.name = "{config.data.name}" has no codec to train')
    train, loss = config.codec_train, config.codec_loss.to_dict()
    make_section(config, "codec_train", check_crops, views=1, crop=train.crop, flip=train.flip)
    sources = load_source(config, "train"), load_source(config, "test")
    vqgan = make_section(config, "codec", make_vqgan, **vqgan_options(config.codec))
    critic = make_section(config, "codec_loss", _critic, loss, vqgan.options.image_size)
    objective = make_section(
        config,
        "codec_loss",
        make_codec_objective,
        vqgan,
        critic,
        make_section(config, "codec_loss", _distance, loss.pop("lpips_weights")),
        **loss,
    )
    size, batch_size = vqgan.options.image_size, train.batch_size
    training = make_codec_run(
        config,
        mesh,
        objective,
        init_codec_training(vqgan, critic),
        {"images": jax.ShapeDtypeStruct((batch_size, size, size, 3), "uint8")},
        lambda: make_image_iterator(
            sources[0],
            image_size=size,
            batch_size=batch_size,
            seed=train.seed,
            crop=train.crop,
            flip=train.flip,
            process_index=share,
            num_processes=num_shares,
            num_threads=config.data.num_threads,
            prefetch=config.data.prefetch,
        ),
        sources[0].fingerprint,
    )
    return CodecTraining(
        training=training,
        vqgan=vqgan,
        train_source=sources[0],
        test_source=sources[1],
        places=places,
        batch_size=config.codec.batch_size,
        config=plain(config),
    )


def make_codec_run(
    config: Any,
    mesh: Mesh,
    objective: Objective,
    init: tuple[Callable[[PRNGKey], Params], Callable[[PRNGKey], Any]],
    batch: dict[str, jax.ShapeDtypeStruct],
    make_batches: Callable[[], Any],
    data_fingerprint: str,
) -> Training:
    """Make the run that trains a codec of pictures or of music, from what differs between them.

    Args:
        config: The whole configuration; the sections ``codec_train`` and ``codec_optimizer`` are
            read here.
        mesh: Devices to train on.
        objective: What a step minimises.
        init: What makes the parameters, and the codebook.
        batch: The form of a batch.
        make_batches: Opens the stream of batches.
        data_fingerprint: Of what is trained on.

    Returns:
        What ``run_training`` takes.

    Raises:
        ValueError: If a value is wrong, or the shapes do not fit together.
    """
    train, (init_params, init_stats) = config.codec_train, init
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
        objective,
        optimizer,
        num_microbatches=train.num_microbatches,
        max_skipped=train.max_skipped,
        ema_decay=0.0,  # the average is the parameters themselves
    )
    loop = make_section(config, "codec_train", make_loop, train, mesh)

    def initial_state() -> TrainState:
        key, stats_key = jax.random.split(jax.random.key(train.seed))
        return init_state(key, init_params, optimizer, init_stats(stats_key))

    make_section(config, "codec", jax.eval_shape, train_step, jax.eval_shape(initial_state), batch)
    sections = ("codec", "codec_loss", "codec_optimizer", "codec_train")
    training = Training(
        mesh=mesh,
        batch_size=train.batch_size,
        init_state=initial_state,
        train_step=train_step,
        make_batches=make_batches,
        loop=loop,
        keep_checkpoints=train.keep_checkpoints,
        fingerprint=make_fingerprint(
            config, sections, train="codec_train", optimizer="codec_optimizer"
        )
        | {"data": data_fingerprint},
        housekeeping=find_housekeeping("codec_train"),
        rules=find_rules(config, "codec_rules"),
    )
    make_section(config, "mesh", training.shardings)
    return training


def trained_codec(state: TrainState) -> Params:
    """Take the codec's parameters out of the state of its training."""
    return with_codes(state.params["generator"], state.stats)


def _critic(loss: dict[str, Any], image_size: int) -> Any:
    num_layers = loss.pop("discriminator_layers")
    critic = make_discriminator(channels=loss.pop("discriminator_channels"), num_layers=num_layers)
    if image_size < smallest_picture(num_layers):
        raise ValueError(
            f"discriminator_layers = {num_layers} needs pictures of at least "
            f"{smallest_picture(num_layers)} pixels, and they have {image_size}"
        )
    return critic


def _distance(lpips_weights: str | None) -> Callable[..., jax.Array]:
    """Make the perceptual distance; weights in two files are named with a comma between."""
    if lpips_weights is None:
        return pyramid_distance
    lpips = make_lpips()
    try:
        state = {}
        for path in lpips_weights.split(","):
            state.update(open_state_dict(path, "state_dict"))
        params = lpips_from_torch(state, jax.eval_shape(lpips.init, jax.random.key(0)))
    except (ValueError, OSError) as error:
        raise ValueError(f"lpips_weights = {lpips_weights} cannot be used: {error}") from error
    return partial(lpips.apply, jax.tree.map(jnp.asarray, params))
