"""VQ-Diffusion's ITHQ model at a small size: as its own checkpoint, and as diffusers' folder.

Names are those of microsoft/VQ-Diffusion (``configs/ithq.yaml``, ``patch_vqgan.py``) and of
diffusers' script ``convert_vq_diffusion_to_diffusers.py``.
"""

import json

import numpy as np
from safetensors.numpy import save_file

from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.interop.denoiser import denoiser_to_reference
from cdcd_jax.interop.vqgan import vqgan_to_state_dict
from cdcd_jax.models import make_denoiser
from tests.support.published_files import KEYS, SMALL_TEXT, random_like, template, write_bare

DENOISER = {"vocab_size": 9, "num_steps": 5, "grid": (4, 4), "num_layers": 2, "width": 32,
            "num_heads": 16, "condition": "cross", "cond_dim": 8}  # fmt: skip
CODEC = {"image_size": 32, "channels": 2, "multipliers": (1, 2, 4, 8), "num_codes": 9,
         "attention_resolutions": (4,), "latent_dim": 6, "code_dim": 4}  # fmt: skip
"""The published sizes: 4,096 codes, 32x32 tokens, 36 blocks of 1,408; codec of 64 channels."""


def make_ithq(text_sizes=SMALL_TEXT):
    """Return the entries ``model`` and ``ema`` of the checkpoint, and its codec's arrays."""
    random = np.random.default_rng(0)
    codec = vqgan_to_state_dict(random_like(template(make_vqgan(**CODEC)), 0))
    codebook = codec.pop("quantize.embedding.weight")
    codec |= {
        "quantize.embedding": codebook,
        "quantize.embedding_avg": 2 * codebook,
        "quantize.cluster_size": np.full(len(codebook), 2, np.float32),
    }
    averaged, last = (
        denoiser_to_reference(random_like(template(make_denoiser(**DENOISER)), seed), prefix=prefix)
        for seed, prefix in ((1, "transformer."), (2, "transformer.transformer."))
    )
    rest = {
        key.removeprefix("transformer."): random.normal(
            size=[text_sizes.get(size, size) for size in shape]
        ).astype(dtype)
        for key, (shape, dtype) in KEYS["cub200.yaml model"].items()
        if key.startswith("transformer.") and not key.startswith("transformer.transformer.")
    }
    rest["empty_text_embed"] = random.normal(size=(text_sizes[77], 8))
    halves = {"enc": ("encoder.", "quant_conv.", "quantize."),
              "dec": ("decoder.", "post_quant_conv.", "quantize.")}  # fmt: skip
    model = {
        f"content_codec.{half}.{key}": array
        for half, starts in halves.items()
        for key, array in codec.items()
        if key.startswith(starts)
    }
    model |= last | {f"transformer.{key}": array for key, array in rest.items()}
    return {"model": model, "ema": averaged | rest}, codec


def diffusers_denoiser(state):
    """Give a denoiser's arrays the names of ``Transformer2DModel``."""
    names = {
        "content_emb.emb": "latent_image_embedding.emb",
        "content_emb.height_emb": "latent_image_embedding.height_emb",
        "content_emb.width_emb": "latent_image_embedding.width_emb",
        "to_logits.0": "norm_out",
        "to_logits.1": "out",
    }
    for index in range(DENOISER["num_layers"]):
        ours, theirs = f"blocks.{index}", f"transformer_blocks.{index}"
        for norm, name in (("ln1", "norm1"), ("ln1_1", "norm2")):
            names[f"{ours}.{norm}.emb"] = f"{theirs}.{name}.emb"
            names[f"{ours}.{norm}.linear"] = f"{theirs}.{name}.linear"
        for attention in ("attn1", "attn2"):
            for part, name in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"),
                               ("proj", "to_out.0")):  # fmt: skip
                names[f"{ours}.{attention}.{part}"] = f"{theirs}.{attention}.{name}"
        names[f"{ours}.ln2"] = f"{theirs}.norm3"
        names[f"{ours}.mlp.0"] = f"{theirs}.ff.net.0.proj"
        names[f"{ours}.mlp.2"] = f"{theirs}.ff.net.2"
    return rename(state, names)


