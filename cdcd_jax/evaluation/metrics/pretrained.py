"""The metrics of images, including those that need published weights."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.evaluation.batches import apply_in_batches
from cdcd_jax.evaluation.metrics.captions.clip_score import make_clip_metric, read_clip
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.evaluation.metrics.images.classifier import classifier_metric, image_classifier
from cdcd_jax.evaluation.metrics.images.inception import (
    InceptionFn,
    inception_metric,
    inception_reference,
)
from cdcd_jax.evaluation.metrics.images.real_images import RealImages
from cdcd_jax.evaluation.metrics.images.recognition import recognition_metric
from cdcd_jax.evaluation.metrics.images.reference import load_reference
from cdcd_jax.evaluation.metrics.metric import EvaluationError, Metric
from cdcd_jax.interop import inception as inception_names
from cdcd_jax.interop import torchvision as resnet_names
from cdcd_jax.interop.state_dict import open_state_dict
from cdcd_jax.models.features.inception import make_inception
from cdcd_jax.models.features.layers import FrozenNetwork
from cdcd_jax.models.features.resnet import make_resnet

IMAGENET_CLASSES = 1000


def make_image_metrics(
    train_images: RealImages,
    *,
    vocab_size: int,
    num_classes: int,
    inception_weights: str | None = None,
    resnet_weights: str | None = None,
    reference: str | Path = "inception_reference.npz",
    batch_size: int = 100,
    progress: bool = True,
) -> list[Metric]:
    """Make all metrics of generated images that there are weights for.

    Args:
        train_images: Real training images, which were not encoded: the classifier is fitted
            to them, and the Frechet Inception distance is measured to them.
        vocab_size: K.
        num_classes: Number of classes of the data.
        inception_weights: File of the distance's InceptionV3; None leaves the distance out.
        resnet_weights: File of torchvision's ResNet-101; None leaves its accuracy out. The data's
            classes must be ImageNet's, in the order of the sorted WordNet ids.
        reference: File that keeps the real images' Inception statistics; made if not there.
            Others' files of ``mu`` and ``sigma``, or of images as ``arr_0``, are taken too.
        batch_size: Images at once.
        progress: Whether to show progress bars.

    Returns:
        The metrics: classifier, codebook and, where weights are given, Inception and ResNet.

    Raises:
        ValueError: If a file is missing, damaged or of another network, the statistics are of
            other images, or the classes are not ImageNet's. Begins with the argument's name.
    """
    real = train_images.batches(
        batch_size, title="images for the classifier", progress=progress, everywhere=True
    )
    metrics = [classifier_metric(image_classifier(real)), codebook_metric(vocab_size)]
    if inception_weights is not None:
        metrics.append(
            _inception_metric(train_images, inception_weights, reference, batch_size, progress)
        )
    if resnet_weights is not None:
        _check_imagenet(num_classes)
        logits_fn = load_resnet(resnet_weights, batch_size=batch_size)
        metrics.append(recognition_metric(logits_fn, range(num_classes)))
    return metrics


def make_caption_metrics(
    real_images: RealImages,
    *,
    captions: Sequence[str],
    vocab_size: int,
    inception_weights: str | None = None,
    clip_weights: str | None = None,
    clip_merges: str | None = None,
    reference: str | Path = "inception_reference.npz",
    batch_size: int = 100,
    any_clip: bool = False,
    progress: bool = True,
) -> list[Metric]:
    """Make all metrics of images that were requested by captions, where there are weights.

    Args:
        real_images: Those that the Frechet Inception distance is measured to.
        captions: What is requested, by the number that metrics are given.
        vocab_size: K.
        inception_weights: File of the distance's InceptionV3; None leaves the distance out.
        clip_weights: File of CLIP ViT-B/32; None leaves CLIPScore and R-precision out.
        clip_merges: CLIP's ``bpe_simple_vocab_16e6.txt.gz``, which those need, too.
        reference: File that keeps the real images' Inception statistics; made if not there.
            Others' files of ``mu`` and ``sigma``, or of images as ``arr_0``, are taken too.
        batch_size: Images at once.
        any_clip: Whether CLIP may be another than ViT-B/32, whose scores are not comparable.
        progress: Whether to show progress bars.

    Returns:
        The metrics.

    Raises:
        ValueError: If a file is missing, damaged or of another network, or the statistics are of
            other images. Begins with the argument's name.
    """
    metrics = [codebook_metric(vocab_size)]
    if inception_weights is not None:
        metrics.append(
            _inception_metric(real_images, inception_weights, reference, batch_size, progress)
        )
    if clip_weights is not None:
        options: dict[str, Any] = {"batch_size": batch_size, "any_clip": any_clip}
        metrics.append(make_clip_metric(clip_weights, clip_merges, captions, **options))
    return metrics


def missing_weights(files: Mapping[str, str | None], *, num_classes: int | None) -> list[str]:
    """List metrics that are not computed, with the file that each needs.

    Args:
        files: The files that are given, by the names of the metrics' arguments.
        num_classes: Number of classes that are requested; None for captions.

    >>> missing_weights({}, num_classes=10)
    ['No FID and no Inception score: give pt_inception-2015-12-05-6726825d.pth
      (https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights) with
      --config.eval.inception_weights=FILE.']
    """
    sentences = []
    if files.get("inception_weights") is None:
        sentences.append(
            f"No FID and no Inception score: give {inception_names.FILE} "
            f"({inception_names.SOURCE}) with --config.eval.inception_weights=FILE."
        )
    if files.get("resnet_weights") is None and num_classes == IMAGENET_CLASSES:
        sentences.append(
            f"No ResNet-101 accuracy: give {resnet_names.FILE} ({resnet_names.SOURCE}) with "
            "--config.eval.resnet_weights=FILE."
        )
    if files.get("clip_weights") is None and num_classes is None:
        sentences.append(
            "No CLIPScore and no R-precision: give CLIP ViT-B/32 with "
            "--config.eval.clip_weights=FILE and its bpe_simple_vocab_16e6.txt.gz with "
            "--config.eval.clip_merges=FILE (docs/guides/published.md)."
        )
    return sentences


def check_networks(
    files: Mapping[str, str | None], *, num_classes: int | None = None, any_clip: bool = False
) -> None:
    """Read the files of published networks, so that what is wrong with them shows before training.

    Args:
        files: The files that are given, by the names of the metrics' arguments.
        num_classes: Number of classes of the data; None for captions.
        any_clip: Whether CLIP may be another than ViT-B/32.

    Raises:
        ValueError: If one is damaged, of another network or has values that are not finite. Begins
            with the argument's name.
    """
    if (path := files.get("inception_weights")) is not None:
        _convert(path, make_inception(), inception_names.inception_from_torch, "inception")
    if (path := files.get("resnet_weights")) is not None:
        _convert(path, make_resnet(), resnet_names.resnet_from_torch, "resnet")
        if num_classes is not None:
            _check_imagenet(num_classes)
    if (path := files.get("clip_weights")) is not None:
        read_clip(path, files.get("clip_merges"), any_clip=any_clip)


def _check_imagenet(num_classes: int) -> None:
    if num_classes != IMAGENET_CLASSES:
        raise ValueError(
            f"resnet_weights know ImageNet's {IMAGENET_CLASSES} classes, but the data have "
            f"{num_classes}; leave them out"
        )


def _inception_metric(
    real_images: RealImages,
    weights: str,
    reference: str | Path,
    batch_size: int,
    progress: bool,
) -> Metric:
    inception_fn = load_inception(weights, batch_size=batch_size)

    compute = partial(inception_reference, inception_fn, batch_size=batch_size, progress=progress)
    fingerprint = f"{real_images.fingerprint}; InceptionV3 {_digest(weights)}"
    try:
        found = load_reference(reference, fingerprint, real_images, compute)
    except EvaluationError:
        raise
    except ValueError as error:
        raise ValueError(f"reference: {error}") from error
    return inception_metric(inception_fn, found)


def load_inception(path: str | Path, *, batch_size: int = 100) -> InceptionFn:
    """Load the InceptionV3 of the Frechet distance.

    Args:
        path: ``pt_inception-2015-12-05-6726825d.pth``, or its arrays in another usual form.
        batch_size: Images that are computed at once.

    Returns:
        A function of images [batch height width 3], values 0..1.

    Raises:
        ValueError: If the file is missing, damaged or of another network.
    """
    return _load(
        path, make_inception(), inception_names.inception_from_torch, batch_size, "inception"
    )


def load_resnet(path: str | Path, *, batch_size: int = 100) -> Callable[[np.ndarray], np.ndarray]:
    """Load torchvision's ResNet-101.

    Args:
        path: ``resnet101-63fe2227.pth``, or its arrays in another usual form.
        batch_size: Images that are computed at once.

    Returns:
        A function of images [batch height width 3], values 0..1, that gives logits.

    Raises:
        ValueError: If the file is missing, damaged or of another network.
    """
    return _load(path, make_resnet(), resnet_names.resnet_from_torch, batch_size, "resnet")


def _load(
    path: str | Path, network: FrozenNetwork, convert: Any, batch_size: int, name: str
) -> Any:
    params = _convert(path, network, convert, name)
    return apply_in_batches(network.apply, params, batch_size)


def _convert(path: str | Path, network: FrozenNetwork, convert: Any, name: str) -> Any:
    try:
        layout = jax.eval_shape(network.init, jax.random.key(0))
        return convert(open_state_dict(path), layout)
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}_weights = {path} cannot be used: {error}") from error


def _digest(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
