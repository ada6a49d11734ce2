"""Tokenised examples and the batches a training step takes."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "TokenExamples": "batch",
        "TokenShards": "shards",
        "make_train_iterator": "pipeline",
        "OtherGroups": "negatives",
        "ListedNegatives": "negatives",
        "load_digits": "digits",
        "load_glyphs": "glyphs",
        "load_groove": "groove",
        "load_folder": "sources",
    },
)
