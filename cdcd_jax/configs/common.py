"""The settings that all experiments on the handwritten digits share.

Each section is handed to one constructor, which documents and checks its values; see
``cdcd_jax/build/``. A value that follows from others is not here: it is derived there.
"""

from typing import Any

from ml_collections import ConfigDict, config_dict


def get_config(arg: str = "") -> Any:
    """Return the vanilla model: no contrastive term.

    Args:
        arg: ``""`` for the full run, ``"smoke"`` for one of a few seconds on a laptop.

    Returns:
        The configuration, a ``ConfigDict``.

    Raises:
        ValueError: If there is no such variant.
    """
    if arg not in ("", "smoke"):
        raise ValueError(f'there is no variant ":{arg}" of this configuration, only ":smoke"')
    config: Any = ConfigDict()
    config.data = {"name": "digits", "num_threads": 1, "prefetch": 4}
    config.codec = {"name": "pixels", "vocab_size": 17, "grid": (8, 8)}
    config.condition = {"kind": "class", "dropout": 0.0}
    config.schedule = {
        "name": "mask_replace",
        "num_steps": 50,
        "final_keep": 9e-6,
        "final_uniform": 1e-6,
        "first_keep": 0.99999,
        "first_uniform": 1e-6,
    }
    config.loss = {
        "mechanism": "none",
        "negatives": "inter",
        "num_negatives": 10,
        "patches": (2, 2),
        "contrast_weight": 5e-5,
        "contrast_time_weight": "increasing",
        "contrast_steps": config_dict.placeholder(int),
        "chains": "shared",
        "chains_per_pass": config_dict.placeholder(int),
        "aux_weight": 5e-4,
        "aux_time_weight": "decreasing",
        "mask_weight": (1.0, 1.0),
        "positions_per_pass": config_dict.placeholder(int),
    }
    config.denoiser = {
        "num_layers": 4,
        "width": 96,
        "num_heads": 6,
        "mlp": "linear",
        "mlp_ratio": 2,
        "compute_dtype": "float32",
        "remat": "none",
        "attention": "auto",
    }
    config.optimizer = {
        "lr": 2e-3,
        "decay": "cosine",
        "decay_steps": config_dict.placeholder(int),  # train.num_steps unless given
        "cooldown_steps": config_dict.placeholder(int),  # of "wsd": a fifth of decay_steps
        "warmup_steps": 100,
        "warmup_from": 0.0,
        "end_lr": 0.0,
        "plateau_factor": 0.5,
        "plateau_patience": 60_000,
        "plateau_threshold": 0.1,
        "b1": 0.9,
        "b2": 0.96,
        "weight_decay": 4.5e-2,
        "clip_norm": 0.5,
        "clip_steps": config_dict.placeholder(int),  # all unless given
    }
    config.train = {
        "seed": 0,
        "batch_size": 64,
        "num_steps": 1200,
        "num_microbatches": 1,
        "max_skipped": 5,
        "importance_sampling": True,
        "ema_decay": 0.99,
        "ema_every": 1,
        "log_every": 20,
        "checkpoint_every": 200,
        "keep_checkpoints": 2,
        "sample_every": 400,
    }
    config.mesh = {
        "data": config_dict.placeholder(int),  # what fsdp and tensor leave, unless given
        "fsdp": 1,
        "tensor": 1,
        "rules": (),  # pairs such as ("to_logits.kernel", ("fsdp", None))
        "codec_rules": (),
    }
    config.eval = {
        "num_samples": 500,
        "num_steps": (50, 10),
        "truncations": (0.86, 1.0),
        "batch_size": 100,
        "num_real": 50_000,
        "seed": 1,
    }
    config.sample = {
        "num_samples": 100,
        "num_steps": config_dict.placeholder(int),  # schedule.num_steps unless given
        "truncation": 0.86,
        "top_k": config_dict.placeholder(int),
        "temperature": 1.0,
        "guidance": 1.0,
    }
    if arg == "smoke":
        _make_small(config)
    return config


def _make_small(config: Any) -> None:
    config.schedule.num_steps = 10
    config.loss.num_negatives = 2
    config.denoiser.update(num_layers=2, width=16, num_heads=2)
    config.optimizer.warmup_steps = 5
    config.train.update(
        batch_size=16, num_steps=20, log_every=5, checkpoint_every=10, sample_every=10
    )
    config.eval.update(num_samples=20, num_steps=(10,), truncations=(0.86,), batch_size=20)
    config.sample.num_samples = 20
