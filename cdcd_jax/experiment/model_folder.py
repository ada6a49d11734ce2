"""The model folder of a run: all that loading needs besides the checkpoints.

``<workdir>/model`` holds ``model.json`` (the configuration and facts about the data), the codec,
and what reads texts. ``Generator.export`` copies it and adds the weights.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cdcd_jax.codecs.codec_file import name_leaves, unflatten
from cdcd_jax.distributed.agreement import on_first_host
from cdcd_jax.distributed.mesh import make_mesh, replicated
from cdcd_jax.distributed.partition import shard_params
from cdcd_jax.distributed.shard_batch import place_arrays
from cdcd_jax.experiment.experiment import SECTIONS, Experiment
from cdcd_jax.experiment.step import make_network
from cdcd_jax.generator import Generator
from cdcd_jax.interop.stored import check_finite
from cdcd_jax.io import atomic_folder
from cdcd_jax.reading.json_text import read_json
from cdcd_jax.reading.safetensors_head import map_arrays
from cdcd_jax.registry import CONDITIONS
from cdcd_jax.settings.sections import (
    compatibility_values,
    find_mutable_keys,
    find_rules,
    make_section,
    plain,
)
from cdcd_jax.settings.values import set_values
from cdcd_jax.tasks.codecs import find_codec, save_codec
from cdcd_jax.tasks.conditions import ConditionKind
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.texts import KINDS, MERGES, TOWER, save_texts
from cdcd_jax.training.average import find_newest, read_newest_average
from cdcd_jax.training.checkpoints.compatibility import check_compatible
from cdcd_jax.training.checkpoints.folder import CheckpointError, writing
from cdcd_jax.training.exported import WEIGHTS, WEIGHTS_FORMAT
from cdcd_jax.training.generation import check_sampling, make_bound_fn, make_sample_fn
from cdcd_jax.training.run import START
from cdcd_jax.training.sampling_options import with_grid
from cdcd_jax.typing import Params

FOLDER, FILE, CODEC = "model", "model.json", "codec.safetensors"
FORMAT = "cdcd_jax model 1"

OF_DATA = ("data.fingerprint", "condition.fingerprint")
"""Of a checkpoint's configuration, what only the training data tell."""


class Saved(NamedTuple):
    """A model folder that was read.

    Attributes:
        folder: The folder.
        config: The configuration of the run.
        facts: What else the model needs to know about the data.
        run: The folder of the run whose checkpoints hold the weights; None where a file does.
    """

    folder: Path
    config: Any
    facts: dict[str, Any]
    run: Path | None


def save_model(experiment: Experiment, config: Any, workdir: Path) -> None:
    """Write the model folder of a run, unless it is there and the same; of hosts, the first.

    Args:
        experiment: What is trained.
        config: Its configuration.
        workdir: Folder of the run.

    Raises:
        CheckpointError: If it cannot be written.
    """
    folder = workdir / FOLDER
    described = _describe(experiment)

    def write() -> None:
        if _is_same(folder / FILE, described):
            return
        places = find_places(config, workdir)
        with writing(folder), atomic_folder(folder) as part:
            save_codec(config, places, part / CODEC)
            if config.condition.kind in KINDS:
                save_texts(config, places.tokens, part)
            _write(part / FILE, described)
            shutil.rmtree(folder, ignore_errors=True)

    on_first_host(f"writing {folder}", write)


def find_model(path: Path) -> Path | None:
    """Find the model folder of a run or an exported model; None if there is none."""
    for folder in (path, path / FOLDER):
        if (folder / FILE).is_file():
            return folder
    return None


