"""What a network returns, wherever one is called."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

import cdcd_jax as cdcd
from tests.adversarial.calls.common import (
    LOGITS,
    SCHEDULE,
    STEPS,
    Z0,
    K,
    bound,
    key,
    loss,
    refused,
    sample,
    uniform,
)
from tests.adversarial.cases import Case

COND = np.zeros((2, 3), np.float32)

OF_NETWORKS = {
    "loss": lambda f: loss(denoise_fn=f),
    "loss with negatives": lambda f: loss(Z0, Z0[:, None, ::-1], f),
    "bound": lambda f: bound(denoise_fn=f),
    "sample": lambda f: sample(f),
    "sampler.step": lambda f: cdcd.make_sampler(SCHEDULE, f).step(
        key(), cdcd.samplers.State(Z0), 0, 2, None
    ),
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for function, run in OF_NETWORKS.items():
        yield refused(f"{function}: no network", lambda run=run: run(None), "denoise_fn must be")
        yield refused(f"{function}: an array", lambda run=run: run(LOGITS), "denoise_fn must be")
        for what, output, says in (
            ("nothing", lambda zt: None, "the output of denoise_fn must be an array"),
            ("a pair", lambda zt: (LOGITS, None), "the output of denoise_fn must be an array"),
            ("integers", lambda zt: jnp.zeros((*zt.shape, K), int), "in floats, got int32"),
            ("booleans", lambda zt: jnp.zeros((*zt.shape, K), bool), "in floats, got bool"),
            ("complex", lambda zt: jnp.zeros((*zt.shape, K), complex), "in floats, got complex"),
            ("the mask too", lambda zt: jnp.zeros((*zt.shape, K + 1)), "the mask is not among"),
            ("no classes", lambda zt: jnp.zeros(zt.shape), "must return log-probabilities"),
            (
                "K before length",
                lambda zt: jnp.zeros((zt.shape[0], K, zt.shape[1])),
                "must return log-probabilities or logits of shape (2, 6, 5)",
            ),
        ):
            run_it = lambda run=run, output=output: run(lambda zt, t, cond: output(zt))  # noqa: E731
            yield refused(f"{function}: {what} from the network", run_it, says)
    yield from _values()
    yield from _guided()


def _values() -> Iterator[Case]:
    for what, value in (("NaN", jnp.nan), ("+inf", jnp.inf), ("only -inf", -jnp.inf)):
        broken = lambda zt, t, cond, x=value: jnp.full((*zt.shape, K), x)  # noqa: E731
        yield refused(
            f"loss: {what} from the network",
            lambda f=broken: loss(denoise_fn=f),
            "denoise_fn gives no probabilities",
        )
        yield refused(
            f"bound: {what} from the network",
            lambda f=broken: bound(denoise_fn=f),
            "the network's probabilities are NaN",
        )
        yield refused(f"sample: {what} from the network", lambda f=broken: sample(f), "the mask")


def _guided() -> Iterator[Case]:
    def guided(f=uniform, null=COND, scale=2.0, cond=COND):
        return cdcd.guide_denoiser(f, null, scale)(Z0, STEPS, cond)

    one_half = lambda zt, t, cond: uniform(zt[: len(zt) // 2], t, cond)  # noqa: E731
    for name, run, says in (
        ("half of the rows", lambda: guided(one_half), "called with 4 rows"),
        ("no network", lambda: guided(None), "denoise_fn must be a function"),
        ("no null condition", lambda: guided(null=None), "guidance needs null_cond"),
        ("another null condition", lambda: guided(null=COND[:, :2]), "null_cond has shape (2, 2)"),
        ("a tree for null", lambda: guided(null={"a": COND}), "null_cond must be a tree like cond"),
        ("too few conditions", lambda: guided(cond=COND[:1], null=COND[:1]), "cond has 1 rows"),
        ("a scale of -1", lambda: guided(scale=-1.0), "guidance must be at least 0 and finite"),
        ("a scale of NaN", lambda: guided(scale=float("nan")), "finite, got nan"),
        ("a scale of inf", lambda: guided(scale=float("inf")), "finite, got inf"),
        ("a scale of 1e38", lambda: guided(scale=1e38), "1e+36 is the most"),
        ("a scale as text", lambda: guided(scale="2"), "guidance must be a number, got '2'"),
        ("no scale", lambda: guided(scale=None), "guidance must be a number, got None"),
        ("two scales", lambda: guided(scale=jnp.ones(2)), "guidance must be a number"),
        ("true for a scale", lambda: guided(scale=True), "guidance must be a number, got True"),
    ):
        yield refused(f"guide_denoiser: {name}", run, says)
    for name, run, says in (
        ("scale -1", lambda: cdcd.guide(LOGITS, LOGITS, -1.0), "at least 0 and finite, got -1"),
        ("scale NaN", lambda: cdcd.guide(LOGITS, LOGITS, np.nan), "at least 0 and finite, got nan"),
        ("shapes", lambda: cdcd.guide(LOGITS, LOGITS[:1], 2.0), "log_null has shape (1, 6, 5)"),
        ("a list", lambda: cdcd.guide([0.0], LOGITS, 2.0), "log_cond must be an array"),
        ("NaN", lambda: cdcd.guide(LOGITS, LOGITS * np.nan, 2.0), "log_null holds no probabilit"),
        ("+inf", lambda: cdcd.guide(LOGITS + np.inf, LOGITS, 2.0), "log_cond holds no probabilit"),
        ("complex", lambda: cdcd.guide(LOGITS * 1j, LOGITS, 2.0), "logits [batch length K], got c"),
        ("a number", lambda: cdcd.guide(LOGITS[0, 0, 0], LOGITS[0, 0, 0], 2.0), "got float32 ()"),
        (
            "checked scale",
            lambda: cdcd.checked(lambda s: cdcd.guide(LOGITS, LOGITS, s))(-2.0),
            "at least 0 and finite, got -2",
        ),
    ):
        yield refused(f"guide: {name}", run, says)
    yield refused(
        "log_posterior: another vocabulary",
        lambda: cdcd.log_posterior(SCHEDULE, LOGITS[..., :3], Z0, STEPS - 1, STEPS),
        "log_p0 must return log-probabilities or logits of shape (2, 6, 5)",
    )
    yield refused(
        "log_posterior: NaN",
        lambda: cdcd.log_posterior(SCHEDULE, LOGITS + np.nan, Z0, STEPS - 1, STEPS),
        "log_p0 gives no probabilities",
    )
    yield refused(
        "log_q_posterior: z0 and zt of other shapes",
        lambda: cdcd.log_q_posterior(SCHEDULE, Z0[:, :3], Z0, STEPS - 1, STEPS),
        "zt must have the shape of z0, (2, 3), got (2, 6)",
    )
