"""CUB-200 captions to images of 256x256 (CDCD Table 3).

Command: ``python -m cdcd_jax.main --config=configs/cub200.py:sample_inter --config.data.path=CUB``
and the other flags that ``coco.py`` explains; CUB holds ``CUB_200_2011`` and the captions of Reed
et al. (docs/guides/data.md). Hardware: the paper's 20 V100 days; not run here, ``--mode=plan``
says what it should take.

Published, at T=80 with 35 M parameters: FID 14.61 and CLIPScore 74.96 for ``vanilla``
(VQ-Diffusion), 12.73 and 75.32 for ``step_intra``, 12.61 and 75.50 for ``sample_inter``.

Variants: those of ``coco.py``.
"""

from typing import Any

from cdcd_jax.configs import miniature, variants
from configs import coco


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"sample_inter,smoke"``."""
    contrast, size = variants.parse(arg, ("vanilla", "step_intra", "sample_inter"))
    config = coco.get_config()
    variants.set_contrast(config, contrast)
    if contrast == "sample_inter":
        config.loss.contrast_weight = 5e-6
    config.data.update(
        name="cub", train_split="train_classes", test_split="test_classes",
        tokens="runs/cub200_tokens",
    )  # fmt: skip
    config.optimizer.update(lr=4.5e-4, plateau_patience=25_000)
    config.train.update(batch_size=24, num_steps=147_600)  # 400 epochs of 8,855 images
    config.eval.all_captions = True  # 29,330 of 2,933 test images
    return miniature.of_images(config) if size == "smoke" else config
