"""A tiny CLIP with random weights, in the file formats of the real one."""

import gzip
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WORD_END = "</w>"


def write_clip(
    path: Path,
    *,
    vocab_size: int,
    length: int = 16,
    width: int = 64,
    num_layers: int = 1,
    embed_dim: int = 16,
    image_size: int = 32,
    patch_size: int = 8,
    seed: int = 0,
) -> None:
    """Write both towers under the names of Hugging Face's ``CLIPModel``.

    Args:
        path: ``model.safetensors``.
        vocab_size: Tokens; 512 for bytes, one for each merge, two for start and end.
        length: Tokens of a text.
        width: Features of both towers, a multiple of 64.
        num_layers: Blocks of both towers.
        embed_dim: Numbers of an embedding.
        image_size: Height and width of the images.
        patch_size: Height and width of a patch.
        seed: Of the weights.
    """
    text, vision = "text_model", "vision_model"
    positions = (image_size // patch_size) ** 2 + 1
    shapes = {
        f"{text}.embeddings.token_embedding.weight": (vocab_size, width),
        f"{text}.embeddings.position_embedding.weight": (length, width),
        "text_projection.weight": (embed_dim, width),
        f"{vision}.embeddings.class_embedding": (width,),
        f"{vision}.embeddings.patch_embedding.weight": (width, 3, patch_size, patch_size),
        f"{vision}.embeddings.position_embedding.weight": (positions, width),
        "visual_projection.weight": (embed_dim, width),
        **_norm(f"{text}.final_layer_norm", width),
        **_norm(f"{vision}.pre_layrnorm", width),  # their spelling
        **_norm(f"{vision}.post_layernorm", width),
    }
    for tower in (text, vision):
        for layer in range(num_layers):
            shapes |= _block(f"{tower}.encoder.layers.{layer}", width)
    random = np.random.default_rng(seed)
    save_file(
        {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()},
        path,
    )


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias")}


def _block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    parts = {f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
    parts |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    shapes = _norm(f"{name}.layer_norm1", width) | _norm(f"{name}.layer_norm2", width)
    for part, shape in parts.items():
        shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
    return shapes


def merge_words(words: Iterable[str]) -> list[str]:
    """List merges that make one token of each word, in the form of CLIP's file.

    >>> merge_words(["red", "rest"])
    ['r e', 're d</w>', 're s', 'res t</w>']
    """
    merges: dict[str, None] = {}
    for word in words:
        letters = [*word[:-1], word[-1] + WORD_END]
        starts = ["".join(letters[:count]) for count in range(1, len(letters) + 1)]
        merges |= {f"{left} {letters[k]}": None for k, (left, _) in enumerate(pairwise(starts), 1)}
    return list(merges)


def write_merges(path: Path, merges: Sequence[str]) -> None:
    """Write merges in the format of ``bpe_simple_vocab_16e6.txt.gz``, below a header line."""
    text = "\n".join(["#version: tiny", *merges]) + "\n"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
