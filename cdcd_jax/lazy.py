"""Lazy imports of a package's public names."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: Its name.
        names: For each public name the module of the package that has it; a module that is public
            itself has its own name.

    Returns:
        Both.

    >>> get, show = attach("cdcd_jax", {"models": "models", "DenoiseFn": "typing"})
    >>> get("models").__name__, "DenoiseFn" in show()
    ('cdcd_jax.models', True)
    >>> get("model")
    Traceback (most recent call last):
    AttributeError: module 'cdcd_jax' has no attribute 'model'
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{names[name]}")
        value = module if name == names[name] else getattr(module, name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *names})
