"""The attack's own bookkeeping: each kind of failure is counted as what it is."""

import pytest

from tests.adversarial.cases import Case, Outcome, call, examine, run_case


def raise_index_error():
    raise IndexError("beyond")


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome(2, "width = -1 is too small"), "passed"),
        (Outcome(0, "width = -1"), "silent"),
        (Outcome(1, "width"), "wrong"),
        (Outcome(2, "something is wrong"), "wrong"),
        (Outcome(2, "width", faults=("a half-written file",)), "wrong"),
        (Outcome(2, "width", seconds=1e4), "hang"),
        (call(raise_index_error), "traceback"),
    ],
)
def test_each_failure_is_counted_as_what_it_is(outcome, kind):
    case = Case("negative width", lambda folder: outcome, says=("width",))
    assert examine(case, outcome).kind == kind
    assert run_case(case).kind == kind
