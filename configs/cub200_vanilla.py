"""CUB-200 captions to pictures of 256x256, no contrastive term: VQ-Diffusion (CDCD Table 3, VQ-D).

Command: ``python -m cdcd_jax.main --config=configs/cub200_vanilla.py --config.data.path=CUB`` and
the other flags that ``coco_vanilla.py`` explains; CUB holds ``CUB_200_2011`` and the captions of
Reed et al. (docs/data.md). ``:smoke`` needs none of these: it writes all of them in miniature,
and takes a minute. Hardware: the paper's 20 V100 days; not run here, ``--mode=plan`` says
what it should take. Published: FID 14.61, CLIPScore 74.96 at T=80, 35 M parameters.
"""

from typing import Any

from cdcd_jax.configs import miniature
from configs import coco_vanilla


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = coco_vanilla.get_config()
    config.data.update(
        name="cub", train_split="train_classes", test_split="test_classes",
        tokens="runs/cub200_tokens",
    )  # fmt: skip
    config.optimizer.update(lr=4.5e-4, plateau_patience=25_000)
    config.train.update(batch_size=24, num_steps=147_600)  # 400 epochs of 8,855 pictures
    config.eval.all_captions = True  # 29,330 of 2,933 test pictures
    return miniature.of_pictures(config, arg)
