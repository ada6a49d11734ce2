"""A selection of the table of hostile files; ``python -m tests.adversarial files`` runs all."""

import pytest

from tests.adversarial.cases import run_case
from tests.adversarial.files import cases

EVERY = 24
LONG = ("million", "00,000", "20,000 keys")
"""Cases of many opcodes, each of which the tests' type checks make some hundred times slower."""

TABLE = list(cases())
CHOSEN = [case for case in TABLE if not any(word in case.name for word in LONG)][::EVERY]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_a_hostile_file_is_refused_in_a_sentence_and_in_little_memory(case):
    verdict = run_case(case)
    assert verdict.kind == "passed", (verdict.reason, verdict.outcome.output[-2000:])


def test_the_table_is_large_and_its_names_are_unique():
    names = {case.name for case in TABLE}
    assert len(names) == len(TABLE) >= 300
