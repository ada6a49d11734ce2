"""One training loop: state, optimizer, step, checkpoints, metrics."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "TrainState": "state",
        "init_state": "state",
        "make_train_step": "step",
        "make_objective": "objective",
        "make_optimizer": "optimizer",
        "Model": "model",
        "make_model": "model",
        "make_bound_fn": "generation",
        "make_sample_fn": "generation",
        "Checkpoints": "checkpoints.manager",
    },
)