def diffusers_codec(state, attention=("query", "key", "value", "proj_attn")):
    """Give a codec's arrays the names of ``VQModel``, whose attention has dense layers."""
    names = {name: name for name in ("quant_conv", "post_quant_conv")}
    attention = dict(zip(("q", "k", "v", "proj_out"), attention, strict=True), norm="group_norm")
    block = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2",
             "nin_shortcut": "conv_shortcut"}  # fmt: skip
    levels = len(CODEC["multipliers"])

    def put(ours, theirs, parts):
        names.update({f"{ours}.{part}": f"{theirs}.{name}" for part, name in parts.items()})

    for side in ("encoder", "decoder"):
        ends = {"conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"}
        put(side, side, ends)
        put(f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0", attention)
        for number in (1, 2):
            put(f"{side}.mid.block_{number}", f"{side}.mid_block.resnets.{number - 1}", block)
        for level in range(levels):
            if side == "encoder":
                ours, theirs, resize = f"down.{level}", f"down_blocks.{level}", "down"
            else:
                ours, theirs, resize = f"up.{levels - 1 - level}", f"up_blocks.{level}", "up"
            ours, theirs = f"{side}.{ours}", f"{side}.{theirs}"
            names[f"{ours}.{resize}sample.conv"] = f"{theirs}.{resize}samplers.0.conv"
            for number in range(3):
                put(f"{ours}.block.{number}", f"{theirs}.resnets.{number}", block)
                put(f"{ours}.attn.{number}", f"{theirs}.attentions.{number}", attention)
    codebook = state["quantize.embedding"]
    kept = {key: array for key, array in state.items() if not key.startswith("quantize.")}
    renamed = rename(kept, names) | {"quantize.embedding.weight": codebook}
    return {
        key: array[:, :, 0, 0] if ".attentions." in key and array.ndim == 4 else array
        for key, array in renamed.items()
    }


def rename(state, names):
    """Rename what stands before the last dot; every name has to be known."""
    return {
        f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": array
        for key, array in state.items()
    }


def text_encoder(width=8, length=6, vocab_size=50):
    """Make the arrays of ``CLIPTextModel``."""
    random = np.random.default_rng(3)
    start = "text_model.encoder.layers.{}."
    shapes = {
        "text_model.embeddings.token_embedding.weight": (vocab_size, width),
        "text_model.embeddings.position_embedding.weight": (length, width),
        "text_model.final_layer_norm.weight": (width,),
        "text_model.final_layer_norm.bias": (width,),
    }
    for layer in range(2):
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {
                f"{start.format(layer)}{norm}.{leaf}": (width,) for leaf in ("weight", "bias")
            }
        dense = {f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
        dense |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in dense.items():
            shapes[f"{start.format(layer)}{name}.weight"] = shape
            shapes[f"{start.format(layer)}{name}.bias"] = shape[:1]
    state = {key: random.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    return state | {"text_model.embeddings.position_ids": np.arange(length)[None]}


def write_pipeline(folder, entries, codec, text, *, suffix="safetensors", **changes):
    """Write what ``VQDiffusionPipeline.save_pretrained`` does; ``changes`` go into the settings."""
    ema = entries["ema"]
    prefix = "transformer."
    denoiser = {k.removeprefix(prefix): v for k, v in ema.items() if k.startswith(prefix)}
    empty = {"embeddings": ema["empty_text_embed"].astype(np.float32)}
    weights = {
        "transformer": diffusers_denoiser(denoiser),
        "vqvae": diffusers_codec(codec),
        "text_encoder": text,
        "learned_classifier_free_sampling_embeddings": empty,
    }
    settings = {
        "model_index.json": {"_class_name": "VQDiffusionPipeline"},
        "scheduler/scheduler_config.json": {
            "num_vec_classes": 10, "num_train_timesteps": 5, "alpha_cum_start": 0.99999,
            "alpha_cum_end": 0.000009, "gamma_cum_start": 0.000009, "gamma_cum_end": 0.99999,
        },
        "transformer/config.json": {
            "num_attention_heads": 16, "attention_head_dim": 2, "num_layers": 2, "sample_size": 4,
            "num_vector_embeds": 10, "num_embeds_ada_norm": 5, "activation_fn": "geglu-approximate",
        },
        "vqvae/config.json": {"norm_num_groups": 32, "num_vq_embeddings": 9},
        "text_encoder/config.json": {"hidden_act": "quick_gelu", "num_attention_heads": 1},
        "learned_classifier_free_sampling_embeddings/config.json": {
            "learnable": True, "hidden_size": 8, "length": 6,
        },
    }  # fmt: skip
    for name, content in settings.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content | changes.get(path.parent.name, {})))
    for part, arrays in weights.items():
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        if suffix == "bin":
            name = name.replace("model", "pytorch_model") if part == "text_encoder" else name
            write_bare(folder / part / f"{name}.bin", arrays)
        else:
            contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
            save_file(contiguous, folder / part / f"{name}.safetensors")
    return folder
