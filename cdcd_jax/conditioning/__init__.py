"""Conditions and their encoders: classes, texts, CLIP, dances."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "Condition": "condition",
        "no_condition": "condition",
        "class_condition": "condition",
        "text_condition": "condition",
        "feature_condition": "condition",
        "dance_condition": "dance",
        "CaptionTokenizer": "vocabulary",
        "learn_vocabulary": "vocabulary",
        "ClipTokenizer": "clip_bpe",
        "ClipTextOptions": "clip_text",
        "make_clip_text": "clip_text",
        "ClipImageOptions": "clip_image",
        "make_clip_image": "clip_image",
    },
)
