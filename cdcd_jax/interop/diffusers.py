"""Folders of diffusers' ``VQDiffusionPipeline``, read as published checkpoints.

Its arrays are those of VQ-Diffusion's ITHQ model under other names, without the averaging: the
public conversion script took the averaged weights. Here they get VQ-Diffusion's names back.
``config.json`` and ``scheduler_config.json`` say what shapes do not; what they say of another kind
of model is refused.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.interop.published import Published, describe_denoiser, describe_vqgan
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.reading.json_text import read_json
from cdcd_jax.reading.regular import LIST_BYTES

INDEX = "model_index.json"
PIPELINE = "VQDiffusionPipeline"
EMBEDDINGS = "learned_classifier_free_sampling_embeddings"

DENOISER_NAMES = (
    (r"^latent_image_embedding\.", "content_emb."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.norm1\.", ".ln1."),
    (r"\.norm2\.", ".ln1_1."),
    (r"\.norm3\.", ".ln2."),
    (r"\.to_q\.", ".query."),
    (r"\.to_k\.", ".key."),
    (r"\.to_v\.", ".value."),
    (r"\.to_out\.0\.", ".proj."),
    (r"\.ff\.net\.0\.proj\.", ".mlp.0."),
    (r"\.ff\.net\.2\.", ".mlp.2."),
    (r"^norm_out\.", "to_logits.0."),
    (r"^out\.", "to_logits.1."),
)
"""What in a name becomes what, all in turn."""

CODEC_NAMES = (
    (r"\.down_blocks\.", ".down."),
    (r"\.up_blocks\.", ".up."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"\.downsamplers\.0\.", ".downsample."),
    (r"\.upsamplers\.0\.", ".upsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.group_norm\.", ".norm."),
    # Attention's layers were renamed when diffusers joined its two kinds of attention.
    (r"\.(query|to_q)\.", ".q."),
    (r"\.(key|to_k)\.", ".k."),
    (r"\.(value|to_v)\.", ".v."),
    (r"\.(proj_attn|to_out\.0)\.", ".proj_out."),
)

RATES = {
    "alpha_cum_start": 0.99999,
    "alpha_cum_end": 9e-6,
    "gamma_cum_start": 9e-6,
    "gamma_cum_end": 0.99999,
}
"""The published schedule, which is the scheduler's default."""


def is_pipeline(path: str | Path) -> bool:
    """Return whether a path is a folder that diffusers wrote."""
    return (Path(path) / INDEX).is_file()


def pipeline_files(folder: str | Path) -> list[Path]:
    """List the files of a folder that are read.

    Raises:
        ValueError: One is missing.
    """
    folder = Path(folder)
    parts = ("transformer", "vqvae", "text_encoder", EMBEDDINGS)
    configs = [folder / INDEX, folder / "scheduler" / "scheduler_config.json"]
    configs += [folder / part / "config.json" for part in parts]
    missing = [path for path in configs if not path.is_file()]
    if missing:
        raise ValueError(
            f"{folder} is not a complete folder of diffusers: there is no {missing[0]}."
        )
    return [*configs, *(_weights(folder / part) for part in parts)]


def find_merges(path: str | Path) -> Path | None:
    """Return the file of CLIP's byte pairs in such a folder, if there is one."""
    file = Path(path) / "tokenizer" / "merges.txt"
    return file if file.is_file() else None


def read_pipeline(folder: str | Path) -> Published:
    """Find the parts of a model in diffusers' format.

    Args:
        folder: What ``VQDiffusionPipeline.save_pretrained`` wrote, such as a copy of
            ``microsoft/vq-diffusion-ithq``: weights as ``.safetensors`` or ``.bin``.

    Returns:
        The parts, as ``read_published`` gives them.

    Raises:
        ValueError: A file is missing, damaged or of another kind of model, or holds an array that
            has no place.
    """
    folder = Path(folder)
    pipeline_files(folder)
    kind = _json(folder / INDEX).get("_class_name")
    if kind != PIPELINE:
        raise ValueError(f"{folder} holds a {kind}; only a {PIPELINE} can be read.")
    denoiser = _rename(_open(folder / "transformer"), DENOISER_NAMES)
    options = _json(folder / "transformer" / "config.json")
    architecture = describe_denoiser(denoiser, folder / "transformer")
    heads, size = options["num_attention_heads"], options["attention_head_dim"]
    _check(folder / "transformer", "num_attention_heads x attention_head_dim", heads * size,
           architecture["width"])  # fmt: skip
    activation = options.get("activation_fn")
    _check(folder / "transformer", "activation_fn", activation, "geglu-approximate")
    text = _json(folder / "text_encoder" / "config.json")
    _check(folder / "text_encoder", "hidden_act", text.get("hidden_act"), "quick_gelu")
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    rates = {"num_train_timesteps": architecture["num_steps"], **RATES}
    defaults = {"num_train_timesteps": 100, **RATES}
    for name, value in rates.items():
        _check(folder / "scheduler", name, scheduler.get(name, defaults[name]), value)
    codec = _codec(folder / "vqvae")
    levels = len(describe_vqgan(codec)["multipliers"])
    norm_groups = _json(folder / "vqvae" / "config.json").get("norm_num_groups", 32)
    codec_options = {
        "norm_groups": norm_groups,
        "image_size": options["sample_size"] << (levels - 1),
    }
    return Published(
        path=folder,
        denoiser=denoiser,
        architecture=architecture | {"num_heads": heads},
        codec=codec,
        condition=_open(folder / "text_encoder"),
        empty_text=_empty_text(folder / EMBEDDINGS, architecture["cond_dim"]),
        codec_options=codec_options,
    )


def _codec(folder: Path) -> StateDict:
    """Name the codec's arrays as taming-transformers does: the decoder's levels from its end."""
    state = _rename(_open(folder), CODEC_NAMES)
    levels = len({key.split(".")[2] for key in state if key.startswith("decoder.up.")})

    def turn(match: re.Match) -> str:
        return f"decoder.up.{levels - 1 - int(match[1])}."

    return {re.sub(r"^decoder\.up\.(\d+)\.", turn, key): array for key, array in state.items()}


def _empty_text(folder: Path, dim: int | None) -> np.ndarray | None:
    if not _json(folder / "config.json").get("learnable"):
        return None
    state = _open(folder)
    if "embeddings" not in state or len(state["embeddings"].shape) != 2:
        raise ValueError(f"{folder} has no array embeddings for the null condition.")
    array = read_floats(state, "embeddings")
    _check(folder, "features of embeddings", array.shape[1], dim)
    return array


def _rename(state: StateDict, names: tuple[tuple[str, str], ...]) -> StateDict:
    renamed = {}
    for key, array in state.items():
        for pattern, ours in names:
            key = re.sub(pattern, ours, key)
        renamed[key] = array
    return renamed


def _open(folder: Path) -> StateDict:
    return open_state_dict(_weights(folder))


def _weights(folder: Path) -> Path:
    """Choose the file of weights: safetensors before pickles, full precision before half."""
    for suffix in (".safetensors", ".bin"):
        files = sorted(folder.glob(f"*model*{suffix}"), key=lambda path: (len(path.name), path))
        if files:
            return files[0]
    raise ValueError(f"{folder} holds no weights, neither *model.safetensors nor *model.bin.")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, LIST_BYTES)
    except ValueError as error:
        raise ValueError(f"{path} is not a complete JSON file: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings by name.")
    return content


def _check(folder: Path, name: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise ValueError(f"{folder} has {name} = {found}, but only {wanted} can be read.")
