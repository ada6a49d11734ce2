"""Judging samples, measuring the bound, and drawing pictures."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "measure_bits": "bits",
        "Moments": "frechet",
        "init_moments": "frechet",
        "update_moments": "frechet",
        "frechet_distance": "frechet",
        "compare_features": "neighbours",
        "coverage_and_hit": "beats",
        "beat_alignment": "beats",
        "compare_onsets": "beats",
        "draw_grid": "grid",
        "save_picture": "pictures",
    },
)
