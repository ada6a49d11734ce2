"""A small Jukebox codec of any sound: train it, and measure it on recordings it does not know.

Command: ``python -m cdcd_jax.main --config=configs/sound_codec.py --mode=codec
--config.data.path=FOLDER``, where FOLDER holds sound files (WAV, FLAC, Ogg, MP3 ...), every tenth
of which is for testing, or sub-folders ``train`` and ``test``. Without ``data.path``, and with
``--config.data.name=groove``, it learns synthetic drums and bass. Hardware: two CPU cores, about
four minutes. Results: docs/results/music.md.
"""

from typing import Any

from cdcd_jax.configs import music


def get_config(arg: str = "") -> Any:
    """Return the configuration, a ``ConfigDict``; ``arg`` is ``""`` or ``"smoke"``."""
    config = music.get_config(arg)
    music.add_jukebox(config)
    config.data.name = "sound"
    config.codec.update(
        level=0,
        downs=(2,),
        strides=(16,),
        multipliers=(1,),
        width=128,
        depth=1,
        code_dim=32,
        num_codes=512,
    )
    # With the published decay and restarts a short run uses 2% of its codes; with the published
    # commitment its features grow without bound for a while.
    config.codec_loss.update(
        log_spectral_weight=1.0, commitment_weight=0.1, codebook_decay=0.95, restart_below=0.3
    )
    config.codec_train.update(seconds=0.75, batch_size=8, num_steps=800, sample_every=400)
    config.codec_optimizer.update(lr=2e-3, warmup_steps=30, b2=0.99)
    if arg == "smoke":
        config.data.name = "groove"
        config.codec.update(width=8, num_codes=32, code_dim=8)
        config.codec_train.update(num_steps=20, log_every=5, checkpoint_every=10, sample_every=10)
        config.codec_optimizer.warmup_steps = 5
    return config