def read_model(path: Path) -> Saved:
    """Read the description of a model.

    Args:
        path: Folder of a run or of an exported model.

    Returns:
        The description.

    Raises:
        CheckpointError: If the folder is neither of a run nor of a model.
        ValueError: If there is no description, or it is damaged or of another version.
    """
    folder = find_model(path)
    if folder is None and find_newest(path / "checkpoints") is None:
        raise CheckpointError(
            f"there is no checkpoint in {path}; train first with --mode=train, or give the "
            "--workdir of a run"
        )
    if folder is None:
        raise ValueError(
            f"{path} holds no {FOLDER}/{FILE}, which a run writes when it trains; sample it once "
            "with its --config=FILE --mode=sample, which writes it"
        )
    described = read_json(folder / FILE)
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(f'{folder / FILE} is not of the format "{FORMAT}"; export the model anew')
    with _naming(folder / FILE):
        facts = described["facts"]
        for name in ("class_names", "test_texts"):
            if not isinstance(facts[name], list) or {*map(type, facts[name])} - {str}:
                raise ValueError(f"facts.{name} must be a list of texts")
        config = ConfigDict(_tuples(described["config"])).lock()
    run = None if (folder / WEIGHTS).is_file() else folder.parent
    return Saved(folder, config, facts, run)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the description of which something cannot be made, whatever that says of it."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else f"{error}"
        raise ValueError(f"{path} is damaged ({reason}); train or export the model anew") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_untrained(saved: Saved, config: Any = None, *, mesh: Mesh | None = None) -> Generator:
    """Make the generator of a model folder, still without weights.

    Args:
        saved: From ``read_model``.
        config: A configuration of the same run with other options of sampling, or None.
        mesh: Devices that share the rows; all if None.

    Returns:
        The generator; ``params`` is empty.

    Raises:
        OtherConfigError: If the run is of another configuration.
        ValueError: If a file is missing or damaged.
    """
    if config is not None:
        theirs, ours = (_compatibility(each) for each in (saved.config, config))
        check_compatible((saved.run or saved.folder) / "checkpoints", theirs, ours)
        return _assemble(config, saved, mesh)
    with _naming(saved.folder / FILE):
        return _assemble(saved.config, saved, mesh)


def _assemble(config: Any, saved: Saved, mesh: Mesh | None) -> Generator:
    config = with_places(config, saved.folder)
    mesh = make_mesh() if mesh is None else mesh
    load = find_codec(config).load
    codec = make_section(config, "codec", load, config, saved.folder / CODEC)
    kind: ConditionKind = CONDITIONS.find(config.condition.kind, "condition.kind")
    conditioning = kind.load(config, _tuples(saved.facts), saved.folder)
    schedule, model = make_network(
        config, conditioning, vocab_size=codec.vocab_size, grid=codec.grid
    )
    length = math.prod(codec.grid)
    sampling = config.sample.to_dict()
    given = make_section(config, "sample", with_grid, sampling, codec.grid)
    make_section(config, "sample", check_sampling, schedule, model, **given)
    return Generator(
        name=str(saved.run or saved.folder),
        schedule=schedule,
        model=model,
        params={},
        codec=codec,
        conditioning=conditioning,
        sampling=sampling | {"num_steps": sampling["num_steps"] or schedule.num_steps},
        sample_fn=make_sample_fn(schedule, model, length=length, mesh=mesh),
        bound_fn=make_bound_fn(schedule, model, mesh=mesh),
        config=config,
        folder=saved.folder,
    )


class Weights(NamedTuple):
    """Averaged weights and their origin.

    Attributes:
        params: On the devices.
        name: ``"step000400"``, or the name of an exported folder.
    """

    params: Any
    name: str


