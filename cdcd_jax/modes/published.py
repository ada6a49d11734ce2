"""Sample a published checkpoint, by class or by text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.build.published import PublishedModel
from cdcd_jax.conditioning.clip_bpe import ClipTokenizer
from cdcd_jax.evaluation.pictures import draw_samples, save_picture
from cdcd_jax.training.checkpoints import writing


def sample_published(
    model: PublishedModel,
    path: Path,
    *,
    seed: int,
    num_samples: int,
    label: int | None = None,
    prompts: Sequence[str] = (),
    merges_file: str | None = None,
    **options: Any,
) -> Path:
    """Draw samples and write their picture, a row for each class or text.

    Args:
        model: From ``load_published``.
        path: The PNG file.
        seed: Seed of the samples.
        num_samples: Number of samples, dealt out to the classes or texts in turn.
        label: One class; all in turn if None.
        prompts: The texts, for a model of texts.
        merges_file: CLIP's ``bpe_simple_vocab_16e6.txt.gz``, for a model of texts.
        **options: ``num_steps``, ``truncation``, ``top_k``, ``temperature``.

    Returns:
        The path.

    Raises:
        ValueError: If texts are missing where the model needs them, or given where it does not.
        CheckpointError: If the picture cannot be written.
    """
    if model.encode_text is None:
        if prompts:
            raise ValueError("prompt: the checkpoint is a model of classes; give --label instead")
        rows = np.arange(model.num_classes) if label is None else np.array([label])
        names: Sequence[str] = [str(row) for row in range(model.num_classes)]
    else:
        if not prompts:
            raise ValueError('prompt: the checkpoint is a model of texts; give --prompt="..."')
        rows, names = np.arange(len(prompts)), prompts
    chosen = np.resize(rows, num_samples).astype(np.int32)
    cond: Any = chosen
    if model.encode_text is not None:
        cond = model.encode_text(_tokenize(prompts, merges_file))[chosen]
    tokens = model.sample_fn(model.params, jax.random.key(seed), cond, **options)
    picture = draw_samples(
        np.asarray(tokens),
        chosen,
        decode_fn=model.codec.decode,
        num_columns=num_samples,
        caption=f"{options['num_steps']} steps, truncation {options['truncation']:g}",
        class_names=names,
    )
    with writing(path.parent):
        return save_picture(picture, path)


def _tokenize(prompts: Sequence[str], merges_file: str | None) -> np.ndarray:
    if merges_file is None:
        raise ValueError(
            "bpe_merges is not given; name CLIP's file bpe_simple_vocab_16e6.txt.gz "
            "(https://github.com/openai/CLIP/tree/main/clip)"
        )
    return ClipTokenizer(merges_file)(list(prompts))
