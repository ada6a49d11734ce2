"""Reading the arrays of a TorchScript archive without PyTorch and without executing it.

OpenAI publishes CLIP in this form. It is a zip of a program (``code/``), which is not looked at,
and of a pickle of the module that the program belongs to. The pickle names classes of that program,
``__torch__...``; here each becomes the same inert holder of attributes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cdcd_jax.interop.stored import StoredTensor
from cdcd_jax.interop.tensor_pickles import stand_in_name
from cdcd_jax.interop.torch_file import ZipUnpickler
from cdcd_jax.reading.archives import open_archive
from cdcd_jax.reading.pickles import brief

PROGRAM = "__torch__"

MOST_MODULES, MOST_ATTRIBUTES = 10_000, 1_000_000
"""The largest CLIP has some hundreds of modules; what has more contains itself."""

LONGEST_NAME = 1000
"""Letters of an array's dotted name."""


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive: a zip with a program beside its pickle."""
    try:
        with open_archive(path) as archive:
            names = archive.namelist()
    except (ValueError, OSError):
        return False
    root = next((name.removesuffix("data.pkl") for name in names if _is_pickle(name)), None)
    return root is not None and any(name.startswith(f"{root}code/") for name in names)


def read_torchscript(path: Path) -> dict[str, StoredTensor]:
    """Read the arrays of a TorchScript module by their dotted names.

    Args:
        path: A file that ``torch.jit.save`` wrote.

    Returns:
        Parameters and buffers, by the names of the module's state dict. Attributes that are no
        tensors are left out.

    Raises:
        ValueError: The file is damaged, its pickle imports anything but tensors, plain containers
            and modules of its own program, or modules contain themselves.
    """
    archive = open_archive(path)  # the storages read from it later
    root = next((name for name in archive.namelist() if _is_pickle(name)), "data.pkl")
    module = _ModuleUnpickler(archive, root.removesuffix("data.pkl"), path).load()
    if not isinstance(module, _Module):
        raise ValueError(f"{path} is a TorchScript archive, but not one of a module.")
    return dict(_arrays(module, path))


class _Module:
    """The attributes of a module, for any class of the program."""

    def __init__(self):
        self.attributes: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _ModuleUnpickler(ZipUnpickler):
    """An unpickler that maps all names of the archive's own program to the holder."""

    def find_class(self, module: str, name: str) -> Any:
        """Answer a name of the pickle, never by importing it."""
        if module.split(".")[0] == PROGRAM:
            return _Module
        return super().find_class(module, name)


def _is_pickle(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/data.pkl")


def _arrays(module: _Module, path: Path) -> Iterator[tuple[str, StoredTensor]]:
    pending, count, attributes = [("", module)], 0, 0
    while pending:
        prefix, parent = pending.pop()
        count += 1
        own = vars(parent).get("attributes", {})
        attributes += len(own)
        too_long = len(prefix) > LONGEST_NAME
        if too_long or count > MOST_MODULES or attributes > MOST_ATTRIBUTES:
            raise ValueError(f"{path} has modules that contain themselves, at {prefix[:60]}")
        # A module that was made but never given its attributes has none.
        for name, value in own.items():
            if stand_in_name(value):
                raise ValueError(
                    f"{path} imports {stand_in_name(value)}, which is neither a tensor nor a "
                    "module of its own program, so it is not read."
                )
            if not isinstance(value, StoredTensor | _Module):
                continue
            if not isinstance(name, str):
                raise ValueError(f"{path} calls an attribute {brief(name)}, which is not a name.")
            if isinstance(value, StoredTensor):
                yield f"{prefix}{name}", value
            else:
                pending.append((f"{prefix}{name}.", value))
