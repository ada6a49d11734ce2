"""Values of a configuration, and arrays of a tree, by name."""

from collections.abc import Mapping
from typing import Any

import jax

from cdcd_jax.build.sections import plain


def set_values(config: Any, values: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a copy of a configuration with other values.

    Args:
        config: The whole configuration.
        values: By section and key. The sections ``schedule`` and ``condition`` are replaced where
            they are of another kind, keys and all; in others the keys that are named change.

    Returns:
        The copy.
    """
    changed = config.copy_and_resolve_references()
    with changed.unlocked(), changed.ignore_type():
        for name, section in values.items():
            kind = "name" if name == "schedule" else "kind"
            replaced = name == "schedule" or section.get(kind, None) not in (
                None,
                changed[name].get(kind),
            )
            if replaced:
                changed[name] = {}
            for key, value in section.items():
                changed[name][key] = value
    return changed


def flatten_values(config: Any) -> dict[str, Any]:
    """Name each value of a configuration by its section and key."""
    return {
        f"{name}.{key}": value
        for name, part in plain(config).items()
        for key, value in part.items()
    }


def flatten_shapes(tree: Any) -> dict[str, Any]:
    """Name the leaves of a tree of shapes as ``flatten`` names arrays."""
    return {
        "/".join(str(entry.key) for entry in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
