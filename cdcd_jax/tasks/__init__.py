"""Tasks: data, codec, condition and metrics of each modality."""

# Each registers its data sets.
from cdcd_jax.tasks import captioned, dance_to_music, images, tokens  # noqa: F401