def load_weights(
    saved: Saved, generator: Generator, config: Any = None, *, mesh: Mesh | None = None
) -> Weights:
    """Read the averaged weights of a model, the newest of a run.

    Args:
        saved: From ``read_model``.
        generator: From ``load_untrained``.
        config: A configuration that must be the run's, or None.
        mesh: Where the weights go, as the run's rules split them; whole on all devices if None.

    Returns:
        The weights.

    Raises:
        CheckpointError: If the run has no checkpoint yet, or it cannot be read.
        ValueError: If an exported file is damaged.
    """
    template = jax.eval_shape(generator.model.init, jax.random.key(0))
    if saved.run is None:
        path, name = saved.folder / WEIGHTS, saved.folder.name
        arrays = read_weights(path)
    else:
        found = read_newest_average(saved.run, report=print)
        if found is None:
            raise CheckpointError(
                f"there is no checkpoint in {saved.run}, and no {WEIGHTS} in {saved.folder}; train "
                "first with --mode=train, or give the --workdir of a run"
            )
        ignored = {*find_mutable_keys("train"), START, *OF_DATA}
        theirs = _compatibility(saved.config)
        check_compatible(found.path.parent, found.config, theirs, mutable_keys=ignored)
        path, arrays, name = found.path, found.arrays, f"step{int(found.path.name):06d}"
    unflatten(arrays, template, path)  # that there are the right ones
    if mesh is None:
        whole = replicated(make_mesh())
        shardings = jax.tree.map(lambda _: whole, template)
    else:
        shardings = shard_params(template, mesh, () if config is None else find_rules(config))
    return Weights(place_weights(arrays, shardings, path), name)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Open an exported file of weights; arrays stay in the file until they are placed.

    Raises:
        ValueError: If it is damaged, or holds something other than weights.
    """
    arrays, texts = map_arrays(path)
    if texts.get("format") != WEIGHTS_FORMAT:
        raise ValueError(f'{path} is not of the format "{WEIGHTS_FORMAT}"; export the model anew')
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise ValueError(f"{path} holds {name} as {array.dtype}, and weights are floats")
    return arrays


def place_weights(arrays: Mapping[str, np.ndarray], shardings: Params, path: Path) -> Params:
    """Read weights and put them on the devices one by one: no two copies of all are in memory.

    Args:
        arrays: By name.
        shardings: Where each goes; it has the layout of the parameters.
        path: For error messages.

    Returns:
        The parameters.

    Raises:
        ValueError: If one is not finite.
    """
    placed = []
    for name, sharding in name_leaves(shardings).items():
        array = np.array(arrays[name])  # a copy, as a device may share the memory of its array
        check_finite(array, name, path)
        placed.append(jax.block_until_ready(place_arrays(array, sharding)))
    return jax.tree.unflatten(jax.tree.structure(shardings), placed)


def write_description(path: Path, config: Any, facts: Mapping[str, Any]) -> None:
    """Write ``model.json``.

    Args:
        path: The file.
        config: The whole configuration.
        facts: From ``Conditioning.facts``.

    Raises:
        OSError: If it cannot be written.
    """
    _write(path, {"format": FORMAT, "config": plain(config), "facts": facts})


def _write(path: Path, described: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _describe(experiment: Experiment) -> dict[str, Any]:
    described = {
        "format": FORMAT,
        "config": experiment.config,
        "facts": experiment.conditioned.conditioning.facts(),
    }
    return json.loads(json.dumps(described))


def _compatibility(config: Any) -> dict[str, Any]:
    return compatibility_values(config, SECTIONS, train="train", optimizer="optimizer")


def _is_same(path: Path, described: dict[str, Any]) -> bool:
    try:
        return read_json(path) == described
    except (OSError, ValueError):
        return False


def with_places(config: Any, folder: Path) -> Any:
    """Read codec and text encoder from a model folder instead of published files."""
    values: dict[str, dict[str, Any]] = {}
    own = {key: None for key in ("weights", "used_codes") if key in config.codec}
    if own:
        values["codec"] = own
    if config.condition.kind == "clip":
        files = {"weights": TOWER, "merges": MERGES}
        values["condition"] = {key: str(folder / name) for key, name in files.items()}
        values["condition"]["kind"] = "clip"
    return set_values(config, values) if values else config


def _tuples(value: Any) -> Any:
    """Turn the lists of JSON into the tuples that a configuration has."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
