"""The table of scores."""

import math
from typing import Any

COLUMNS = {
    "num_steps": ("steps", 6, "d"),
    "truncation": ("truncation", 12, ".2f"),
    "num_samples": ("samples", 9, "d"),
    "accuracy": ("accuracy", 10, ".1%"),
    "letter_accuracy": ("letter", 8, ".1%"),
    "style_accuracy": ("style", 8, ".1%"),
    "both_accuracy": ("both", 8, ".1%"),
    "top5_accuracy": ("top 5", 8, ".1%"),
    "frechet_distance": ("Frechet", 9, ".2f"),
    "fid": ("FID", 8, ".2f"),
    "kid": ("KID", 9, ".5f"),
    "precision": ("precision", 11, ".1%"),
    "recall": ("recall", 8, ".1%"),
    "inception_score": ("Inception", 11, ".2f"),
    "resnet_top1": ("ResNet", 8, ".1%"),
    "resnet_top5": ("top 5", 8, ".1%"),
    "clip_score": ("CLIPScore", 11, ".3f"),
    "r_precision": ("R-prec.", 9, ".1%"),
    "beats_coverage": ("coverage", 10, ".1%"),
    "beats_hit": ("hit", 8, ".1%"),
    "onset_f": ("onset F", 9, ".1%"),
    "beat_alignment": ("alignment", 11, ".3f"),
    "genre_accuracy": ("genre", 8, ".1%"),
    "tempo_difference": ("tempo off", 11, ".1f"),
    "codes_used": ("codes", 8, ".1%"),
    "code_perplexity": ("perplexity", 12, ".0f"),
    "seconds": ("seconds", 9, ".1f"),
    "milliseconds": ("ms/sample", 11, ".1f"),
}
"""Key of a row -> heading, width and form."""

HIDDEN = ("name", "seconds_per_sample")
"""Keys of a row that are not columns of numbers."""


def format_table(result: dict[str, Any]) -> str:
    """Lay the result of ``evaluate`` out as a table to print.

    Args:
        result: What ``evaluate`` returned.

    Returns:
        Lines of text; a score that no row has is left out.
    """
    rows = [_in_milliseconds(row) for row in result["rows"]]
    always = ("seconds", "milliseconds")
    others = {key: None for row in rows for key in row if key not in (*COLUMNS, *HIDDEN)}
    known = COLUMNS | {key: (key, max(10, len(key) + 2), ".4g") for key in others}
    columns = {
        key: column
        for key, column in known.items()
        if key in always or any(row.get(key) is not None for row in rows)
    }
    return "\n".join(
        [
            f"{result['num_test_examples']} held-out examples: {result['bits_per_token']:.4f} "
            f"± {result['bits_per_token_error']:.4f} bits per token{_shuffled(result)}",
            f"{'':<25}" + "".join(f"{name:>{width}}" for name, width, _ in columns.values()),
            *(
                f"{row['name']:<25}"
                + "".join(
                    # A score far too large for its column still has a space before it.
                    f" {_show(row.get(key), form):>{width - 1}}"
                    for key, (_, width, form) in columns.items()
                )
                for row in rows
            ),
        ]
    )


def explain_bits(bits: float, *, vocab_size: int, num_steps: int) -> list[str]:
    """Explain bits per token that are more than a uniform distribution of the tokens would need.

    The bound is a sum over the T steps. Where hardly a token is replaced by another, a token of zt
    that is not a mask is the clean one, and a network that gives it the probability p pays about
    -log p for it at every step, not once: with p = 1/K that is several times log K.

    Args:
        bits: Of the bound, per token.
        vocab_size: K.
        num_steps: T.

    Returns:
        One sentence, or none where there is nothing to explain.

    >>> explain_bits(3.9, vocab_size=16, num_steps=10)
    []
    >>> explain_bits(9.05, vocab_size=16, num_steps=10)[0][:60]
    '9.05 bits per token are more than the log2 K = 4.00 of unifo'
    """
    uniform = math.log2(vocab_size)
    if not bits > uniform:
        return []
    return [
        f"{bits:.2f} bits per token are more than the log2 K = {uniform:.2f} of uniform "
        "probabilities: the denoiser is undertrained. Tokens of zt that are not masks are nearly "
        "always clean, and one that does not copy them yet pays for them at each of the "
        f"T = {num_steps} steps, not once."
    ]


def _shuffled(result: dict[str, Any]) -> str:
    bits = result.get("bits_per_token_shuffled")
    return "" if bits is None else f", {bits:.4f} with another example's condition"


def _in_milliseconds(row: dict[str, Any]) -> dict[str, Any]:
    seconds = row["seconds_per_sample"]
    return row | {"milliseconds": None if seconds is None else 1000 * seconds}


def _show(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)
