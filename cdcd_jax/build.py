"""From a configuration to objects: the only place that reads a ConfigDict.

Everything is checked here, shapes included, before any long work starts.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.data import digits
from cdcd_jax.data.batch import TokenExamples, check_tokens
from cdcd_jax.data.pipeline import make_train_dataset, make_train_iterator
from cdcd_jax.diffusion.schedule import Schedule, absorbing_schedule, mask_replace_schedule
from cdcd_jax.diffusion.timesteps import init_timestep_stats
from cdcd_jax.networks.functional import Network, make_denoiser
from cdcd_jax.training.generation import (
    check_num_steps,
    check_sampling,
    check_truncation,
    make_bound_fn,
    make_sample_fn,
)
from cdcd_jax.training.loop import BatchIterator, LoopOptions
from cdcd_jax.training.objective import count_batch_negatives, make_objective
from cdcd_jax.training.optimizer import Optimizer, make_optimizer
from cdcd_jax.training.sharding import check_batch_size, make_mesh
from cdcd_jax.training.state import TrainState, init_state
from cdcd_jax.training.step import TrainStep, make_train_step
from cdcd_jax.typing import Params, PRNGKey

T = TypeVar("T")

HOUSEKEEPING = (
    "data.num_threads",
    "data.prefetch",
    "train.num_steps",
    "train.log_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.sample_every",
)
"""Keys that may change between two parts of a run, with all of ``eval`` and ``sample``. If the
learning rate's cosine ends with the run, ``optimizer.decay_steps`` tells when."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Hold what an experiment is made of.

    Attributes:
        mesh: Where arrays live.
        schedule: The noise schedule.
        codec: Between tokens and pictures.
        train_examples: The training set.
        test_examples: The held-out set.
        num_classes: Number of classes a sample may be asked for.
        init_state: Builds the state before the first step; to be jitted.
        train_step: One update; to be compiled with ``compile_step``.
        make_batches: Opens the stream of training batches at its start.
        loop: Length and intervals of training.
        keep_checkpoints: Number of newest checkpoints to keep.
        bound_fn: ``(params, key, z0, cond) -> [batch]``, the bound in nats; jitted.
        sample_fn: ``(params, key, labels, num_steps=, truncation=, top_k=, temperature=) ->
            tokens``; jitted anew for each setting.
        evaluation: Options of ``evaluate``, and ``seed``.
        sampling: The options of ``sample_fn``, and ``num_samples``.
        seed: Seed of the run.
        fingerprint: The flat configuration, less what may change between two parts of a run.
        config: The whole configuration as JSON types.
    """

    mesh: Mesh
    schedule: Schedule
    codec: Codec
    train_examples: TokenExamples
    test_examples: TokenExamples
    num_classes: int
    init_state: Callable[[], TrainState]
    train_step: TrainStep
    make_batches: Callable[[], BatchIterator]
    loop: LoopOptions
    keep_checkpoints: int
    bound_fn: Callable[[Params, PRNGKey, Any, Any], jax.Array]
    sample_fn: Callable[..., jax.Array]
    evaluation: dict[str, Any]
    sampling: dict[str, Any]
    seed: int
    fingerprint: dict[str, Any]
    config: dict[str, Any]


def build(config: Any, *, mesh: Mesh | None = None) -> Experiment:
    """Make an experiment of a configuration.

    Args:
        config: A ``ConfigDict`` as ``configs/common.py`` makes it.
        mesh: Devices to train on; all of them if None.

    Returns:
        The experiment. Nothing is trained or compiled yet.

    Raises:
        ValueError: If a value is wrong; the sentence names ``section.key``, the value and what
            would be right.
    """
    mesh = make_mesh() if mesh is None else mesh
    train = config.train

    def section(name: str, make: Callable[..., T], /, *args: Any, **options: Any) -> T:
        """Call a constructor; what it finds wrong gets the section's name."""
        try:
            return make(*args, **options)
        except ValueError as error:
            sentence = str(error)
            key = re.match(r"\w+", sentence)
            joint = "." if key and key[0] in config[name] else ": "
            raise ValueError(f"{name}{joint}{sentence}") from error

    codec = section("codec", _codec, **config.codec)
    examples, test_examples, num_classes = section("data", _examples, config.data.name, codec)
    schedule = section("schedule", _schedule, vocab_size=codec.vocab_size, **config.schedule)
    condition = section("condition", _condition, num_classes=num_classes, **config.condition)
    network = section(
        "denoiser",
        make_denoiser,
        vocab_size=codec.vocab_size,
        num_steps=schedule.num_steps,
        grid=codec.grid,
        **condition,
        **config.denoiser,
    )
    apply = _ignoring_cond(network) if config.condition.kind == "none" else network.apply
    optimizer = section("optimizer", _optimizer, num_steps=train.num_steps, **config.optimizer)
    objective = section("loss", make_objective, schedule, apply, grid=codec.grid, **config.loss)
    step_options = {key: train[key] for key in ("num_microbatches", "ema_decay", "ema_every")}
    train_step = section("train", make_train_step, objective, optimizer, **step_options)
    loop = section("train", _loop, train, mesh)
    stream = _stream_options(config)
    dataset = section("data", make_train_dataset, examples, **stream)

    def initial_state() -> TrainState:
        stats = init_timestep_stats(schedule.num_steps) if train.importance_sampling else None
        return init_state(jax.random.key(train.seed), network.init, optimizer, stats)

    # Shapes that do not fit together show when the step is traced, in a second instead of later.
    first: Any = dataset[0]
    batch = {name: jax.ShapeDtypeStruct(rows.shape, rows.dtype) for name, rows in first.items()}
    section("loss", jax.eval_shape, train_step, jax.eval_shape(initial_state), batch)
    section("sample", check_sampling, schedule, num_classes, **config.sample)
    return Experiment(
        mesh=mesh,
        schedule=schedule,
        codec=codec,
        train_examples=examples,
        test_examples=test_examples,
        num_classes=num_classes,
        init_state=initial_state,
        train_step=train_step,
        make_batches=lambda: make_train_iterator(
            examples,
            **stream,
            num_threads=config.data.num_threads,
            prefetch=config.data.prefetch,
        ),
        loop=loop,
        keep_checkpoints=train.keep_checkpoints,
        bound_fn=make_bound_fn(schedule, apply),
        sample_fn=make_sample_fn(schedule, apply, length=math.prod(codec.grid)),
        evaluation=section("eval", _evaluation, schedule, **config.eval),
        sampling=config.sample.to_dict()
        | {"num_steps": config.sample.num_steps or schedule.num_steps},
        seed=train.seed,
        fingerprint=_fingerprint(config),
        config=json.loads(config.to_json_best_effort()),
    )


