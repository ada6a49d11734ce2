"""Codecs of images: pixels of the digits, fitted patches, a trained VQGAN."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.codec_file import load_vqgan, save_vqgan
from cdcd_jax.codecs.discriminator import make_discriminator, smallest_image
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.patches import (
    PatchCodec,
    check_patch_size,
    fit_patch_codec,
    load_patches,
    save_patches,
)
from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.codecs.pyramid import pyramid_distance
from cdcd_jax.codecs.vqgan import VQGAN, VQGANOptions, make_vqgan
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.images.stream import make_image_iterator
from cdcd_jax.data.shards.prepare_options import check_crops
from cdcd_jax.distributed.shard_batch import fetch_whole
from cdcd_jax.evaluation.metrics.images.real_images import RealImages
from cdcd_jax.interop.lpips import lpips_from_torch
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.interop.vqgan import read_used_codes, read_vqgan, vqgan_from_state_dict
from cdcd_jax.models.features.lpips import make_lpips
from cdcd_jax.registry import register
from cdcd_jax.settings.keys import Keys, argument_keys, field_keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codec_family import (
    FIT,
    TRAIN,
    TRAIN_KEYS,
    CodecFamily,
    CodecTraining,
    check_made,
    check_same,
    take_options,
)
from cdcd_jax.training.codec_objective import init_codec_training, make_codec_objective, with_codes
from cdcd_jax.training.state import TrainState
from cdcd_jax.typing import Params


class Pixels(CodecFamily):
    """The codec of the digits, whose pixels are tokens."""

    data = "arrays"
    keys: ClassVar = {"codec": Keys.of("name", "vocab_size", "grid", strict=True)}

    def shape(self, config: Any) -> tuple[int, tuple[int, int]]:
        """Return the number of grey levels and the size of the images."""
        return config.codec.vocab_size, tuple(config.codec.grid)

    def load(self, config: Any, file: Path) -> PixelCodec:
        """Make the codec, which has no weights."""
        return PixelCodec(**take_options(config.codec, PixelCodec))


class Patches(CodecFamily):
    """A codebook of patches, found in one pass over the images."""

    sections = FIT
    keys: ClassVar = {
        "codec": Keys.of("name", "folder", "image_size", "patch_size", "num_codes", "batch_size"),
        "codec_fit": Keys.of("num_pictures", "seed"),
    }

    def shape(self, config: Any) -> tuple[int, tuple[int, int]]:
        """Return the number of codes, and the patches of an image."""
        section = config.codec
        check_patch_size(section.patch_size, section.image_size)
        if section.num_codes < 2:
            raise ValueError(f"num_codes = {section.num_codes} must be at least 2")
        side = section.image_size // section.patch_size
        return section.num_codes, (side, side)

    def load(self, config: Any, file: Path) -> PatchCodec:
        """Load the codebook."""
        check_made(file)
        codec = load_patches(file, batch_size=config.codec.batch_size)
        num_codes, _ = self.shape(config)
        theirs = {"image_size": codec.image_size, "patch_size": codec.patch_size}
        ours = {name: config.codec[name] for name in theirs}
        theirs["num_codes"] = codec.vocab_size
        check_same(file, theirs, ours | {"num_codes": num_codes})
        return codec

    def make(self, config: Any, data: Source) -> Callable[[], Codec]:
        """Return what fits the codebook to training images."""
        section, fit = config.codec, config.codec_fit
        make_section(config, "codec", self.shape, config)
        size, limit = section.image_size, fit.num_pictures
        images = make_section(config, "codec_fit", RealImages, data, image_size=size, limit=limit)

        def run() -> Codec:
            batches = images.batches(section.batch_size, title="images to fit", everywhere=True)
            return fit_patch_codec(
                np.concatenate([batch for batch, _ in batches]),
                patch_size=section.patch_size,
                num_codes=section.num_codes,
                seed=fit.seed,
                batch_size=section.batch_size,
            )

        return run

    def save(self, codec: PatchCodec, path: Path) -> None:
        """Write the codebook."""
        save_patches(path, codec)


class Vqgan(CodecFamily):
    """A VQGAN (Esser et al. 2021), trained or published."""

    sections = TRAIN
    keys: ClassVar = {
        "codec": field_keys(
            VQGANOptions, "name", "folder", "weights", "used_codes", "unused", "batch_size"
        ),
        "codec_loss": argument_keys(
            make_codec_objective, given=("vqgan", "discriminator", "distance_fn")
        ).and_needed("lpips_weights", "discriminator_channels", "discriminator_layers"),
        "codec_train": TRAIN_KEYS.and_needed("crop", "flip"),
    }

    def shape(self, config: Any) -> tuple[int, tuple[int, int]]:
        """Return the number of codes in use, and the size of the feature maps."""
        section = config.codec
        options = VQGANOptions(**take_options(section, VQGANOptions))
        if section.used_codes is None:
            return options.num_codes, options.grid
        return len(read_used_codes(section.used_codes)), options.grid

    def load(self, config: Any, file: Path) -> ImageCodec:
        """Load the published weights if the configuration names some, else our own."""
        section = config.codec
        vqgan, params, used_codes = _read_vqgan(section, file)
        options = {"unused": section.unused, "batch_size": section.batch_size}
        return ImageCodec(vqgan, params, used_codes=used_codes, **options)

    def make(self, config: Any, data: Any) -> CodecTraining:
        """Return the training with a critic."""
        train, loss = config.codec_train, config.codec_loss.to_dict()
        make_section(config, "codec_train", check_crops, views=1, crop=train.crop, flip=train.flip)
        options = take_options(config.codec, VQGANOptions)
        vqgan = make_section(config, "codec", make_vqgan, **options)
        size = vqgan.options.image_size
        critic = make_section(config, "codec_loss", _critic, loss, size)
        distance = make_section(config, "codec_loss", _distance, loss.pop("lpips_weights"))
        objective = make_section(
            config, "codec_loss", make_codec_objective, vqgan, critic, distance, **loss
        )
        init_params, init_stats = init_codec_training(vqgan, critic)

        def codec(state: TrainState) -> ImageCodec:
            params = fetch_whole(with_codes(state.params["generator"], state.stats))
            return ImageCodec(vqgan, params, batch_size=config.codec.batch_size)

        return CodecTraining(
            objective=objective,
            init_params=init_params,
            init_stats=init_stats,
            batch={"images": jax.ShapeDtypeStruct((train.batch_size, size, size, 3), "uint8")},
            make_batches=partial(
                make_image_iterator,
                data,
                image_size=size,
                crop=train.crop,
                flip=train.flip,
            ),
            codec=codec,
        )

    def save(self, codec: ImageCodec, path: Path) -> None:
        """Write the weights."""
        save_vqgan(path, codec.params, codec.vqgan.options)

    def export(self, config: Any, file: Path, path: Path) -> None:
        """Write the weights with the codes in use, if either is published; else copy the file."""
        section = config.codec
        if section.weights or section.used_codes:
            vqgan, params, used_codes = _read_vqgan(section, file)
            save_vqgan(path, params, vqgan.options, used_codes)
        else:
            super().export(config, file, path)

    def training_size(self, config: Any) -> tuple[int, int, tuple[str, ...]]:
        """Count the largest convolutions."""
        codec = config.codec
        size = codec.num_res_blocks * 9 * (codec.channels * max(codec.multipliers)) ** 2
        return self.example_bytes(config), size, ("codec.channels", "codec.num_res_blocks")


def _read_vqgan(section: Any, file: Path) -> tuple[VQGAN, Params, np.ndarray | None]:
    """Read a VQGAN, published or trained, with the codes in use, None for all."""
    vqgan = make_vqgan(**take_options(section, VQGANOptions))
    own_codes = None
    if section.weights:
        template = jax.eval_shape(vqgan.init, jax.random.key(0))
        params = vqgan_from_state_dict(read_vqgan(section.weights), template)
        _place(params)
    else:
        check_made(file)
        params, theirs, own_codes = load_vqgan(file)
        check_same(file, asdict(theirs), asdict(vqgan.options))
    used_codes = read_used_codes(section.used_codes) if section.used_codes else own_codes
    return vqgan, params, used_codes


def _place(params: dict[Any, Any]) -> None:
    """Move arrays to the device one by one, so that no more than one is in memory twice."""
    for name, value in params.items():
        if isinstance(value, dict):
            _place(value)
        else:
            params[name] = jax.block_until_ready(jax.device_put(value))


def _critic(loss: dict[str, Any], image_size: int) -> Any:
    num_layers = loss.pop("discriminator_layers")
    critic = make_discriminator(channels=loss.pop("discriminator_channels"), num_layers=num_layers)
    if image_size < smallest_image(num_layers):
        raise ValueError(
            f"discriminator_layers = {num_layers} needs images of at least "
            f"{smallest_image(num_layers)} pixels, and they have {image_size}"
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


register("codec", "pixels", Pixels())
register("codec", "tokens", Pixels())  # decoded to an image of their numbers
register("codec", "patches", Patches())
register("codec", "vqgan", Vqgan())
