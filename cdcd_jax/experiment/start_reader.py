"""Reading the source of ``--start_from``, and keeping its codec and text tower."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdcd_jax.codecs.audio_file import save_jukebox
from cdcd_jax.codecs.codec_file import flatten, save_vqgan
from cdcd_jax.codecs.jukebox import JukeboxOptions, make_jukebox
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.distributed.agreement import all_agree, broadcast_from_host0
from cdcd_jax.experiment.published_images import (
    PUBLISHED_HEADS,
    convert_text,
    open_published,
    shapes,
    take_codec,
)
from cdcd_jax.experiment.start_from import UNSEEN, Start
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.diffusers import is_pipeline
from cdcd_jax.interop.jukebox import jukebox_from_state_dict
from cdcd_jax.interop.motion import dance_from_reference
from cdcd_jax.interop.published import find_null_class
from cdcd_jax.interop.published_music import read_published_music
from cdcd_jax.interop.stored import check_finite
from cdcd_jax.interop.torch_file import describe_start
from cdcd_jax.interop.torch_legacy import is_legacy_torch
from cdcd_jax.io import atomic_write, is_first_host, wait_for_hosts
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.settings.values import set_values
from cdcd_jax.tasks.codec_family import take_options
from cdcd_jax.tasks.codecs import needs_codec
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.texts import TOWER
from cdcd_jax.training.average import Average, find_newest, read_newest_average
from cdcd_jax.typing import Params

PUBLISHED = {
    **{key: value for key, value in UNSEEN.items() if value is not None},
    "denoiser.num_heads": PUBLISHED_HEADS,
}
"""What they are for published weights."""

KEPT = "start"
"""Folder of a run with what it keeps of the checkpoint that it started from."""


def read_start(config: Any, path: Path, workdir: Path) -> Start:
    """Read the weights that a run starts from, unless it has checkpoints of its own by now.

    The codec of the weights becomes that of the run where the configuration names none and there
    is none yet, and so does a published text tower. All hosts read; the first one writes.

    Args:
        config: The whole configuration.
        path: A published checkpoint, the folder of a run, or one of its checkpoints.
        workdir: Folder of the new run.

    Returns:
        The weights.

    Raises:
        ValueError: If they cannot be read, or have no codec that the run could use.
        OSError: If a file is missing or cannot be written.
        CheckpointError: If a checkpoint of a run is damaged.
    """
    (on_its_way,) = broadcast_from_host0([find_newest(workdir / "checkpoints") is not None])
    if on_its_way:
        return Start(path=path, arrays={}, unseen={})
    failure, start = None, None
    try:
        start = _read(config, path, workdir)
    except Exception as error:
        failure = error
    if not all_agree(failure is None):
        raise failure or ValueError(f"start_from = {path} can be read on this host, not on all")
    wait_for_hosts(f"read {path}")
    assert start is not None
    return start


def with_kept_tower(config: Any, workdir: Path) -> Any:
    """Use the text tower of the published checkpoint that a run started from."""
    tower = workdir / KEPT / TOWER
    condition = config.condition
    if condition.kind != "clip" or condition.weights is not None or not tower.is_file():
        return config
    return set_values(config, {"condition": {"weights": str(tower)}})


def _read(config: Any, path: Path, workdir: Path) -> Start:
    average = read_newest_average(path)
    if average is not None:
        return _read_run(config, path, average, workdir)
    _check_published(path)
    return (
        _read_music(config, path, workdir)
        if config.condition.kind == "dance"
        else _read_images(config, path, workdir)
    )


def _read_run(config: Any, path: Path, average: Average, workdir: Path) -> Start:
    for name, array in average.arrays.items():
        check_finite(array, name, f"start_from = {path}")
    run = average.path.parent.parent
    if (run / KEPT / TOWER).is_file():
        _copy(run / KEPT / TOWER, workdir / KEPT / TOWER)
    places = find_places(config, workdir)
    if needs_codec(config, places):
        theirs = run / "codec" / places.codec_file.name
        if not theirs.is_file():
            raise ValueError(
                f"start_from = {path} has no codec {theirs}, and its weights mean nothing with "
                "another; name it with --config.codec.folder=FOLDER or --config.codec.weights=FILE"
            )
        _copy(theirs, places.codec_file)
        for vocabulary in (run / "tokens").glob("vocabulary-*.json"):
            if not (places.tokens / vocabulary.name).exists():
                _copy(vocabulary, places.tokens / vocabulary.name)
    return Start(
        path=path,
        arrays=average.arrays,
        unseen={
            key: average.config.get(key, default)
            for key, default in UNSEEN.items()
            if key in average.config or default is not None
        },
        null_class=average.config.get("condition.dropout", 0.0) > 0.0,
        vocabulary=average.config.get("condition.fingerprint"),
    )


def _read_images(config: Any, path: Path, workdir: Path) -> Start:
    _check_codec(config, path, "vqgan")
    found = open_published(path)
    options = {"num_heads": PUBLISHED_HEADS, **found.architecture}
    network = make_denoiser(**options, grid=options["embedding_grid"])
    params: Params = {
        "denoiser": denoiser_from_reference(found.denoiser, shapes(network.init), prefix="")
    }
    if found.empty_text is not None:
        params["condition"] = {"null": found.empty_text}
    condition = config.condition
    if found.condition and condition.kind == "clip" and condition.weights is None:
        _write(workdir / KEPT / TOWER, lambda file: convert_text(found, file))
    places = find_places(config, workdir)
    if needs_codec(config, places):
        section = config.codec
        codec = take_codec(found, section.weights, section.used_codes, section.image_size)
        _write(places.codec_file, lambda file: save_vqgan(file, *codec))
    unseen = PUBLISHED | {"denoiser.num_heads": options["num_heads"]}
    null_class = find_null_class(found.architecture["num_classes"] or 0) is not None
    return Start(path=path, arrays=flatten(params), unseen=unseen, null_class=null_class)


def _read_music(config: Any, path: Path, workdir: Path) -> Start:
    _check_codec(config, path, "jukebox")
    found = read_published_music(path)
    network = make_denoiser(**found.architecture, num_heads=PUBLISHED_HEADS)
    condition = dance_condition(**found.dance, seconds=1.0, null=None)
    params = {
        "denoiser": denoiser_from_reference(found.denoiser, shapes(network.init), prefix=""),
        "condition": dance_from_reference(found.condition, shapes(condition.init)),
    }
    places = find_places(config, workdir)
    if needs_codec(config, places):
        jukebox = make_jukebox(**take_options(config.codec, JukeboxOptions))
        codec = jukebox_from_state_dict(found.codec, shapes(jukebox.init))
        _write(places.codec_file, lambda file: save_jukebox(file, codec, jukebox.options))
    return Start(path=path, arrays=flatten(params), unseen=PUBLISHED)


def _check_published(path: Path) -> None:
    """Raise a ValueError for what is not a published checkpoint at first sight."""
    if not path.exists():
        raise ValueError(f"start_from = {path}: there is no such file or folder")
    fault = ""
    if not path.is_dir():
        fault = "" if is_legacy_torch(path) else describe_start(path)
    elif not is_pipeline(path):
        fault = "the folder holds no complete checkpoint"
    if fault:
        raise ValueError(
            f"start_from = {path} is not a checkpoint: {fault}; give the folder of a run, a "
            "published "
            "file of PyTorch, or a folder of diffusers"
        )


def _check_codec(config: Any, path: Path, name: str) -> None:
    if config.codec.name != name:
        raise ValueError(
            f'codec.name = "{config.codec.name}" must be "{name}" to start from the published '
            f"checkpoint {path}, whose tokens are those of such a codec"
        )


def _write(path: Path, save: Callable[[Path], Any]) -> None:
    if is_first_host():
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path)


def _copy(source: Path, path: Path) -> None:
    if is_first_host():
        with atomic_write(path) as part:
            shutil.copyfile(source, part)
