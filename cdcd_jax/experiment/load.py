"""Loading a trained model as a value."""

import hashlib
import os
from pathlib import Path

from cdcd_jax.experiment.model_folder import load_untrained, load_weights, read_model
from cdcd_jax.experiment.published import convert_published
from cdcd_jax.experiment.published_images import PUBLISHED_SIZE
from cdcd_jax.generator import Generator
from cdcd_jax.interop.diffusers import is_pipeline
from cdcd_jax.io import check_local


def load(
    path: str | Path,
    *,
    codec: str | Path | None = None,
    used_codes: str | Path | None = None,
    merges: str | Path | None = None,
    image_size: int = PUBLISHED_SIZE,
    folder: str | Path | None = None,
) -> Generator:
    """Load a trained model onto all devices: of a run, an exported one, or a published checkpoint.

    Neither the training data nor the configuration are needed. Of a run that trains meanwhile, the
    newest complete checkpoint is read; nothing is written. A published checkpoint is converted
    first, once, into the folder of a model; the keywords are for that, and each is what the file
    itself does not tell.

    Args:
        path: Folder of a run, or of a model that ``Generator.export`` wrote; a published file of
            CDCD or VQ-Diffusion, or a folder of diffusers.
        codec: File of the codec, where the published one has none.
        used_codes: File with the map to the codes in use, where these are not all.
        merges: CLIP's file of byte pairs, for a model of texts that came without.
        image_size: Height and width of the images, 256 in all published models.
        folder: Where a published model is converted to. By default ``cdcd_jax/<name>`` in
            ``$XDG_CACHE_HOME``, which is ``~/.cache`` unless set: ``Generator.export`` copies from
            it, so it must outlast the call, and the next call need not convert again.

    Returns:
        The generator, with the averaged weights.

    Raises:
        ValueError: If it is no such folder or file, or a file of it is missing or damaged.
        CheckpointError: If the run has no checkpoint yet, none can be read, or a published model
            cannot be written.

    Example:
        >>> generator = cdcd.load("runs/digits_sample_inter")  # doctest: +SKIP
        >>> images = generator.sample([3, 5], num_samples=4, seed=0)  # doctest: +SKIP
    """
    check_local(path)
    path = Path(path)
    if not path.exists():
        raise ValueError(
            f"{path} is not there; give the folder of a run or of an exported model, or a "
            "published checkpoint"
        )
    if not path.is_dir() or is_pipeline(path):
        path = convert_published(
            path,
            _cache_folder(path) if folder is None else Path(folder),
            codec=codec,
            used_codes=used_codes,
            merges=merges,
            image_size=image_size,
        )
    elif any(given is not None for given in (codec, used_codes, merges, folder)):
        raise ValueError(
            f"{path} describes itself; codec, used_codes, merges and folder are for published "
            "checkpoints, leave them out"
        )
    saved = read_model(path)
    generator = load_untrained(saved)
    return generator.with_params(load_weights(saved, generator).params)


def _cache_folder(path: Path) -> Path:
    """Return a folder of the user's cache for a file, which no other file has."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cdcd_jax" / f"{path.stem}-{digest}"
