"""Misuses of the API that need no compilation; ``python -m tests.adversarial calls`` runs all."""

import pytest
from jaxtyping import config

from tests.adversarial.calls import arrays, edges, keys, networks, options, outputs, schedules
from tests.adversarial.cases import run_case

PARTS = (arrays, keys, options, networks, outputs, schedules)
COMPILED = (" from the network", "checked", "of noise", "noise of")


@pytest.fixture
def as_users_call_it():
    """Leave out the checks of annotations, which tests add: users do not have them."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__.rpartition(".")[2])
@pytest.mark.usefixtures("as_users_call_it")
def test_misuses_end_in_one_sentence(part):
    chosen = [case for case in part.cases() if not any(x in case.name for x in COMPILED)]
    failures = [
        f"{verdict.kind}: {verdict.case.name}: {verdict.reason}: {verdict.outcome.output[-300:]}"
        for verdict in map(run_case, chosen)
        if verdict.kind != "passed"
    ]
    assert not failures, "\n".join(failures)


def test_there_are_enough_and_their_names_differ():
    names = [case.name for part in (*PARTS, edges) for case in part.cases()]
    assert len(names) >= 200
    assert len(names) == len(set(names))
