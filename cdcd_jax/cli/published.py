"""Sample a published checkpoint, by class or by text, or evaluate one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.cli.drawing import describe, describe_steps, name_after_file
from cdcd_jax.cli.evaluate import find_folder, score
from cdcd_jax.cli.prompts import check_lengths
from cdcd_jax.conditioning.clip_bpe import ClipTokenizer
from cdcd_jax.experiment.experiment import Experiment
from cdcd_jax.experiment.published import PublishedModel
from cdcd_jax.io import is_first_host
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.training.generation import check_sampling
from cdcd_jax.typing import Params
from cdcd_jax.visualization.prompts import draw_prompts, name_after_prompt
from cdcd_jax.visualization.samples import draw_samples, save_picture


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

    All hosts draw together, and the first writes.

    Args:
        model: From ``load_published``.
        path: The PNG file.
        seed: Seed of the samples.
        num_samples: Number of samples, dealt out to the classes or texts in turn.
        label: One class; all in turn if None.
        prompts: The texts, for a model of texts.
        merges_file: CLIP's ``bpe_simple_vocab_16e6.txt.gz``, for a model of texts that came without
            byte pairs.
        **options: ``num_steps``, ``truncation``, ``top_k``, ``temperature``.

    Returns:
        The path.

    Raises:
        FileNotFoundError: If there is no such file of merges.
        ValueError: If the model needs what is not given, has no use for what is, or a value is out
            of range.
        CheckpointError: If the picture cannot be written.
    """
    _check_request(model, num_samples, label, prompts)
    check_sampling(
        model.schedule,
        model.model,
        model.num_classes,
        num_samples=num_samples,
        label=label,
        **options,
    )
    if model.encode_text is None:
        rows = np.arange(model.num_classes) if label is None else np.array([label])
        names: Sequence[str] = [str(row) for row in range(model.num_classes)]
    else:
        rows, names = np.arange(len(prompts)), prompts
    chosen = np.resize(rows, num_samples).astype(np.int32)
    cond: Any = chosen
    if model.encode_text is not None:
        cond = model.encode_text(_tokenize(prompts, merges_file or model.merges_file))[chosen]
    tokens = np.asarray(model.sample_fn(model.params, jax.random.key(seed), cond, **options))
    if not is_first_host():
        return path
    caption = describe_steps(**options)
    if model.encode_text is None:
        picture = draw_samples(
            tokens,
            chosen,
            decode_fn=model.codec.decode,
            num_columns=num_samples,
            caption=caption,
            class_names=names,
        )
    else:
        images = np.asarray(model.codec.decode(tokens))
        picture = draw_prompts(images, chosen, names, caption=caption)
    with writing(path.parent):
        return save_picture(picture, path)


def evaluate_published(
    experiment: Experiment,
    params: Params,
    path: Path,
    workdir: Path,
    config_file: str,
    *,
    export: Path | None = None,
) -> None:
    """Score a published checkpoint as a run's own is scored, in a folder named after it.

    Args:
        experiment: Built of ``pretrained.configure(config)``.
        params: From ``fit_params``.
        path: The checkpoint.
        workdir: Folder of the run.
        config_file: As given to ``--config``.
        export: Where the main setting's samples are written, if anywhere.
    """
    about = {"config_file": config_file, "checkpoint": str(path)}
    score(
        experiment,
        params,
        find_folder(experiment, workdir, name_after_file(path)),
        about,
        export=export,
    )


def name_picture(checkpoint: Path, prompts: Sequence[str], seed: int, **sampling: Any) -> str:
    """Name a picture after what was asked for, so that no other overwrites it.

    >>> name_picture(Path("/cub200.pth"), ["A red bird!", "a blue one"], 0, num_samples=4)
    'cub200-81e5b3-a_red_bird_a_blue_one-f33fdd373d28-seed0-num_samples4'
    """
    asked = [name_after_prompt("\n".join(prompts))] if prompts else []
    return "-".join([name_after_file(checkpoint), *asked, describe(seed, **sampling)])


def _check_request(
    model: PublishedModel, num_samples: int, label: int | None, prompts: Sequence[str]
) -> None:
    if model.encode_text is None:
        if prompts:
            raise ValueError("prompt: the checkpoint is a model of classes; give --label instead")
        return
    if label is not None:
        raise ValueError("label: the checkpoint is a model of texts; give --prompt instead")
    if not prompts:
        raise ValueError('prompt: the checkpoint is a model of texts; give --prompt="..."')
    if num_samples < len(prompts):
        raise ValueError(
            f"num_samples = {num_samples} must be at least {len(prompts)}, one for each prompt"
        )


def _tokenize(prompts: Sequence[str], merges_file: str | Path | None) -> np.ndarray:
    if merges_file is None:
        raise ValueError(
            "bpe_merges is not given; name CLIP's file bpe_simple_vocab_16e6.txt.gz "
            "(https://github.com/openai/CLIP/tree/main/clip)"
        )
    tokenizer = ClipTokenizer(merges_file)
    check_lengths(prompts, tokenizer.count(prompts), tokenizer.length)
    return tokenizer(prompts)
