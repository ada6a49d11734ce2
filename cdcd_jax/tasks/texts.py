"""Texts as conditions, from the section ``condition``: tokens and their encoder."""

import hashlib
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding

from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.conditioning.condition import feature_condition, text_condition
from cdcd_jax.conditioning.texts import Texts
from cdcd_jax.conditioning.vocabulary import CaptionTokenizer, learn_vocabulary
from cdcd_jax.data.images.captioned import Captions
from cdcd_jax.distributed.mesh import replicated
from cdcd_jax.distributed.shard_batch import place_arrays
from cdcd_jax.evaluation.metrics.captions.clip_towers import clip_tokenizer, load_clip
from cdcd_jax.io import atomic_write, is_first_host
from cdcd_jax.reading.regular import read_text
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.text_tower import is_text_tower, load_text_tower, save_text_tower
from cdcd_jax.typing import Params

TOWER, MERGES = "text.safetensors", "merges.txt.gz"
"""Files of CLIP in the folder of a model."""

KINDS = ("text", "clip")
"""What ``condition.kind`` may be for texts: a small transformer that is trained with the denoiser,
or CLIP's frozen text tower."""


def load_texts(config: Any, captions: Captions, folder: Path | None) -> Texts:
    """Make the condition on texts of a configuration.

    Args:
        config: The whole configuration.
        captions: The training set's, to learn the vocabulary from where there is none yet.
        folder: Where the vocabulary is kept, beside the tokens; None keeps it nowhere.

    Returns:
        The condition on texts.

    Raises:
        ValueError: If a value is wrong, or a file is missing or damaged.
    """
    options = {key: value for key, value in config.condition.items() if key != "dropout"}
    make = _learned if options.pop("kind") == "text" else _clip
    return make_section(config, "condition", make, captions, folder, **options)


def save_texts(config: Any, tokens: Path, folder: Path) -> None:
    """Write what a run's texts are read with to a folder that ``load_texts`` can take.

    Args:
        config: The whole configuration.
        tokens: Folder of the tokens, where a vocabulary is kept.
        folder: Gets the vocabulary; of CLIP ``text.safetensors`` and ``merges.txt.gz``.

    Raises:
        ValueError: If a file of CLIP is damaged.
        OSError: If a file cannot be read or written.
    """
    condition = config.condition
    if condition.kind == "text":
        name = f"vocabulary-{condition.vocab_size}.json"
        shutil.copyfile(tokens / name, folder / name)
        return
    shutil.copyfile(condition.merges, folder / MERGES)
    if is_text_tower(condition.weights):
        shutil.copyfile(condition.weights, folder / TOWER)
    else:
        towers = load_clip(condition.weights)
        save_text_tower(folder / TOWER, towers.text_params, vars(towers.text_options))


def _learned(
    captions: Captions,
    folder: Path | None,
    *,
    vocab_size: int,
    length: int,
    **options: Any,
) -> Texts:
    texts = (text for texts in captions.texts for text in texts)
    if folder is None:
        vocabulary = learn_vocabulary(texts, vocab_size=vocab_size)
    else:
        vocabulary = _kept_vocabulary(folder / f"vocabulary-{vocab_size}.json", texts, vocab_size)
    tokenizer = CaptionTokenizer(vocabulary, length=length)
    condition = text_condition(
        vocab_size=vocab_size, length=length, empty=tokenizer([""])[0], **options
    )
    return Texts(
        tokenize=tokenizer,
        count=tokenizer.count,
        length=length,
        embed=lambda tokens: tokens,
        condition=condition,
        cond_dim=options["width"],
        fingerprint=hashlib.sha256(vocabulary.encode()).hexdigest(),
    )


def _kept_vocabulary(path: Path, texts: Iterable[str], vocab_size: int) -> str:
    """Read the vocabulary that all runs on these tokens share, or learn and keep it."""
    if path.exists():
        return read_text(path)
    # All hosts learn the same, so none need wait for the file.
    vocabulary = learn_vocabulary(texts, vocab_size=vocab_size)
    if is_first_host():
        with atomic_write(path) as part:
            part.write_text(vocabulary, encoding="utf-8")
    return vocabulary


def _clip(
    captions: Captions,
    folder: Path | None,
    *,
    weights: str | None,
    merges: str | None,
    null: str,
    compute_dtype: str,
) -> Texts:
    """Read texts with CLIP's text tower, whose weights never change."""
    if weights is None or merges is None:
        missing = "weights" if weights is None else "merges"
        raise ValueError(
            f"{missing} is not given; name CLIP's file with --config.condition.{missing}=FILE "
            "(docs/guides/published.md says where it comes from)"
        )
    if is_text_tower(weights):
        options, params = load_text_tower(Path(weights))
    else:
        towers = load_clip(weights)
        options, params = towers.text_options, towers.text_params
    tokenizer = clip_tokenizer(merges, options)
    clip = make_clip_text(compute_dtype=compute_dtype, **vars(options))
    own = jax.tree.map(jnp.asarray, params)
    # The weights go in as an argument: as constants they would be part of the program.
    apply = jax.jit(clip.apply)
    empty = np.asarray(apply(own, tokenizer([""])))[0]

    @cache
    def on_devices_of(mesh: Mesh) -> Params:
        return place_arrays(params, replicated(mesh))

    def embed(tokens: Any) -> Any:
        """Read a batch where it lies; a batch of the training is on all devices of all hosts."""
        split = isinstance(tokens, jax.Array) and not isinstance(tokens, Tracer)
        if split and isinstance(tokens.sharding, NamedSharding):
            return apply(on_devices_of(tokens.sharding.mesh), tokens)
        return apply(own, tokens)

    return Texts(
        tokenize=tokenizer,
        count=tokenizer.count,
        length=tokenizer.length,
        embed=embed,
        condition=feature_condition(empty, null=null),
        cond_dim=options.width,
        fingerprint=_digest(params),
    )


def _digest(params: Params) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
