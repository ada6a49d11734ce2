"""COCO captions to images of 256x256 (CDCD Table 3).

Command: ``python -m cdcd_jax.main --config=configs/coco.py:sample_inter --config.data.path=COCO
--config.codec.weights=FILE --config.codec.used_codes=FILE --config.condition.weights=FILE
--config.condition.merges=FILE``: the official folders (2014), the published VQGAN (f8, Gumbel,
8192 codes), its list of the 2887 codes in use, CLIP ViT-B/32 and its merges; docs/guides/data.md
and docs/guides/published.md say where each comes from. The tokens are prepared first, once.
Hardware: the paper's 80 V100 days; not run here, ``--mode=plan`` says what it should take.

Published, at T=80 with 35 M parameters: FID 36.45 and CLIPScore 65.53 for ``vanilla``
(VQ-Diffusion), 32.25 and 66.22 for ``step_intra``, 28.76 and 66.79 for ``sample_inter``.

Variants: ``vanilla``, ``step_intra`` or ``sample_inter``; and ``smoke``, which needs no files: it
writes all of them in miniature, and takes a minute or two.
"""

from typing import Any

from ml_collections import config_dict

from cdcd_jax.configs import captions, images, miniature, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg, ("vanilla", "step_intra", "sample_inter"))
    config = captions.get_config()
    photographs = images.get_config()
    for section in ("codec", "codec_loss", "codec_optimizer", "codec_train"):
        config[section] = photographs[section]
    del config.codec_fit, config.data.scripts, config.data.num_variants
    config.data.update(
        name="coco", train_split="train2014", test_split="val2014", tokens="runs/coco_tokens",
        num_threads=16,
    )  # fmt: skip
    config.prepare.update(views=4, crop="dalle", batch_size=32)
    config.codec.update(
        image_size=256, channels=128, multipliers=(1, 1, 2, 4), num_res_blocks=2, norm_groups=32,
        attention_resolutions=(32,), latent_dim=256, code_dim=256, num_codes=8192,
        quantizer="gumbel", compute_dtype="bfloat16",
    )  # fmt: skip
    config.condition = {
        "kind": "clip",
        "dropout": 0.0,
        "null": "empty",
        # File of CLIP's weights.
        "weights": config_dict.placeholder(str),
        # CLIP's file bpe_simple_vocab_16e6.txt.gz.
        "merges": config_dict.placeholder(str),
        "compute_dtype": "float32",
    }
    config.schedule.num_steps = 80
    config.loss.update(aux_weight=5e-4, patches=(4, 4), positions_per_pass=256)
    config.denoiser.update(
        num_layers=18, width=192, num_heads=16, mlp="conv", compute_dtype="bfloat16", remat="dots"
    )
    config.optimizer.update(
        lr=2e-4, decay="plateau", warmup_steps=1000, warmup_from=3e-6, end_lr=1e-6,
        plateau_patience=60_000,
    )  # fmt: skip
    # 100 epochs of 82,783 images.
    config.train.update(
        batch_size=32, num_steps=258_700, ema_every=25, log_every=100, checkpoint_every=5000,
        sample_every=5000,
    )  # fmt: skip
    config.eval.update(num_samples=30_000, num_steps=(80,), truncations=(0.85,), num_real=30_000)
    config.sample.truncation = 0.85
    variants.set_contrast(config, contrast)
    return miniature.of_images(config) if size == "smoke" else config
