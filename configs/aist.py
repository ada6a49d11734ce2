"""Music for the dances of AIST++ at the paper's size (CDCD Table 1).

Command: ``python -m cdcd_jax.main --config=configs/aist.py:step_intra --config.data.path=FOLDER
--config.codec.weights=vqvae.pt``, where FOLDER is AIST++ with the music beside it
(docs/guides/music.md says where both come from). Hardware: the paper's 8 V100 days; not run here,
``--mode=plan`` says what it should take.

Published: coverage 89.0, hit 83.8, genre 25.3 for ``vanilla``; 93.9, 90.7, 25.8 for
``step_intra``; 91.8, 86.9, 27.2 for ``sample_inter``; by sampling that starts from the true music,
which this does not.

Variants: ``vanilla``, ``step_intra`` or ``sample_inter``; and ``4s`` or ``6s`` for music of more
than 2 s, or ``smoke``, which needs no files: it writes them in miniature, and takes a minute.
"""

from typing import Any

from ml_collections import config_dict

from cdcd_jax.configs import miniature, music, variants


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``, of variants such as ``"step_intra,6s"``."""
    contrast, size = variants.parse(
        arg, ("vanilla", "step_intra", "sample_inter"), sizes=("4s", "6s", "smoke")
    )
    config = music.get_config()
    variants.set_contrast(config, contrast)
    seconds = {"4s": 4.0, "6s": 6.0}.get(size, 2.0)
    config.data.update(name="aist", seconds=seconds, test_stride=seconds, num_threads=4)
    if seconds > 2:
        # The authors' test pieces: the last one ends with its dance, 36 of 6 s in all.
        config.data.test_rest = 1.9
    # 100 epochs of the authors' 6,632 pieces of 2 s, 2,581 of 6 s; of 4 s none are published.
    config.train.num_steps = {"4s": 45_000, "6s": 32_300}.get(size, 82_900)
    config.prepare.update(views=4, shuffles=10, batch_size=64)
    config.data.intra = "waveform"
    _make_full_size(config)
    config.condition.update(genre=True, group=4)
    config.condition.video = config_dict.placeholder(bool)  # given where there are features of it
    return miniature.of_music(config) if size == "smoke" else config


def _make_full_size(config: Any) -> None:
    """Take the published codec's and denoiser's sizes (CDCD appendix C.1), and the optimizer's."""
    music.add_jukebox(config)
    config.schedule.num_steps = 80
    config.condition.update(
        width=1024,
        genre_width=256,
        num_layers=2,
        num_heads=16,
        hidden=800,
        channels=(512, 512, 1024),
    )
    config.denoiser.update(
        num_layers=19,
        width=1024,
        num_heads=16,
        mlp_ratio=4,
        compute_dtype="bfloat16",
        remat="dots",
    )
    config.loss.aux_weight = 5e-4
    config.optimizer.update(
        lr=2e-4,
        decay="plateau",
        warmup_steps=1000,
        warmup_from=3e-6,
        end_lr=1e-6,
        plateau_patience=60_000,
    )
    config.train.update(
        batch_size=8,
        ema_every=25,
        log_every=100,
        checkpoint_every=2000,
        sample_every=10_000,
    )
    config.eval.update(num_samples=2000, num_steps=(80,), num_real=5000, batch_size=64)
