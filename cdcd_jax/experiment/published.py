"""Conversion of a published checkpoint into a model folder, as ``Generator.export`` writes it.

The architecture follows from the file's shapes; values that do not are the same in all published
models.
"""

import json
import shutil
from pathlib import Path

from cdcd_jax.codecs.codec_file import flatten, write_arrays
from cdcd_jax.distributed.agreement import on_first_host
from cdcd_jax.experiment.model_folder import CODEC, FILE, write_description
from cdcd_jax.experiment.published_images import PUBLISHED_SIZE, open_published, read_images
from cdcd_jax.experiment.published_music import read_music
from cdcd_jax.interop.diffusers import INDEX, find_merges, is_pipeline, pipeline_files
from cdcd_jax.interop.published import is_music
from cdcd_jax.interop.published_entries import read_entries
from cdcd_jax.io import atomic_folder
from cdcd_jax.reading.json_text import parse_json
from cdcd_jax.reading.safetensors_head import read_safetensors_head
from cdcd_jax.tasks.texts import MERGES, TOWER
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.training.exported import FILES, WEIGHTS, WEIGHTS_FORMAT

PARTS = (FILE, CODEC, TOWER, MERGES)
"""What is written besides the weights, of texts the last two as well."""


def convert_published(
    path: Path,
    folder: Path,
    *,
    codec: str | Path | None = None,
    used_codes: str | Path | None = None,
    merges: str | Path | None = None,
    image_size: int = PUBLISHED_SIZE,
) -> Path:
    """Convert a published CDCD or VQ-Diffusion checkpoint, unless the folder is of the same files.

    Of hosts the first converts, and the others wait.

    Args:
        path: The checkpoint, of images or of music; or a folder of diffusers'
            ``VQDiffusionPipeline``.
        folder: Where the model goes; ``read_model`` reads it.
        codec: File of the codec, where the checkpoint of images has none.
        used_codes: Map to the codes in use, where they are not all.
        merges: CLIP's byte pairs, for a model of texts that came without.
        image_size: Height and width of the images; the published models know no other than 256.

    Returns:
        The folder.

    Raises:
        ValueError: If a file is missing, damaged or of another kind, the codec or the map to the
            codes in use is missing or does not fit, or something else is in the folder.
        OSError: If the folder cannot be written.
    """
    if path.is_dir() and not is_pipeline(path):
        raise ValueError(
            f"{path} is not a published checkpoint: a folder without diffusers' {INDEX}"
        )
    merges = merges or find_merges(path)
    files = [Path(file) for file in (codec, used_codes, merges) if file]
    source = _describe_files([*(pipeline_files(path) if is_pipeline(path) else [path]), *files])

    def convert() -> None:
        if _is_converted(folder, f"{image_size}, {source}"):
            return
        _check_folder(folder)
        entries = None if is_pipeline(path) else read_entries(path, None)
        if entries is not None and is_music(entries):
            found = read_music(path, entries)
        else:
            options = {"codec": codec, "used_codes": used_codes, "merges": merges}
            published = open_published(path, entries)
            found = read_images(published, image_size=image_size, **options)
        with writing(folder), atomic_folder(folder) as part:
            found.save(part)
            write_description(part / FILE, found.config, found.facts)
            sizes = {name: (part / name).stat().st_size for name in PARTS if (part / name).exists()}
            about = {"source": f"{image_size}, {source}", "sizes": json.dumps(sizes)}
            weights = flatten(found.params)
            write_arrays(part / WEIGHTS, weights, {"format": WEIGHTS_FORMAT, **about})
            shutil.rmtree(folder, ignore_errors=True)
        which = "" if found.averaged else ": the last weights, as it holds no averaged ones"
        print(f"Converted {path} into {folder}{which}")

    on_first_host(f"converting {path}", convert)
    return folder


def _describe_files(files: list[Path]) -> str:
    """Return a digest of the files that a conversion reads."""
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ValueError(f"there is no file {missing[0]}")
    sizes = [(file.name, file.stat()) for file in files]
    return "; ".join(f"{name}, {stat.st_size} bytes, of {stat.st_mtime_ns}" for name, stat in sizes)


def _is_converted(folder: Path, source: str) -> bool:
    """Return whether a folder is an unchanged conversion of the same files."""
    try:
        path = folder / WEIGHTS
        head, start = read_safetensors_head(path)
        about = head.pop("__metadata__")
        sizes = parse_json(about["sizes"], f"{path}, sizes")
        end = start + max(entry["data_offsets"][1] for entry in head.values())
        sizes = {**sizes, WEIGHTS: end}
        same = all((folder / name).stat().st_size == size for name, size in sizes.items())
        return same and about["source"] == source
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_folder(folder: Path) -> None:
    """Raise a ValueError for a folder with other files than of a model, which would be replaced."""
    if not folder.exists():
        return
    ours = {file for pattern in FILES for file in folder.glob(pattern)}
    if not folder.is_dir() or {*folder.iterdir()} - ours:
        raise ValueError(
            f"{folder} already exists and is not a converted model; name another folder"
        )
