"""The training state: one pytree that is checkpointed as a whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cdcd_jax.distributed.partition import Rule, by_name, name_path, shard_params
from cdcd_jax.training.optimizer import Optimizer
from cdcd_jax.typing import Leaf, Params, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TrainState:
    """The state of a run between two steps.

    Attributes:
        step: Number of steps taken, with those that were skipped; int32.
        params: What the optimizer moves.
        ema_params: Their exponential moving average, which samples and scores are taken from.
        opt_state: Moments, update count and plateau of the optimizer.
        stats: What the objective carries from step to step: running moments for the importance
            sampling of t, or the codebook of a codec in training.
        key: The run's key. It never changes: a step folds its number in, so that a resumed run
            draws what the uninterrupted one would have drawn.
        skipped_in_row: How many of the newest steps in a row were skipped because their loss or
            gradient was not finite: they changed neither parameters nor anything that follows from
            them; int32.
        skipped: Number of skipped steps in all; int32.
        diverged_at: 0, or the number of the step that would have been skipped as one too many in a
            row. That step and all after it change nothing else, so the other fields stay as they
            were before it; int32.
    """

    step: Leaf
    params: Leaf
    ema_params: Leaf
    opt_state: Leaf
    stats: Leaf
    key: Leaf
    skipped_in_row: Leaf
    skipped: Leaf
    diverged_at: Leaf


def init_state(
    key: PRNGKey,
    init_fn: Callable[[PRNGKey], Params],
    optimizer: Optimizer,
    stats: Any,
) -> TrainState:
    """Build the state before the first step.

    Args:
        key: Root of all randomness of the run.
        init_fn: A network's ``init``.
        optimizer: From ``make_optimizer``.
        stats: What the objective starts with, or None where it carries nothing.

    Returns:
        A state in which the average equals the parameters.

    >>> from cdcd_jax.training.optimizer import make_optimizer
    >>> init_fn = lambda key: {"w": jax.random.normal(key, (3,))}
    >>> state = init_state(jax.random.key(0), init_fn, make_optimizer(lr=1e-3, num_steps=9), None)
    >>> int(state.step), state.ema_params["w"].shape
    (0, (3,))
    """
    init_key, run_key = jax.random.split(key)
    params = init_fn(init_key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy, because the step donates its input and a buffer can be donated only once.
        ema_params=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        stats=stats,
        key=run_key,
        skipped_in_row=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        diverged_at=jnp.zeros((), jnp.int32),
    )


def compute_state(init_fn: Callable[[], TrainState], sharding: Any) -> TrainState:
    """Compute a fresh state on its devices.

    Args:
        init_fn: Builds the state.
        sharding: Where each array is to live: a sharding for all, or a tree of them.

    Returns:
        The state.
    """
    # What runs once is not worth optimising: on two CPU cores this saves most of five seconds.
    (device, *_) = jax.tree.leaves(sharding)[0].device_set
    options = {"xla_backend_optimization_level": 0} if device.platform == "cpu" else None
    return jax.jit(init_fn, out_shardings=sharding, compiler_options=options)()


def abstract_state(init_fn: Callable[[], TrainState], sharding: Any) -> Any:
    """Describe a state without computing it.

    Args:
        init_fn: Builds a fresh state.
        sharding: Where each array is to live: a sharding for all, or a tree of them.

    Returns:
        The state with ``jax.ShapeDtypeStruct`` leaves.
    """
    shapes = jax.eval_shape(init_fn)
    if isinstance(sharding, jax.sharding.Sharding):
        sharding = jax.tree.map(lambda _: sharding, shapes)
    return jax.tree.map(
        lambda x, own: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=own), shapes, sharding
    )


def shard_state(state: TrainState, mesh: Mesh, rules: Sequence[Rule] = ()) -> TrainState:
    """Decide where each array of a training state lives.

    The average of the weights and the optimizer's moments lie where their parameters do; the rest
    is small and whole everywhere. An axis of the mesh that does not divide an array's axis leaves
    it whole, unless one of ``rules`` requires it.

    Args:
        state: The state or its shapes.
        mesh: From ``make_mesh``.
        rules: Searched before ``RULES``; the first that is found decides.

    Returns:
        A state of ``NamedSharding``.

    Raises:
        ValueError: If one of ``rules`` finds no parameter, names an axis that the mesh has not, or
            requires a split that is not even.
    """
    params = shard_params(state.params, mesh, rules)
    of_parameter = by_name(params)
    whole = NamedSharding(mesh, PartitionSpec())

    def follow(path: Any, leaf: Any) -> NamedSharding:
        # A moment's name ends with that of its parameter.
        parts = name_path(path).split(".")
        endings = (".".join(parts[start:]) for start in range(len(parts)))
        return next((of_parameter[name] for name in endings if name in of_parameter), whole)

    everywhere = jax.tree.map(lambda _: whole, state)
    return replace(
        everywhere,
        params=params,
        ema_params=params,
        opt_state=jax.tree_util.tree_map_with_path(follow, state.opt_state),
    )
