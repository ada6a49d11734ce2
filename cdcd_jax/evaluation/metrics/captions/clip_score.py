"""CLIPScore and R-precision: agreement of images with captions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdcd_jax.conditioning.clip_bpe import ClipTokenizer, clean_text
from cdcd_jax.conditioning.clip_image import make_clip_image
from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.evaluation.batches import apply_in_batches
from cdcd_jax.evaluation.metrics.captions.clip_towers import (
    ClipTowers,
    check_vit_b_32,
    clip_tokenizer,
    load_clip,
)
from cdcd_jax.evaluation.metrics.metric import Metric

WEIGHT = 2.5
PREFIX = "A photo depicts "
"""What CLIPScore puts before every text."""

NUM_RIVALS = 99


def clip_metric(
    image_fn: Callable[[np.ndarray], Any],
    text_embeddings: Float[np.ndarray, "captions dim"],
    text_numbers: Int[np.ndarray, " captions"],
    *,
    num_rivals: int = NUM_RIVALS,
    seed: int = 0,
) -> Metric:
    """Compare images with the captions that they were generated from.

    CLIPScore = w max(cos(image, text), 0), w = 2.5 (Hessel et al. 2021, Eq. 1), is averaged over
    the images. R-precision (Xu et al. 2018, AttnGAN, there with another encoder) is the share of
    images to which their own text is closer than each of 99 others. Those are drawn at random
    among all different texts, for each caption always the same, so that hosts agree. Where there
    are fewer texts, all are taken, and 1 is easier to reach.

    Args:
        image_fn: Images [batch height width 3], values 0..1 -> embeddings [batch dim]; best
            jitted.
        text_embeddings: Of each caption, by the number that is an image's label. Of any length.
        text_numbers: Of each caption: captions with the same number say the same.
        num_rivals: Other texts an image is compared with, >= 1.
        seed: Of the choice of them.

    Returns:
        A metric of images whose result is ``clip_score`` (0..2.5) and, with two texts or more,
        ``r_precision`` (0..1).

    Note:
        CDCD's tables print 100 times ``clip_score``, w included (75.5 is 0.755 here, a cosine of
        0.302). Other papers and libraries print 100 times the cosine, with no w and no prefix.
    """
    texts = _unit(np.asarray(text_embeddings, np.float64))
    _, first, own_text = np.unique(text_numbers, return_index=True, return_inverse=True)

    def rivals(caption: int) -> np.ndarray:
        """Choose captions of other texts, one each."""
        others = len(first) - 1
        drawn = np.random.default_rng([seed, caption]).choice(
            others, min(num_rivals, others), replace=False
        )
        return first[drawn + (drawn >= own_text[caption])]

    def update(state: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        own = np.sum(features * texts[labels], axis=1)
        found = 0
        if len(first) > 1:
            found = sum(
                np.all(cosine > texts[rivals(caption)] @ image)
                for image, caption, cosine in zip(features, labels.tolist(), own, strict=True)
            )
        return state + np.array([len(labels), WEIGHT * np.maximum(own, 0.0).sum(), found])

    def result(state: np.ndarray) -> dict[str, float]:
        total, score, found = state.tolist()
        precision = {"r_precision": found / total} if len(first) > 1 else {}
        return {"clip_score": score / total} | precision

    return Metric(
        inputs="images",
        extract=lambda images: _unit(np.asarray(image_fn(images), np.float64)),
        init=lambda share: np.zeros(3),
        update=update,
        merge=lambda first_state, second_state: first_state + second_state,
        result=result,
    )


def make_clip_metric(
    weights: str,
    merges: str | None,
    captions: Sequence[str],
    *,
    batch_size: int = 100,
    compute_dtype: str = "float32",
    any_clip: bool = False,
    progress: bool = True,
) -> Metric:
    """Load CLIP ViT-B/32, embed all captions, and compare images with them.

    Args:
        weights: OpenAI's ``ViT-B-32.pt`` or Hugging Face's file of the same.
        merges: CLIP's ``bpe_simple_vocab_16e6.txt.gz``.
        captions: All captions of the samples; an image's label is an index of this list.
            "A photo depicts " is put before each, for R-precision as well.
        batch_size: Texts or images at once.
        compute_dtype: ``"float32"``, or ``"float16"`` or ``"bfloat16"``, which differ in the third
            digit of a score.
        any_clip: Whether it may be another than ViT-B/32, whose scores are not comparable.
        progress: Whether to show a progress bar.

    Returns:
        What :func:`clip_metric` does.

    Raises:
        ValueError: If a file is missing, damaged or of another tower, or there is no caption.
            Begins with the argument's name.
    """
    if not len(captions):
        raise ValueError(
            "there are no captions; CLIPScore needs those that the images were generated from"
        )
    towers, tokenizer = read_clip(weights, merges, any_clip=any_clip)
    assert towers.image_options is not None
    assert towers.image_params is not None
    text = make_clip_text(compute_dtype=compute_dtype, **vars(towers.text_options))
    image = make_clip_image(compute_dtype=compute_dtype, **vars(towers.image_options))
    places: dict[str, int] = {}
    cleaned = [clean_text(caption, lower_first=False) for caption in captions]
    numbers = np.array([places.setdefault(text, len(places)) for text in cleaned])
    tokens = tokenizer([PREFIX + each for each in places])
    embed = apply_in_batches(text.embed, towers.text_params, batch_size)
    embeddings = embed(tokens, "captions" if progress else None)
    image_fn = apply_in_batches(image.embed, towers.image_params, batch_size)
    return clip_metric(image_fn, embeddings[numbers], numbers)


def read_clip(
    weights: str, merges: str | None, *, any_clip: bool = False
) -> tuple[ClipTowers, ClipTokenizer]:
    """Read both towers of CLIP and its merges.

    Args:
        weights: OpenAI's ``ViT-B-32.pt`` or Hugging Face's file of the same.
        merges: CLIP's ``bpe_simple_vocab_16e6.txt.gz``; None is an error, too.
        any_clip: Whether it may be another than ViT-B/32.

    Returns:
        The towers, of which both are there, and the tokenizer.

    Raises:
        ValueError: If a file is missing, damaged or of another tower. Begins with the argument's
            name.
    """
    if merges is None:
        raise ValueError(
            "clip_merges is not given; name CLIP's bpe_simple_vocab_16e6.txt.gz "
            "(https://github.com/openai/CLIP/tree/main/clip)"
        )
    try:
        towers = load_clip(weights)
        if not any_clip:
            check_vit_b_32(towers, weights)
    except ValueError as error:
        raise ValueError(f"clip_weights: {error}") from error
    if towers.image_params is None:
        raise ValueError(f"clip_weights: {weights} has no image tower; take the whole ViT-B-32.pt")
    try:
        return towers, clip_tokenizer(merges, towers.text_options, lower_first=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"clip_merges: {error}") from error


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
