"""Metrics of samples, and the bound in bits per token."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "measure_bits": "bits",
        "Moments": "metrics.images.frechet",
        "init_moments": "metrics.images.frechet",
        "update_moments": "metrics.images.frechet",
        "frechet_distance": "metrics.images.frechet",
        "compare_features": "metrics.images.neighbours",
        "coverage_and_hit": "metrics.audio.beats",
        "beat_alignment": "metrics.audio.beats",
        "compare_onsets": "metrics.audio.beats",
    },
)
