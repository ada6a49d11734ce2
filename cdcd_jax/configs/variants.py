"""Variants of a configuration: words behind its file, as in ``coco.py:step_intra,smoke``.

One word at most chooses the contrastive term, and one the size of the experiment.
"""

from collections.abc import Callable, Sequence
from typing import Any

CONTRASTS = ("vanilla", "step_intra", "step_inter", "sample_intra", "sample_inter")
"""No contrastive term, or its mechanism and the source of its negatives (CDCD Eq. 3 and 4)."""


def parse(
    arg: str, contrasts: Sequence[str] = CONTRASTS, sizes: Sequence[str] = ("smoke",)
) -> tuple[str, str]:
    """Split the variants of a configuration into the contrastive term and the size.

    Args:
        arg: Words that commas separate, in any order.
        contrasts: Those that the configuration has; the first one is the default.
        sizes: Sizes that it has besides its own.

    Returns:
        One of ``contrasts``, and one of ``sizes`` or ``""``.

    Raises:
        ValueError: If a word is not among them, or two of them exclude each other.

    >>> parse("sample_inter,smoke")
    ('sample_inter', 'smoke')
    >>> parse("")
    ('vanilla', '')
    """
    words = [word for word in arg.split(",") if word]
    for word in words:
        if word not in (*contrasts, *sizes):
            known = [f'":{name}"' for name in (*contrasts, *sizes)]
            raise ValueError(
                f'there is no variant ":{word}" of this configuration, only '
                f"{', '.join(known[:-1])} and {known[-1]}"
            )
    found = [[word for word in words if word in kind] for kind in (contrasts, sizes)]
    for of_a_kind in found:
        if len(of_a_kind) > 1:
            raise ValueError(f'":{",".join(of_a_kind)}" are variants that exclude each other')
    contrast, size = found
    return contrast[0] if contrast else contrasts[0], size[0] if size else ""


def set_contrast(config: Any, contrast: str) -> None:
    """Set the contrastive term of a configuration, one of ``CONTRASTS``."""
    if contrast == "vanilla":
        config.loss.mechanism = "none"
    else:
        config.loss.mechanism, config.loss.negatives = contrast.split("_")


def with_contrast(get_config: Callable[[str], Any], contrast: str) -> Callable[..., Any]:
    """Return the ``get_config`` of a file that names one variant of another file."""
    return lambda arg="": get_config(f"{contrast},{arg}")
