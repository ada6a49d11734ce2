"""Command lines: arguments, files and environment, and what a user should get for them."""

import dataclasses
import importlib
from collections.abc import Iterator

from tests.adversarial.cases import Case

TABLES = (
    *("flag_values", "flag_modes", "settings", "config_files", "workdirs", "damage"),
    *("data_places", "weights", "requests", "environments", "signals", "hosts"),
)


def cases() -> Iterator[Case]:
    """Yield the table, whose parts are modules of this folder."""
    for table in TABLES:
        module = importlib.import_module(f"tests.adversarial.command_lines.{table}")
        for case in module.cases():
            yield dataclasses.replace(case, name=f"{table}: {case.name}")
