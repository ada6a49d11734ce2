"""Samplers: a rule for one reverse step, a time grid and filters, run in one scan."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "Ancestral": "ancestral",
        "Fast": "ancestral",
        "FirstHitting": "events",
        "Entropy": "events",
        "Confidence": "orders",
        "Margin": "orders",
        "Halton": "orders",
        "Purity": "orders",
        "Remask": "remask",
        "Corrector": "correctors",
        "Renoise": "correctors",
        "Gibbs": "correctors",
        "SelfCorrection": "correctors",
        "Prediction": "rule",
        "Rule": "rule",
        "State": "rule",
        "make_times": "times",
        "draw_visible": "draws",
        "sample_reverse": "draws",
        "keep_top_k": "filters",
        "truncate": "filters",
    },
)
