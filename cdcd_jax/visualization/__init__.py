"""Images of samples: grids, spectrograms, animations and videos."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(__name__, {"draw_grid": "grid", "save_image": "samples"})
