"""A published CLIP as options and parameters of both towers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cdcd_jax.conditioning.clip_bpe import BYTE_TOKENS, ClipTokenizer
from cdcd_jax.conditioning.clip_image import ClipImageOptions, make_clip_image
from cdcd_jax.conditioning.clip_text import ClipTextOptions, make_clip_text
from cdcd_jax.interop.clip import (
    HUGGING_FACE,
    OPENAI,
    clip_image_from_state_dict,
    clip_text_from_state_dict,
)
from cdcd_jax.interop.clip_shapes import describe_clip_image, describe_clip_text
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.typing import Params

EMBED_DIM = 512
"""Numbers of an embedding in CLIP ViT-B/32."""


class ClipTowers(NamedTuple):
    """Both towers of a CLIP file.

    Attributes:
        text_options: For ``make_clip_text(**vars(text_options))``.
        text_params: Float32 NumPy arrays, with the projection to the embedding if the file has it.
        image_options: For ``make_clip_image(**vars(image_options))``; None where the file has the
            text tower alone.
        image_params: Float32 NumPy arrays, or None.
    """

    text_options: ClipTextOptions
    text_params: Params
    image_options: ClipImageOptions | None
    image_params: Params | None


def load_clip(path: str | Path) -> ClipTowers:
    """Load CLIP from OpenAI's or Hugging Face's file; nothing in it is executed.

    Args:
        path: ``ViT-B-32.pt`` (a TorchScript archive), ``model.safetensors``, ``pytorch_model.bin``
            or the same arrays in another usual form. Any of the Vision Transformers is read; see
            :func:`check_vit_b_32`. The shapes say which one it is, and the number of heads
            by the width (64 features each).

    Returns:
        The towers.

    Raises:
        ValueError: If the file is missing, damaged, or not of CLIP, or has a ResNet for images.
            The sentence names the file.
    """
    try:
        state = open_state_dict(path)
        projected = any(names["projection"][0] in state for names in (OPENAI, HUGGING_FACE))
        text = describe_clip_text(state, embedding=projected)
        image = describe_clip_image(state)
        text_options = ClipTextOptions(**text)
        image_options = None if image is None else ClipImageOptions(**image)
        template = _layout(make_clip_text(**text).init)
        text_params = clip_text_from_state_dict(state, template)
        if image is None:
            return ClipTowers(text_options, text_params, None, None)
        template = _layout(make_clip_image(**image).init)
        image_params = clip_image_from_state_dict(state, template)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be used as CLIP: {error}") from error
    return ClipTowers(text_options, text_params, image_options, image_params)


def clip_tokenizer(
    merges: str | Path, options: ClipTextOptions, *, lower_first: bool = True
) -> ClipTokenizer:
    """Read the merges that a text tower was trained with: as many as its vocabulary has.

    Args:
        merges: CLIP's ``bpe_simple_vocab_16e6.txt.gz``.
        options: Of the text tower.
        lower_first: See ``clip_bpe.clean_text``.

    Returns:
        The tokenizer.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has fewer merges.
    """
    num_merges = options.vocab_size - BYTE_TOKENS - 2
    return ClipTokenizer(
        merges, length=options.length, num_merges=num_merges, lower_first=lower_first
    )


def check_vit_b_32(towers: ClipTowers, path: str | Path) -> None:
    """Raise a ValueError unless the towers that there are have the sizes of CLIP ViT-B/32.

    Published scores are those of ViT-B/32; any other gives other numbers.
    """
    wanted: list[tuple[str, Any, Any]] = [
        ("text tower", towers.text_options, ClipTextOptions(embed_dim=EMBED_DIM))
    ]
    if towers.image_options is not None:
        wanted.append(("image tower", towers.image_options, ClipImageOptions()))
    for title, found, right in wanted:
        for name, size in vars(right).items():
            if vars(found)[name] != size:
                raise ValueError(
                    f"{path} is not CLIP ViT-B/32: its {title} has {name} = {vars(found)[name]}, "
                    f"not {size}; take ViT-B-32.pt or openai/clip-vit-base-patch32."
                )


def _layout(init: Callable[..., Params]) -> Params:
    return jax.eval_shape(init, jax.random.key(0))
