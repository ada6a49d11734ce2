"""Evaluations are named after what is evaluated and how."""

from pathlib import Path

from cdcd_jax.cli.evaluate import evaluation_folder

CONFIG = {"data": {"name": "digits", "num_threads": 1}, "eval": {"num_real": 9}, "sample": {}}
OPTIONS = {"seed": 1, "num_samples": 9, "num_steps": (5,), "truncations": (1.0,)}
SAMPLING = {"top_k": None, "temperature": 1.0, "guidance": 1.0}


def folder_of(subject="step000003", evaluation=OPTIONS, sampling=SAMPLING, **config):
    return evaluation_folder(
        Path("run"), subject, evaluation=evaluation, sampling=sampling, config=CONFIG | config
    )


def test_another_request_has_another_folder():
    one = folder_of()
    assert one.parent == Path("run/evaluations")
    assert one.name.startswith("step000003-seed1-num_samples9-num_steps5-truncations1-")
    others = [
        folder_of("step000004"),
        folder_of(evaluation=OPTIONS | {"num_steps": (5, 3)}),
        folder_of(sampling=SAMPLING | {"guidance": 2.0}),
        folder_of(sampling=SAMPLING | {"top_k": 7}),
        folder_of(data={"name": "digits", "test_split": "val"}),
        folder_of(eval={"num_real": 8}),
    ]
    assert len({one, *others}) == 7
    assert folder_of(data=CONFIG["data"] | {"num_threads": 8}) == one
