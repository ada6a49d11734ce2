"""Time a training step of each setting and the sampler, interleaved in one process.

    python -m benchmarks.train_step --layers 4 --width 128 --heads 8 --length 256 --vocab 1024 \
        --batch 4 --steps 80 --negatives 10 --mlp linear --mlp-ratio 4 --cond-length 77 \
        --cond-dim 512 --json OUT

    python -m benchmarks.train_step --preset imagenet      # or aist: the paper's sizes, for a GPU

A step is all that training does: loss and gradient, clip, AdamW, average of the weights. See
README.md beside this file for what the columns mean.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.options import SAMPLERS, SETTINGS, parse_arguments
from benchmarks.rates import add_rates
from benchmarks.timing import (
    Cost,
    cost_of,
    describe_environment,
    make_rows,
    median_ratio,
    time_interleaved,
    write_json,
)
from cdcd_jax import Contrast, init_timestep_stats, make_loss, mask_replace_schedule, sample
from cdcd_jax.diffusion.timesteps import update_timestep_stats
from cdcd_jax.models.functional import Network, make_denoiser
from cdcd_jax.planning.flops import count_cost
from cdcd_jax.training.optimizer import Optimizer, make_optimizer
from cdcd_jax.training.state import TrainState, init_state
from cdcd_jax.training.step import Objective, make_train_step
from cdcd_jax.typing import Params

MATMUL_SIZE = 1024


class Variant(NamedTuple):
    """A compiled function that calls itself on ready-made arguments, and its cost.

    ``model_flops`` are the operations of its matrix products, nothing computed twice.
    """

    call: Callable[[], Any]
    cost: Cost
    model_flops: float


def main() -> None:
    options = parse_arguments()
    wanted = options.only or ["matmul", *SETTINGS, *SAMPLERS]
    variants = {}
    for name in wanted:
        print(f"compiling {name}", flush=True)
        variants[name] = make_variant(name, options)
    times = time_interleaved(
        {name: variant.call for name, variant in variants.items()}, rounds=options.rounds
    )
    rows = make_rows(times, {name: variant.cost for name, variant in variants.items()})
    for row in rows:
        for base in ("vanilla", "matmul"):
            if base in times:
                row[f"ratio_to_{base}"] = median_ratio(times, row["name"], base)
    products = {name: variant.model_flops for name, variant in variants.items()}
    add_rates(rows, products, examples=options.batch, seconds=options.seconds)
    print_table(rows)
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)


def make_variant(name: str, options: argparse.Namespace) -> Variant:
    if name == "matmul":
        return matmul_variant(options)
    network = make_network(options, options.unroll)
    whole = options.unroll is not None and options.unroll >= options.layers
    unrolled = network if whole or not options.count else make_network(options, options.layers)
    if name in SAMPLERS:
        return sampler_variant(network, unrolled, SAMPLERS[name], options)
    return training_variant(network, unrolled, SETTINGS[name], options)


def training_variant(
    network: Network, unrolled: Network, contrast: Contrast | None, options: argparse.Namespace
) -> Variant:
    # Each variant has its own copy, because the step consumes its state.
    state, batch = training_arguments(network, contrast, options)
    compiled = training_step(network, contrast, options).lower(state, batch).compile()
    counted = None
    if unrolled is not network:
        counted = training_step(unrolled, contrast, options).lower(state, batch).compile()
    once = make_network(options, options.unroll, remat="none")
    products = count_cost(training_step(once, contrast, options), state, batch).flops

    def call() -> Any:
        nonlocal state
        state, metrics = compiled(state, batch)
        return state.step, metrics

    return Variant(call, cost_of(compiled, counted), products)


def training_step(network: Network, contrast: Contrast | None, options: argparse.Namespace) -> Any:
    """Make a jitted step, ``step(state, batch)``, of a setting."""
    schedule = mask_replace_schedule(num_steps=options.steps, vocab_size=options.vocab)
    loss_fn = make_loss(schedule, contrast=contrast, chains_per_pass=options.chains_per_pass)

    def draw(key, batch, stats):
        z0, negatives = batch["tokens"], batch.get("negatives")
        return batch | {"noise": loss_fn.draw(key, z0, negatives=negatives, stats=stats)}

    def loss(params, batch, stats):
        terms = loss_fn.at(
            batch["noise"],
            partial(network.logits, params),
            batch["tokens"],
            batch["cond"],
            negatives=batch.get("negatives"),
        )
        return terms.loss, ({"vb": jnp.mean(terms.vb)}, (terms.t, terms.vb))

    def update(key, stats, seen):
        return update_timestep_stats(stats, *seen), {}

    objective = Objective(loss, draw, update)
    return jax.jit(make_train_step(objective, benchmark_optimizer()), donate_argnums=0)


def training_arguments(
    network: Network, contrast: Contrast | None, options: argparse.Namespace
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Make a state and a batch for a step."""
    state = init_state(
        jax.random.key(0),
        lambda _: draw_weights(network),
        benchmark_optimizer(),
        init_timestep_stats(options.steps),
    )
    return state, make_batch(options, with_negatives=contrast is not None)


