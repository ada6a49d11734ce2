"""Denoisers and codecs: options and inputs."""

from collections.abc import Iterator

import numpy as np

from cdcd_jax.codecs.codec import check_codes
from cdcd_jax.models.functional import make_denoiser
from tests.adversarial.calls.common import BY_CLASS, NETWORK, SIZES, STEPS, Z0, refused
from tests.adversarial.cases import Case


def cases() -> Iterator[Case]:
    """Yield the cases."""
    by_class = {"condition": "class", "num_classes": 3}
    for option, values, says in (
        ("width", (0, 8.0, "8", None, True), "width must be a whole number"),
        ("num_layers", (0, 1.5, -1), "num_layers must be a whole number"),
        ("num_heads", (0, 2.0), "num_heads must be a whole number"),
        ("num_heads", (3,), "must be a multiple of num_heads"),
        ("vocab_size", (0, 2.5), "vocab_size must be a whole number"),
        ("num_steps", (0, 1e3), "num_steps must be a whole number"),
        ("mlp_ratio", (0, 1.5), "mlp_ratio must be a whole number"),
        ("grid", ((2.0, 3), 6, (6,), None, (0, 6)), "grid"),
        ("mlp", ("cubic", None), "mlp must be one of"),
        ("compute_dtype", ("float16", "int8"), "compute_dtype must be one of"),
        ("unroll", (0, 1.5), "unroll must be a whole number"),
        ("num_classes", (0, 2.5, "3"), "num_classes must be a whole number"),
        ("seconds", (float("nan"), -1.0), "seconds = "),
        ("embedding_grid", ((1, 1),), "embedding_grid must have a cell for each"),
    ):
        for value in values:
            given = {"grid": (2, 3), **SIZES, **(by_class if option == "num_classes" else {})}
            run = lambda given=given | {option: value}: make_denoiser(**given)  # noqa: E731
            yield refused(f"make_denoiser: {option} = {value!r}", run, says)
    labels = np.array([0, 2], np.int32)
    for what, cond, says in (
        ("nothing", None, "cond is None"),
        ("a list", [0, 2], "cond"),
        ("too few", labels[:1], "cond must be labels [2]"),
        ("floats", labels.astype(np.float32), "cond must hold integers, labels"),
        ("one beyond", labels + 1, "cond[1] = 3 is not a label: those are 0..2"),
        ("negative", labels - 1, "cond[0] = -1 is not a label"),
    ):
        run = lambda cond=cond: BY_CLASS.apply({}, Z0, STEPS, cond)  # noqa: E731
        yield refused(f"a network of classes: {what}", run, says)
    yield refused(
        "a network without condition: one",
        lambda: NETWORK.apply({}, Z0, STEPS, labels),
        "cond must be None",
    )
    yield refused(
        "a network: another length",
        lambda: NETWORK.apply({}, Z0[:, :3], STEPS, None),
        "zt must be [batch 6] for the grid (2, 3)",
    )
    for what, tokens, says in (
        ("floats", np.zeros((2, 6)), "tokens must be integers"),
        ("the mask", np.full((2, 6), 9), "tokens must have values 0..8"),
        ("another length", np.zeros((2, 5), int), "an image has 2 x 3 tokens, got 5"),
        ("no batch", np.zeros(6, int), "tokens must be integers [batch length]"),
    ):
        run = lambda tokens=tokens: check_codes(tokens, (2, 3), 9)  # noqa: E731
        yield refused(f"decode: {what}", run, says)
