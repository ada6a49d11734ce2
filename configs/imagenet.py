"""ImageNet by class at 256x256 (CDCD Table 4).

Command: ``python -m cdcd_jax.main --config=configs/imagenet.py:sample_inter
--config.data.path=IMAGENET --config.codec.weights=FILE --config.codec.used_codes=FILE``: the
official folders ``train/`` and ``val/``, the published VQGAN (f16, 16384 codes) and its list of
the 974 codes in use; docs/guides/data.md says where each comes from. The tokens are prepared
first, once. Hardware: the paper's 160 V100 days; not run here, ``--mode=plan`` says what it should
take.

Published: FID 11.89 and accuracy 72.72 for ``vanilla`` (VQ-Diffusion) at T=100, FID 11.74 and
accuracy 77.63 for ``sample_inter``; ``step_intra`` is not in the paper's table.

Variants: ``vanilla``, ``step_intra`` or ``sample_inter``; and ``smoke``, which needs no files: it
writes all of them in miniature, and takes a minute or two.
"""

from typing import Any

from cdcd_jax.configs import images, miniature, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg, ("vanilla", "step_intra", "sample_inter"))
    config = images.get_config()
    variants.set_contrast(config, contrast)
    config.data.update(
        name="imagenet", test_split="val", tokens="runs/imagenet_tokens", num_threads=16
    )
    config.prepare.update(views=4, crop="dalle")
    config.codec.update(
        image_size=256,
        channels=128,
        multipliers=(1, 1, 2, 2, 4),
        num_res_blocks=2,
        norm_groups=32,
        attention_resolutions=(16,),
        latent_dim=256,
        code_dim=256,
        num_codes=16384,
        compute_dtype="bfloat16",
    )
    config.schedule.num_steps = 80
    config.loss.update(aux_weight=1e-3, patches=(4, 4))
    config.denoiser.update(
        num_layers=24,
        width=512,
        num_heads=16,
        mlp="conv",
        mlp_ratio=4,
        # Grid of the position embedding where it is larger than that of the tokens.
        embedding_grid=(32, 32),
        compute_dtype="bfloat16",
        remat="blocks",
    )
    config.optimizer.update(
        lr=4.5e-4, decay="plateau", warmup_steps=5000, warmup_from=3e-6, end_lr=1e-6,
        plateau_patience=100_000,
    )  # fmt: skip
    # 100 epochs of 1,281,167 images.
    config.train.update(
        batch_size=192, num_steps=667_300, ema_every=25, log_every=100, checkpoint_every=5000,
        sample_every=5000,
    )  # fmt: skip
    config.eval.update(num_samples=50_000, num_steps=(80,), truncations=(0.86,), batch_size=256)
    config.sample.num_samples = 64
    return miniature.of_images(config) if size == "smoke" else config
