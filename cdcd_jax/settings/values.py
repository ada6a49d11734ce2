"""Copies of a configuration with other values."""

from collections.abc import Mapping
from typing import Any


def set_values(config: Any, values: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a copy of a configuration with other values.

    Args:
        config: The whole configuration.
        values: By section and key. The section ``schedule``, and one of another ``kind`` than it
            was, are replaced with all of their keys; in others the keys that are named change.

    Returns:
        The copy.
    """
    changed = config.copy_and_resolve_references()
    with changed.unlocked(), changed.ignore_type():
        for name, section in values.items():
            was = changed[name].get("kind")
            if name == "schedule" or section.get("kind", was) != was:
                changed[name] = {}
            for key, value in section.items():
                changed[name][key] = value
    return changed
