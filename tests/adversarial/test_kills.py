"""A selection of ``python -m tests.adversarial.kills``: a run of some kinds, killed three times."""

import pytest

from tests.adversarial.kills import kill_few


@pytest.mark.slow
@pytest.mark.parametrize("name", ["command line", "codec, one host", "diffusion, two hosts"])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, name):
    """While it starts, steps and saves, with a reader beside it."""
    tally = kill_few(name, tmp_path)
    assert not tally.failures, tally
    assert tally.counts[f"kills: {name}"] == 3
