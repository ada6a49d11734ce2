"""A selection of the adversarial command lines, one of each kind; one command runs them all."""

import pytest

from tests.adversarial.cases import run_case
from tests.adversarial.command_lines import cases

SELECTED = (
    "flag_values: mode of 100,000 letters",
    "flag_values: devices is infinite",
    "flag_values: no workdir but spaces",
    "flag_values: profile is 5,000 digits",
    "flag_values: help",
    "flag_modes: seed=4 with train",
    "flag_modes: gif with codec",
    "flag_modes: heads that do not divide",
    "flag_modes: a mask without an image",
    "requests: edit with a box that leaves the image",
    "requests: edit with a mask of another size",
    "settings: misspelt: optimizer.b3=0.9",
    "settings: no section train",
    "settings: train.batch_size is 10**30",
    "settings: eval.truncations = (nan,)",
    "config_files: configuration: a syntax error",
    "config_files: configuration: an exit with 0",
    "config_files: in a configuration: config.tarin = {'seed': 3}",
    "config_files: a configuration that is a folder",
    "workdirs: train: a bucket of Google's",
    "workdirs: train: inside a file",
    "workdirs: sample before training",
    "data_places: imagenet: data that are empty",
    "weights: start from a pickle of a command",
    "hosts: a host beyond the last",
    "hosts: without the coordinator",
)
"""Cases that refuse before anything is compiled."""


def test_names_are_unique_and_there_are_enough():
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= 400


@pytest.fixture(scope="module")
def table():
    return {case.name: case for case in cases()}


@pytest.mark.parametrize("name", SELECTED)
def test_a_user_gets_what_is_right(table, name):
    verdict = run_case(table[name])
    assert verdict.kind == "passed", f"{verdict.reason}\n{verdict.outcome.output[-2000:]}"
