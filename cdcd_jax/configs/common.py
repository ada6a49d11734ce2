"""Settings shared by all experiments on the handwritten digits.

Each section is handed to one constructor, which documents and checks its values; see
``cdcd_jax/settings/``. A value that follows from others is not here: it is derived there.
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
    _add_data(config)
    _add_schedule(config)
    _add_loss(config)
    _add_denoiser(config)
    _add_optimizer(config)
    _add_training(config)
    _add_sampling(config)
    if arg == "smoke":
        _make_small(config)
    return config


def _add_data(config: Any) -> None:
    config.data = {
        # Which examples: digits, a folder of images, imagenet, coco, groove ...
        # (docs/guides/data.md).
        "name": "digits",
        # Threads that prepare batches; 0 prepares each when it is needed.
        "num_threads": 1,
        # Batches that are prepared ahead.
        "prefetch": 4,
    }
    config.codec = {
        # What turns data into tokens: pixels, patches, vqgan, spectra or jukebox.
        "name": "pixels",
        # K, the number of different tokens; the mask is one more.
        "vocab_size": 17,
        # Rows and columns of the tokens.
        "grid": (8, 8),
    }
    config.condition = {
        # What is generated for: none, class, text, clip or dance.
        "kind": "class",
        # Share of training examples that lose their condition; above 0, samples can be guided.
        "dropout": 0.0,
    }


def _add_schedule(config: Any) -> None:
    config.schedule = {
        # Kind of noise: mask_replace or absorbing.
        "name": "mask_replace",
        # T, the number of diffusion steps.
        "num_steps": 50,
        # Probability of still being the original token at t = T.
        "final_keep": 9e-6,
        # Probability of having been replaced by any token at t = T; the rest is masked.
        "final_uniform": 1e-6,
        # Probability of still being the original token at t = 1.
        "first_keep": 0.99999,
        # Probability of having been replaced at t = 1.
        "first_uniform": 1e-6,
        # How these shares run from the first step to the last: linear, cosine or polynomial.
        "curve": "linear",
        # Exponent of the polynomial.
        "power": 2.0,
    }


def _add_loss(config: Any) -> None:
    config.loss = {
        # Contrastive term: none (vanilla), step or sample (CDCD Eq. 3 and 4).
        "mechanism": "none",
        # Where negatives come from: intra (the example, shuffled), inter (other examples) or
        # both.
        "negatives": "inter",
        # N, negatives for each example and kind.
        "num_negatives": 10,
        # Patches down and across that an image's intra negatives are cut in.
        "patches": (2, 2),
        # lambda_c, the weight of the contrastive term.
        "contrast_weight": 5e-5,
        # How that weight changes with t: increasing, decreasing or constant.
        "contrast_time_weight": "increasing",
        # Apply the term at a random subset of so many of the T steps; all unless given.
        "contrast_steps": config_dict.placeholder(int),
        # Of the mechanism step: shared (negatives under the positive's noise, as the published
        # code) or parallel (each noised on its own, as the paper).
        "chains": "shared",
        # Parallel chains that go through the network at once, to save memory; all unless given.
        "chains_per_pass": config_dict.placeholder(int),
        # lambda_aux, the weight of -log p(z0 | zt, cond).
        "aux_weight": 5e-4,
        # How that weight changes with t: increasing, decreasing or constant.
        "aux_time_weight": "decreasing",
        # Weights of masked and of unmasked positions in the divergences.
        "mask_weight": (1.0, 1.0),
        # Positions at which the head and the loss are computed at once, to save memory; all
        # unless given.
        "positions_per_pass": config_dict.placeholder(int),
        # Spread the steps t of a batch evenly over their distribution: the same loss in
        # expectation, with less variance.
        "stratified_timesteps": False,
    }


def _add_denoiser(config: Any) -> None:
    config.denoiser = {
        # Transformer blocks.
        "num_layers": 4,
        # Features of a position; a multiple of num_heads.
        "width": 96,
        # Attention heads.
        "num_heads": 6,
        # MLP of a block: linear, or conv for two 3x3 convolutions over the grid.
        "mlp": "linear",
        # Hidden features of the MLP per feature.
        "mlp_ratio": 2,
        # Of activations: float32 or bfloat16; parameters stay float32.
        "compute_dtype": "float32",
        # What the backward pass computes again to save memory: none, blocks, or dots (all but
        # products with parameters).
        "remat": "none",
        # auto takes a fused kernel where there is one, plain never does.
        "attention": "auto",
    }


def _add_optimizer(config: Any) -> None:
    config.optimizer = {
        # Peak learning rate of AdamW.
        "lr": 2e-3,
        # What follows the warm-up: constant, cosine, wsd (a linear fall at the end) or plateau.
        "decay": "cosine",
        # Update at which cosine and wsd end; train.num_steps unless given.
        "decay_steps": config_dict.placeholder(int),
        # Length of the fall of wsd; a fifth of decay_steps unless given.
        "cooldown_steps": config_dict.placeholder(int),
        # Updates in which the rate rises linearly.
        "warmup_steps": 100,
        # Rate of the first update.
        "warmup_from": 0.0,
        # Smallest rate after the warm-up.
        "end_lr": 0.0,
        # Share of the rate that a cut of plateau keeps.
        "plateau_factor": 0.5,
        # Updates in a row without improvement that bring no cut yet.
        "plateau_patience": 60_000,
        # Relative fall of the loss that is an improvement.
        "plateau_threshold": 0.1,
        # Decay of the first moment.
        "b1": 0.9,
        # Decay of the second moment.
        "b2": 0.96,
        # Decoupled weight decay, times the rate.
        "weight_decay": 4.5e-2,
        # Largest global norm of a gradient.
        "clip_norm": 0.5,
        # Number of first updates that are clipped; all unless given.
        "clip_steps": config_dict.placeholder(int),
    }


def _add_training(config: Any) -> None:
    config.train = {
        # Seed of parameters, batches and noise.
        "seed": 0,
        # Examples of an update, over all devices.
        "batch_size": 64,
        # Updates in all, over all restarts.
        "num_steps": 1200,
        # Parts that a batch is worked through in, to save memory; the result is the same.
        "num_microbatches": 1,
        # Updates in a row whose loss or gradient may be not finite before the run ends; they
        # change nothing.
        "max_skipped": 5,
        # Draw t in proportion to the size of its loss, once all t have been seen.
        "importance_sampling": True,
        # Decay of the average of the parameters, which samples and scores use.
        "ema_decay": 0.99,
        # Updates between two of the average.
        "ema_every": 1,
        # Updates between two lines of metrics.
        "log_every": 20,
        # Updates between two checkpoints.
        "checkpoint_every": 200,
        # Newest checkpoints that are kept; the best is kept as well.
        "keep_checkpoints": 2,
        # Updates between two images of samples; 0 for none.
        "sample_every": 400,
    }
    config.mesh = {
        # Devices that share the batch; what fsdp and tensor leave unless given.
        "data": config_dict.placeholder(int),
        # Devices that share the batch and the parameters.
        "fsdp": 1,
        # Devices that share attention heads and hidden features (docs/guides/scale.md).
        "tensor": 1,
        # How single arrays are split, before the built-in rules: pairs such as
        # ("to_logits.kernel", ("fsdp", None)).
        "rules": (),
        # The same for the training of a codec.
        "codec_rules": (),
    }


def _add_sampling(config: Any) -> None:
    config.eval = {
        # Samples for each setting.
        "num_samples": 500,
        # Numbers of sampling steps to try; the first is the main one.
        "num_steps": (50, 10),
        # Truncations to try, 1 for none; the first is the main one.
        "truncations": (0.86, 1.0),
        # Examples at once.
        "batch_size": 100,
        # Real examples that scores compare with, at most.
        "num_real": 50_000,
        # Seed of the samples and of the bound's noise.
        "seed": 1,
    }
    config.sample = {
        # Samples of --mode=sample and of the images during training.
        "num_samples": 100,
        # Reverse steps; schedule.num_steps unless given.
        "num_steps": config_dict.placeholder(int),
        # Mass of the prediction that is kept at each step, 1 for all.
        "truncation": 0.86,
        # Number of most likely tokens that are kept; all unless given.
        "top_k": config_dict.placeholder(int),
        # Temperature of the prediction.
        "temperature": 1.0,
        # Scale of classifier-free guidance, 1 for none; needs condition.dropout.
        "guidance": 1.0,
        # Rule for a reverse step, see docs/guides/sampling.md; its options are keys beside it.
        "sampler": "ancestral",
        # What repairs the state after each step, e.g. gibbs; none unless given.
        "corrector": config_dict.placeholder(str),
        # Which steps are visited: uniform, cosine, polynomial, or a tuple of them from T to 0.
        "times": "uniform",
    }


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
