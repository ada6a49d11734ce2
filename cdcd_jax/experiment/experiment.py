"""A diffusion experiment, built from its configuration."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from cdcd_jax.data.pipeline import make_train_dataset, make_train_iterator
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.distributed.mesh import batch_share
from cdcd_jax.distributed.partition import check_use
from cdcd_jax.experiment.check import check_settings
from cdcd_jax.experiment.step import check_heads, make_step
from cdcd_jax.generator import Generator
from cdcd_jax.settings.sections import (
    compatibility_values,
    find_mesh,
    find_mutable_keys,
    find_rules,
    make_loop,
    make_section,
    plain,
)
from cdcd_jax.tasks.conditions import ConditionedData, load_condition
from cdcd_jax.tasks.memory import (
    check_needs,
    check_state,
    codec_needs,
    preparation_needs,
    training_needs,
)
from cdcd_jax.tasks.places import Places, find_places
from cdcd_jax.tasks.scoring import PLACES, Scoring, add_metrics
from cdcd_jax.tasks.task import Task, find_task
from cdcd_jax.tasks.token_data import TokenData
from cdcd_jax.training.generation import (
    BoundFn,
    SampleFn,
    check_num_steps,
    check_sampling,
    check_truncation,
    make_bound_fn,
    make_sample_fn,
)
from cdcd_jax.training.model import Model
from cdcd_jax.training.objective import count_batch_negatives, needs_intra
from cdcd_jax.training.run import Training
from cdcd_jax.training.sampling_options import with_grid
from cdcd_jax.typing import Params

SECTIONS = ("data", "codec", "condition", "schedule", "loss", "denoiser", "optimizer", "train")
"""What a checkpoint depends on. How a codec was trained and images were prepared is not among
them: the fingerprint of the tokens says it."""


EVAL_KEYS = (*PLACES, "num_judged", "all_captions", "metrics")
"""Keys of the section ``eval`` that are not options of ``evaluate``."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The parts of an experiment.

    Attributes:
        training: What ``run_training`` takes.
        schedule: The noise schedule.
        task: What is generated from what.
        model: The network and its condition.
        data: Tokens, and the codec between them and images.
        places: Where the codec and the tokens are.
        conditioned: What the examples are generated from.
        bound_fn: ``(params, key, z0, cond) -> [batch]``, the bound in nats; jitted. Of texts,
            ``cond`` is what ``Conditioning.embed`` makes of their tokens.
        sample_fn: ``(params, key, cond, num_steps=, truncation=, top_k=, temperature=, guidance=)
            -> tokens``; jitted anew for each setting.
        evaluation: Options of ``evaluate``, and ``seed``.
        scoring: What scores the samples.
        sampling: The options of ``sample_fn``, and ``num_samples``.
        seed: Seed of the run.
        config: The whole configuration as JSON types.
    """

    training: Training
    schedule: Schedule
    model: Model
    data: TokenData
    places: Places
    task: Task
    conditioned: ConditionedData
    bound_fn: BoundFn
    sample_fn: SampleFn
    evaluation: dict[str, Any]
    scoring: Scoring
    sampling: dict[str, Any]
    seed: int
    config: dict[str, Any]

    def generator(self, params: Params) -> Generator:
        """Return the model with weights as a value."""
        return Generator(
            name=self.config["data"]["name"],
            schedule=self.schedule,
            model=self.model,
            params=params,
            codec=self.data.codec,
            conditioning=self.conditioned.conditioning,
            sampling=self.sampling,
            sample_fn=self.sample_fn,
            bound_fn=self.bound_fn,
            config=self.task.config,
        )


def build(
    config: Any, workdir: Path, *, mesh: Mesh | None = None, dry_run: bool = False
) -> Experiment:
    """Make an experiment of a configuration.

    Args:
        config: A ``ConfigDict`` as ``cdcd_jax/configs/common.py`` makes it.
        workdir: Folder of the run, where a codec and tokens lie that have no place of their own.
        mesh: Devices to train on; all, as the section ``mesh`` arranges them, if None.
        dry_run: Whether random tokens take the place of those that an earlier stage has yet to
            make, so that everything else can be checked before it starts.

    Returns:
        The experiment. Nothing is trained or compiled yet.

    Raises:
        ValueError: If a value is wrong; the sentence names ``section.key``, the value and what
            would be right.
    """
    check_settings(config)
    needs = (training_needs, preparation_needs, *((codec_needs,) if dry_run else ()))
    check_needs(need for list_needs in needs for need in list_needs(config))
    mesh = find_mesh(config) if mesh is None else mesh
    train = config.train
    places, task = find_places(config, workdir), find_task(config)
    data = task.random_data() if dry_run else task.load_data(places)
    codec = data.codec
    conditioned = load_condition(config, data, None if dry_run else places.tokens)
    schedule, model, initial_state, train_step = make_step(
        config, conditioned, vocab_size=codec.vocab_size, grid=codec.grid
    )
    check_heads(config, mesh)
    loop = make_section(config, "train", make_loop, train, mesh)
    stream = _stream_options(config, data, mesh)
    dataset = make_section(config, "data", make_train_dataset, conditioned.train, **stream)

    # Shapes that do not fit together show when the step is traced, in a second instead of later.
    first: Any = dataset[0]
    batch = jax.tree.map(lambda rows: jax.ShapeDtypeStruct(rows.shape, rows.dtype), dict(first))
    batch = jax.eval_shape(conditioned.preprocess, batch)
    state = jax.eval_shape(initial_state)
    check_state(config, state)
    make_section(config, "loss", jax.eval_shape, train_step, state, batch)
    sampled = make_section(config, "sample", with_grid, config.sample.to_dict(), codec.grid)
    make_section(config, "sample", check_sampling, schedule, model, **sampled)
    compatibility = compatibility_values(config, SECTIONS, train="train", optimizer="optimizer")
    if data.fingerprint:
        compatibility["data.fingerprint"] = data.fingerprint
    if conditioned.conditioning.fingerprint:
        compatibility["condition.fingerprint"] = conditioned.conditioning.fingerprint
    training = Training(
        mesh=mesh,
        batch_size=train.batch_size,
        init_state=initial_state,
        train_step=train_step,
        make_batches=lambda: make_train_iterator(
            conditioned.train,
            **stream,
            num_threads=config.data.num_threads,
            prefetch=config.data.prefetch,
        ),
        loop=loop,
        keep_checkpoints=train.keep_checkpoints,
        compatibility=compatibility,
        mutable_keys=find_mutable_keys("train"),
        preprocess=conditioned.preprocess,
        rules=find_rules(config),
    )
    params = make_section(config, "mesh", training.shardings).params
    make_section(config, "mesh", check_use, params, mesh)
    return Experiment(
        training=training,
        schedule=schedule,
        model=model,
        task=task,
        data=data,
        places=places,
        conditioned=conditioned,
        bound_fn=make_bound_fn(schedule, model, mesh=mesh),
        sample_fn=make_sample_fn(schedule, model, length=math.prod(codec.grid), mesh=mesh),
        evaluation=make_section(config, "eval", _evaluation, schedule, **config.eval),
        scoring=add_metrics(task.make_scoring(data, conditioned, workdir), config, data),
        sampling=config.sample.to_dict()
        | {"num_steps": config.sample.num_steps or schedule.num_steps},
        seed=train.seed,
        config=plain(config),
    )


def _stream_options(config: Any, data: TokenData, mesh: Mesh) -> dict[str, Any]:
    loss = config.loss
    share, num_shares = make_section(config, "mesh", batch_share, mesh)
    own = data.own if needs_intra(loss.mechanism, loss.negatives) else None
    return {
        "batch_size": config.train.batch_size,
        "seed": config.train.seed,
        "num_negatives": count_batch_negatives(loss.mechanism, loss.negatives, loss.num_negatives),
        "others": data.others,
        "own": own,
        "num_own": loss.num_negatives if own else 0,
        "process_index": share,
        "num_processes": num_shares,
    }


def _evaluation(schedule: Schedule, **options: Any) -> dict[str, Any]:
    for name in ("num_samples", "num_real", "batch_size", "num_judged"):
        if options.get(name, 2) < 2:
            raise ValueError(f"{name} = {options[name]} must be at least 2")
    for name in ("num_steps", "truncations"):
        if not options[name]:
            raise ValueError(f"{name} = {options[name]} must name at least one")
    for num_steps in options["num_steps"]:
        check_num_steps(num_steps, schedule)
    for truncation in options["truncations"]:
        check_truncation("truncations", truncation)
    return {name: value for name, value in options.items() if name not in EVAL_KEYS}
