"""ITHQ's model in both of its forms comes apart alike."""

import jax
import numpy as np
import pytest

from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.interop.clip import clip_text_from_state_dict
from cdcd_jax.interop.clip_shapes import describe_clip_text
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.diffusers import find_merges, is_pipeline, read_pipeline
from cdcd_jax.interop.published import describe_vqgan, read_published
from cdcd_jax.interop.vqgan import read_vqgan, vqgan_from_state_dict
from cdcd_jax.models import make_denoiser
from tests.support.ithq_files import (
    CODEC,
    DENOISER,
    diffusers_codec,
    make_ithq,
    text_encoder,
    write_pipeline,
)
from tests.support.published_files import random_like, template, write_bare, write_checkpoint


@pytest.fixture(scope="module")
def ithq():
    """Return the entries of the checkpoint, and the codec's arrays."""
    return make_ithq()


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_the_checkpoint_of_ithq_has_a_codec_of_its_own(ithq, tmp_path):
    entries, codec = ithq
    found = read_published(write_checkpoint(tmp_path / "ithq_learnable.pth", entries))
    network = make_denoiser(**DENOISER)
    shared = {name: value for name, value in DENOISER.items() if name not in ("grid", "num_heads")}
    assert found.architecture.items() >= (shared | {"mlp": "linear", "mlp_ratio": 4}).items()
    params = denoiser_from_reference(found.denoiser, template(network), prefix="")
    same(params, random_like(template(network), 1))
    np.testing.assert_array_equal(found.empty_text, np.float32(entries["ema"]["empty_text_embed"]))
    vqgan = make_vqgan(**CODEC)
    assert VQGANOptions(**describe_vqgan(found.codec, image_size=32)) == vqgan.options
    params = vqgan_from_state_dict(found.codec, template(vqgan))
    same(params, random_like(template(vqgan), 0))
    more = codec | {"loss.logvar": np.zeros(1, np.float32)}
    alone = read_vqgan(write_checkpoint(tmp_path / "ithq_vqvae.pth", {"model": more}))
    same(vqgan_from_state_dict(alone, template(vqgan)), params)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_diffusers_folder_gives_the_same_parts(ithq, tmp_path, suffix):
    entries, codec = ithq
    text = text_encoder()
    folder = write_pipeline(tmp_path / "ithq", entries, codec, text, suffix=suffix)
    assert is_pipeline(folder)
    found = read_pipeline(folder)
    known = read_published(write_checkpoint(tmp_path / "ithq.pth", entries))
    assert found.architecture == known.architecture | {"num_heads": 16}
    assert found.denoiser.keys() == known.denoiser.keys()
    for name, array in known.denoiser.items():
        np.testing.assert_array_equal(found.denoiser[name], array)
    np.testing.assert_array_equal(found.empty_text, known.empty_text)
    shapes = template(make_vqgan(**CODEC))
    same(vqgan_from_state_dict(found.codec, shapes), vqgan_from_state_dict(known.codec, shapes))
    assert found.codec_options == {"norm_groups": 32, "image_size": 32}
    assert describe_vqgan(found.codec, image_size=32) == describe_vqgan(known.codec, image_size=32)
    options = describe_clip_text(found.condition)
    tower = clip_text_from_state_dict(found.condition, template(make_clip_text(**options)))
    token = text["text_model.embeddings.token_embedding.weight"]
    np.testing.assert_array_equal(tower["token"], token)
    assert find_merges(folder) is None
    # The names that attention has since diffusers 0.15.
    renamed = diffusers_codec(codec, ("to_q", "to_k", "to_v", "to_out.0"))
    file = folder / "vqvae" / f"diffusion_pytorch_model.{suffix}"
    file.unlink()
    write_bare(file.with_suffix(".bin"), renamed)
    same(vqgan_from_state_dict(read_pipeline(folder).codec, shapes),
         vqgan_from_state_dict(known.codec, shapes))  # fmt: skip


def test_a_folder_of_another_kind_is_named(ithq, tmp_path):
    def refused(message, **changes):
        folder = write_pipeline(tmp_path / "ithq", *ithq, text_encoder(), **changes)
        with pytest.raises(ValueError, match=message):
            read_pipeline(folder)
        return folder

    refused(
        "holds a StableDiffusionPipeline; only", ithq={"_class_name": "StableDiffusionPipeline"}
    )
    refused("num_attention_heads x attention_head_dim = 64, but only 32",
            transformer={"num_attention_heads": 32})  # fmt: skip
    refused("activation_fn = geglu, but", transformer={"activation_fn": "geglu"})
    refused("hidden_act = gelu, but only quick_gelu", text_encoder={"hidden_act": "gelu"})
    refused("alpha_cum_end = 0.1, but only 9e-06", scheduler={"alpha_cum_end": 0.1})
    folder = refused("num_train_timesteps = 100, but", scheduler={"num_train_timesteps": 100})
    (folder / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"scheduler_config.json is not a complete JSON file"):
        read_pipeline(folder)
    (folder / "vqvae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"vqvae holds no weights, neither"):
        read_pipeline(folder)
    (folder / "vqvae" / "config.json").unlink()
    with pytest.raises(
        ValueError, match=r"not a complete folder of diffusers: there is no .*config"
    ):
        read_pipeline(folder)