def benchmark_optimizer() -> Optimizer:
    return make_optimizer(lr=4.5e-4, num_steps=10_000, warmup_steps=1_000)


def sampler_variant(
    network: Network, unrolled: Network, truncation: float, options: argparse.Namespace
) -> Variant:
    schedule = mask_replace_schedule(num_steps=options.steps, vocab_size=options.vocab)
    params = draw_weights(network)
    cond = make_batch(options, with_negatives=False)["cond"]

    def draw_with(network: Network) -> jax.stages.Wrapped:
        def draw(key, params, cond):
            return sample(
                key,
                schedule,
                partial(network.logits, params),
                cond,
                shape=(options.batch, options.length),
                truncation=truncation,
            )

        return jax.jit(draw)

    arguments = (jax.random.key(1), params, cond)
    compiled = draw_with(network).lower(*arguments).compile()
    counted = None if unrolled is network else draw_with(unrolled).lower(*arguments).compile()
    cost = cost_of(compiled, counted)
    # XLA counts the body of the loop over steps once.
    cost = cost._replace(flops=cost.flops * options.steps, bytes=cost.bytes * options.steps)
    products = count_cost(draw_with(network), *arguments).flops
    return Variant(lambda: compiled(*arguments), cost, products)


def matmul_variant(options: argparse.Namespace) -> Variant:
    shape = (MATMUL_SIZE, MATMUL_SIZE)
    factor = jax.random.normal(jax.random.key(0), shape).astype(options.dtype)
    compiled = jax.jit(jnp.dot).lower(factor, factor).compile()
    return Variant(lambda: compiled(factor, factor), cost_of(compiled), 2.0 * MATMUL_SIZE**3)


def make_network(
    options: argparse.Namespace, unroll: int | None, *, remat: str | None = None
) -> Network:
    by_class = options.condition == "class"
    side = math.isqrt(options.length)
    return make_denoiser(
        vocab_size=options.vocab,
        num_steps=options.steps,
        grid=(side, side) if side * side == options.length else (1, options.length),
        num_layers=options.layers,
        width=options.width,
        num_heads=options.heads,
        mlp=options.mlp,
        mlp_ratio=options.mlp_ratio,
        condition=options.condition,
        num_classes=options.classes if by_class else None,
        cond_dim=None if by_class else options.cond_dim,
        compute_dtype=options.dtype,
        attention=options.attention,
        remat=options.remat if remat is None else remat,
        unroll=unroll,
    )


def draw_weights(network: Network) -> Params:
    # NumPy's: any will do, and compiling the initialisation would take long.
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.05 * rng.standard_normal(leaf.shape, np.float32), leaf.dtype),
        shapes,
    )


def make_batch(options: argparse.Namespace, *, with_negatives: bool) -> dict[str, jax.Array]:
    tokens_key, cond_key, negatives_key = jax.random.split(jax.random.key(2), 3)
    shape = (options.batch, options.length)
    if options.condition == "class":
        cond = jax.random.randint(cond_key, (options.batch,), 0, options.classes)
    else:
        cond = jax.random.normal(cond_key, (options.batch, options.cond_length, options.cond_dim))
    tokens = jax.random.randint(tokens_key, shape, 0, options.vocab)
    batch = {"tokens": tokens, "cond": cond}
    if with_negatives:
        shape = (options.batch, options.negatives, options.length)
        batch["negatives"] = jax.random.randint(negatives_key, shape, 0, options.vocab)
    return batch


def print_table(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'':<18}{'median ms':>10}{'min ms':>10}{'cpu ms':>10}{'/vanilla':>10}{'/matmul':>9}"
        f"{'peak MB':>9}{'GFLOP':>10}{'GB moved':>10}{'GFLOP/s':>9}{'MFU':>14}{'/s':>10}"
    )
    for row in rows:
        ratios = [row.get(f"ratio_to_{base}", math.nan) for base in ("vanilla", "matmul")]
        print(
            f"{row['name']:<18}{row['median_ms']:>10.2f}{row['min_ms']:>10.2f}"
            f"{row['cpu_ms']:>10.2f}{ratios[0]:>10.3f}{ratios[1]:>9.2f}{row['peak_mb']:>9.1f}"
            f"{row['flops'] / 1e9:>10.2f}{row['bytes'] / 1e9:>10.3f}"
            f"{row['model_flops'] / row['median_ms'] / 1e6:>9.1f}"
            + (f"{row['mfu']:>14}" if isinstance(row["mfu"], str) else f"{row['mfu']:>14.3f}")
            + f"{row.get('examples_per_s', math.nan):>10.2f}"
        )


if __name__ == "__main__":
    main()
