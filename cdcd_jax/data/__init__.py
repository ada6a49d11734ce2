"""Tokenised examples and the batches a training step takes."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "TokenExamples": "batch",
        "TokenShards": "shards.token_shards",
        "make_train_iterator": "pipeline",
        "OtherGroups": "negatives",
        "ListedNegatives": "negatives",
        "load_digits": "toy.digits",
        "load_glyphs": "toy.glyphs",
        "load_groove": "toy.groove",
        "load_folder": "images.sources",
    },
)