def _codec(*, name: str, vocab_size: int, grid: tuple[int, int]) -> PixelCodec:
    if name != "pixels":
        raise ValueError(f'name = "{name}" is no codec; there is "pixels"')
    return PixelCodec(vocab_size=vocab_size, grid=grid)


def _examples(name: str, codec: PixelCodec) -> tuple[TokenExamples, TokenExamples, int]:
    if name != "digits":
        raise ValueError(f'name = "{name}" is no data set; there is "digits"')
    if codec.grid != digits.GRID:
        raise ValueError(
            f"the digits have {digits.GRID} pixels, so codec.grid = {codec.grid} must be that"
        )
    train, test = digits.load_digits("train"), digits.load_digits("test")
    for examples in (train, test):
        check_tokens(examples.tokens, vocab_size=codec.vocab_size, name="tokens of the digits")
    return train, test, digits.NUM_CLASSES


def _schedule(*, name: str, vocab_size: int, num_steps: int, **shares: Any) -> Schedule:
    if name == "absorbing":
        return absorbing_schedule(num_steps=num_steps, vocab_size=vocab_size)
    if name == "mask_replace":
        return mask_replace_schedule(num_steps=num_steps, vocab_size=vocab_size, **shares)
    raise ValueError(f'name = "{name}" is no schedule; there are "mask_replace" and "absorbing"')


def _condition(*, kind: str, num_classes: int) -> dict[str, Any]:
    if kind == "class":
        return {"condition": "class", "num_classes": num_classes}
    if kind == "none":
        return {"condition": "none"}
    raise ValueError(f'kind = "{kind}" does not fit the digits; there are "class" and "none"')


def _optimizer(*, num_steps: int, decay_steps: int | None, **options: Any) -> Optimizer:
    return make_optimizer(num_steps=num_steps if decay_steps is None else decay_steps, **options)


def _loop(train: Any, mesh: Mesh) -> LoopOptions:
    check_batch_size(train.batch_size, mesh, num_microbatches=train.num_microbatches)
    if not 0 <= train.seed < 2**32:
        raise ValueError(f"seed = {train.seed} must lie in 0..2**32-1")
    if train.keep_checkpoints < 1:
        raise ValueError(f"keep_checkpoints = {train.keep_checkpoints} must be at least 1")
    return LoopOptions(
        num_steps=train.num_steps,
        log_every=train.log_every,
        checkpoint_every=train.checkpoint_every,
        sample_every=train.sample_every,
    )


def _stream_options(config: Any) -> dict[str, int]:
    loss = config.loss
    return {
        "batch_size": config.train.batch_size,
        "seed": config.train.seed,
        "num_negatives": count_batch_negatives(loss.mechanism, loss.negatives, loss.num_negatives),
        "process_index": jax.process_index(),
        "num_processes": jax.process_count(),
    }


def _ignoring_cond(network: Network) -> Callable[..., jax.Array]:
    return lambda params, zt, t, cond: network.apply(params, zt, t, None)


def _evaluation(schedule: Schedule, **options: Any) -> dict[str, Any]:
    for name in ("num_samples", "batch_size"):
        if options[name] < 2:
            raise ValueError(f"{name} = {options[name]} must be at least 2")
    for name in ("num_steps", "truncations"):
        if not options[name]:
            raise ValueError(f"{name} = {options[name]} must name at least one")
    for num_steps in options["num_steps"]:
        check_num_steps(num_steps, schedule)
    for truncation in options["truncations"]:
        check_truncation("truncations", truncation)
    return options


def _fingerprint(config: Any) -> dict[str, Any]:
    sections = json.loads(config.to_json_best_effort())
    flat = {
        f"{name}.{key}": value
        for name, values in sections.items()
        if name not in ("eval", "sample")
        for key, value in values.items()
    }
    if config.optimizer.decay == "cosine" and config.optimizer.decay_steps is None:
        flat["optimizer.decay_steps"] = config.train.num_steps
    return {key: value for key, value in flat.items() if key not in HOUSEKEEPING}
