"""The modes of the command line, from parsed flags to outputs."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging
from ml_collections import config_flags

from cdcd_jax.cli.codec import make_codec
from cdcd_jax.cli.dances import DanceRequest, read_dance
from cdcd_jax.cli.diffusion import evaluate_newest, make_music, sample, train_and_evaluate
from cdcd_jax.cli.drawing import check_negative, name_after_file, read_request
from cdcd_jax.cli.editing import EditRequest, count_edits, read_edit, read_original, write_edits
from cdcd_jax.cli.evaluate import find_folder, score
from cdcd_jax.cli.flag_checks import check_flags
from cdcd_jax.cli.flags import FLAGS, dance_request, override
from cdcd_jax.cli.music_files import name_dance
from cdcd_jax.cli.plan import plan_run, simulate_devices
from cdcd_jax.cli.prepare import prepare_tokens
from cdcd_jax.cli.prompts import read_prompts
from cdcd_jax.distributed.agreement import all_agree
from cdcd_jax.distributed.devices import keep_programs, start_devices
from cdcd_jax.distributed.hosts import join_hosts
from cdcd_jax.experiment.experiment import build
from cdcd_jax.experiment.model_folder import (
    FILE,
    Saved,
    find_model,
    load_untrained,
    load_weights,
    read_model,
    save_model,
)
from cdcd_jax.experiment.plan import build_plan, count_devices
from cdcd_jax.experiment.pretrained import configure, fit_params, list_changes
from cdcd_jax.experiment.published import convert_published
from cdcd_jax.experiment.start_from import Start, start_experiment
from cdcd_jax.experiment.start_reader import read_start, with_kept_tower
from cdcd_jax.generator import Generator
from cdcd_jax.io import silence_other_hosts
from cdcd_jax.planning.hardware import find_hardware
from cdcd_jax.planning.topology import describe_topology, missing_compiler, parse_layout
from cdcd_jax.settings.config_file import default_workdir
from cdcd_jax.settings.sections import find_mesh
from cdcd_jax.settings.values import set_values
from cdcd_jax.tasks.codec_run import build_codec_run
from cdcd_jax.tasks.codecs import needs_codec
from cdcd_jax.tasks.miniature import NOTICE, is_synthetic, provide_synthetic
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.task import Task, find_task
from cdcd_jax.training.average import find_newest
from cdcd_jax.training.checkpoints.lock import owning
from cdcd_jax.training.profiling import parse_profile
from cdcd_jax.training.run import load_training
from cdcd_jax.training.stopping import Stopper

WRITING = ("train", "codec", "prepare")
"""Modes that own the folder of the run while they last."""


def run(stopper: Stopper) -> None:
    """Run one mode; what fails is raised.

    Args:
        stopper: Handles signals.
    """
    if FLAGS.workdir is None:
        FLAGS.workdir = default_workdir(_config_file())
    check_flags()
    # Orbax logs every file and every failure twice; failures are raised as well.
    logging.set_verbosity(logging.FATAL)
    stopper.others = join_hosts(
        FLAGS.coordinator,
        FLAGS.num_hosts,
        FLAGS.host_index,
        FLAGS.host_timeout,
        stuck_timeout=FLAGS.host_stuck_timeout,
    )
    silence_other_hosts()
    if FLAGS.mode != "plan":
        start_devices()
    workdir = Path(FLAGS.workdir)
    with owning(workdir) if FLAGS.mode in WRITING else nullcontext():
        if FLAGS.mode in WRITING:
            keep_programs(workdir / "compiled")
        _run_mode(workdir, stopper)


def _run_mode(workdir: Path, stopper: Stopper) -> None:
    config = FLAGS.config
    if config is None and FLAGS.mode == "evaluate":
        config = read_model(workdir).config
    if (
        config is not None
        and is_synthetic(config)
        and FLAGS.mode != "plan"
        and not FLAGS.reference_checkpoint
    ):
        print(NOTICE)
        provide_synthetic(config, workdir)
    if FLAGS.mode == "plan":
        _plan(workdir)
    elif FLAGS.mode == "codec":
        make_codec(build_codec_run(FLAGS.config, workdir), stopper)
    elif FLAGS.mode == "prepare":
        _make_tokens(FLAGS.config, workdir)
    elif FLAGS.reference_checkpoint and FLAGS.mode == "evaluate":
        _evaluate_published(workdir, Path(FLAGS.reference_checkpoint), stopper)
    elif FLAGS.mode in ("sample", "edit"):
        _sample(workdir)
    elif FLAGS.mode == "evaluate":
        _evaluate(config, workdir)
    else:
        _train(config, workdir, stopper)


def _train(config: Any, workdir: Path, stopper: Stopper) -> None:
    profile, start = None, None
    if FLAGS.profile:
        steps = {"num_steps": config.train.num_steps, "folder": workdir / "profile"}
        profile = parse_profile(FLAGS.profile, **steps)
    if FLAGS.start_from:
        start = read_start(config, Path(FLAGS.start_from), workdir)
    config = with_kept_tower(config, workdir)
    _make_missing(config, workdir, stopper, start)
    experiment = build(config, workdir)
    if start is not None:
        experiment = start_experiment(experiment, start, report=print)
    experiment.scoring.check()
    train_and_evaluate(
        experiment,
        workdir,
        stopper,
        _config_file(),
        on_start=lambda: save_model(experiment, config, workdir),
        profile=profile,
    )


def _evaluate(config: Any, workdir: Path) -> None:
    """Score the newest weights of a run on its data."""
    try:
        experiment = build(with_kept_tower(config, workdir), workdir)
        experiment.scoring.check()
    except (ValueError, OSError) as error:
        if FLAGS.config is not None:
            raise
        raise ValueError(
            f"{error}; an evaluation needs the data of the run where they were, or others with "
            "--config=FILE; cdcd.evaluate scores a model on arrays of your own"
        ) from error
    export = _export(experiment.generator({}))
    evaluate_newest(experiment, workdir, _config_file(), export=export)


def _sample(workdir: Path) -> None:
    """Sample a run, an exported model or a published one, as it describes itself, or edit."""
    edit = None
    if FLAGS.mode == "edit":
        given = {name: getattr(FLAGS, name) for name in ("image", "mask", "box", "music")}
        edit = read_edit(**given, spans=FLAGS.span, strength=FLAGS.strength)
    config, mesh, checkpoint = FLAGS.config, None, FLAGS.reference_checkpoint
    if checkpoint:
        saved, config = _convert(workdir, Path(checkpoint)), None
    else:
        if config is not None:
            mesh = find_mesh(config)
            if find_model(workdir) is None:
                _describe_run(with_kept_tower(config, workdir), workdir, edit)
        saved = read_model(workdir)
    generator = load_untrained(saved, config, mesh=mesh)
    task = find_task(saved.config if config is None else config)
    request = _read_request(generator, task, edit)
    weights = load_weights(saved, generator, config, mesh=mesh)
    generator = generator.with_params(weights.params)
    name = name_after_file(Path(checkpoint)) if checkpoint else weights.name
    options = {"name": name, "seed": FLAGS.seed, **request.sampling}
    if edit is not None:
        if request.dance is not None:
            edit = edit._replace(name="-".join([edit.name, *name_dance(request.dance)]))
        drawn = {"prompts": request.prompts, "label": FLAGS.label}
        edited = request.original, request.wanted
        write_edits(generator, task, workdir, edit, *edited, **drawn, **options)
        return
    if request.dance is not None:
        make_music(generator, workdir, request.dance, **options)
        return
    sample(
        generator,
        task,
        workdir,
        prompts=request.prompts,
        label=FLAGS.label,
        trajectory=FLAGS.trajectory,
        gif=FLAGS.gif,
        export=request.export,
        **options,
    )


def _describe_run(config: Any, workdir: Path, edit: EditRequest | None) -> None:
    """Write the description of a run that an earlier version trained."""
    experiment = build(config, workdir)
    _read_request(experiment.generator({}), experiment.task, edit)
    if find_newest(workdir / "checkpoints") is not None:
        load_training(experiment.training, workdir)  # that it is this configuration's
        save_model(experiment, config, workdir)


class _Request(NamedTuple):
    sampling: dict[str, Any]
    prompts: Sequence[str]
    dance: DanceRequest | None
    export: Path | None
    wanted: Any
    original: Any


def _read_request(generator: Generator, task: Task, edit: EditRequest | None) -> _Request:
    """Check the request of the flags against a model."""
    sampling = override(generator.sampling)
    prompts = read_prompts(FLAGS.prompt, FLAGS.prompt_file)
    if FLAGS.negative_prompt:
        check_negative(generator, FLAGS.negative_prompt, sampling.get("guidance", 1.0))
        sampling["negative"] = FLAGS.negative_prompt
    dance, wanted, original = None, [*prompts] or FLAGS.label, None
    if FLAGS.motion:
        dance = dance_request()
        wanted = read_dance(generator.conditioning, dance)
    if edit is not None:
        given = len(prompts) or int(FLAGS.label is not None or dance is not None)
        rows = count_edits(generator, task, edit, given)
        sampling["num_samples"] = FLAGS.num_samples or rows
    read_request(generator, prompts=prompts, label=FLAGS.label, **sampling)
    if edit is not None:
        original = read_original(generator, edit, wanted)
    if FLAGS.trajectory or FLAGS.gif:
        generator.conditioning.require_images("trajectory" if FLAGS.trajectory else "gif")
    return _Request(sampling, prompts, dance, _export(generator), wanted, original)


def _export(generator: Generator) -> Path | None:
    """Return the path that samples are exported to, if they are."""
    if not FLAGS.export:
        return None
    generator.conditioning.require_images(f"export = {FLAGS.export}")
    return Path(FLAGS.export)


def _make_missing(config: Any, workdir: Path, stopper: Stopper, start: Start | None = None) -> None:
    """Train the codec and prepare the tokens that are not there yet."""
    places, task = find_places(config, workdir), find_task(config)
    # A shared folder may look different to each host for a while; all must go the same way.
    missing_codec = not all_agree(not needs_codec(config, places))
    missing_tokens = not all_agree(task.has_tokens(places))
    if not missing_codec and not missing_tokens:
        return
    with owning(workdir):
        dry_built = build(config, workdir, dry_run=True)  # nothing may wait for hours
        dry_built.scoring.check()
        if start is not None:
            start_experiment(dry_built, start, report=lambda line: None)
        if missing_codec:
            print(f"There is no codec {places.codec_file} yet: training it first")
            make_codec(build_codec_run(config, workdir), stopper)
        if missing_tokens:
            print(f"There are no tokens in {places.tokens} yet: preparing them first")
            _make_tokens(config, workdir)


def _convert(workdir: Path, path: Path) -> Saved:
    """Convert a published checkpoint; the flags say how it is computed and sampled."""
    config, folder = FLAGS.config, workdir / "published" / path.stem
    if config is None:
        return read_model(convert_published(path, folder, merges=FLAGS.bpe_merges))
    saved = read_model(
        convert_published(
            path,
            folder,
            codec=config.codec.get("weights"),
            used_codes=config.codec.get("used_codes"),
            merges=FLAGS.bpe_merges or config.condition.get("merges"),
        )
    )
    taken = {"codec": ("batch_size",), "denoiser": ("compute_dtype",), "eval": ("batch_size",)}
    values = {
        name: {key: config[name][key] for key in keys if key in config[name]}
        for name, keys in taken.items()
    }
    values["sample"] = config.sample.to_dict()
    return saved._replace(config=set_values(saved.config, values))


def _evaluate_published(workdir: Path, path: Path, stopper: Stopper) -> None:
    saved = _convert(workdir, path)
    config = configure(FLAGS.config, saved, path)
    if changes := list_changes(FLAGS.config, config):
        print(f"Of the checkpoint: {', '.join(changes)}")
    _make_missing(config, workdir, stopper)
    experiment = build(config, workdir)
    experiment.scoring.check()
    params = fit_params(saved, path, experiment)
    export = _export(experiment.generator(params))
    about = {"config_file": _config_file(), "checkpoint": str(path)}
    folder = find_folder(experiment, workdir, name_after_file(path))
    score(experiment, params, folder, about, export=export)


def _make_tokens(config: Any, workdir: Path) -> None:
    prepare_tokens(find_task(config).make_preparation(find_places(config, workdir)))


def _plan(workdir: Path) -> None:
    name, layout, topology = FLAGS.hardware or "h200", FLAGS.topology, None
    hardware, count = find_hardware(name), FLAGS.devices
    missing = None
    if layout is not None:
        count = math.prod(parse_layout(name, layout))
        missing = missing_compiler(name)
    simulate_devices(count_devices(FLAGS.config) if count is None else count)
    if missing:
        print(f"{missing}. That for CPUs stands in for it.")
    elif layout is not None:
        topology = describe_topology(name, layout, hardware.memory, hardware.bandwidth)
    run = build_plan(FLAGS.config, FLAGS.plan)
    # Of other numbers of devices there is a table where they are imagined: that takes less.
    table = layout is None
    plan_run(run, hardware, workdir, devices=count, topology=topology, table=table)


def _config_file() -> str:
    if FLAGS.config is None:
        return f"{find_model(Path(FLAGS.workdir))}/{FILE}"
    return config_flags.get_config_filename(FLAGS["config"])
