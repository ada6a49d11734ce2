"""Classes as what a model is conditioned on."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from cdcd_jax.conditioning.conditioning import MAX_ROWS, Conditioning, Rows
from cdcd_jax.spacing import evenly_spaced


@dataclass(frozen=True, kw_only=True)
class ClassConditioning(Conditioning):
    """Classes.

    Attributes:
        class_names: Names of the classes.
    """

    class_names: tuple[str, ...]
    noun = "classes"
    flag = "label"

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def describe(self) -> str:
        """Count the classes."""
        return f"of {self.num_classes} classes"

    def facts(self) -> dict[str, Any]:
        """Return the names of the classes."""
        return super().facts() | {"class_names": [*self.class_names]}

    def encode(self, request: Any) -> Int[np.ndarray, " requests"]:
        """Turn numbers or names of classes into labels."""
        if request is None:
            return np.arange(self.num_classes, dtype=np.int32)
        if isinstance(request, jax.Array | np.ndarray):
            request = np.asarray(request).tolist()
        several = isinstance(request, Sequence) and not isinstance(request, str | bytes)
        if several and not len(request):
            raise ValueError(
                "request: an empty list is not a class; give a number, a name or several"
            )
        return np.array([self._label(one) for one in (request if several else [request])], np.int32)

    def rows(self, request: Any, num_samples: int) -> Rows:
        """Choose classes that are evenly spaced."""
        labels = self.encode(
            evenly_spaced(self.num_classes, MAX_ROWS) if request is None else request
        )
        return Rows(tuple(self.class_names[label] for label in labels), labels)

    def _label(self, wanted: Any) -> int:
        if isinstance(wanted, str) and wanted in self.class_names:
            return self.class_names.index(wanted)
        if isinstance(wanted, str | bool) or not isinstance(wanted, int | np.integer):
            shown = shorten(repr(wanted), 60)
            raise ValueError(f"request: {shown} is not a class; give its number or its name")
        if not 0 <= wanted < self.num_classes:
            raise ValueError(f"request: label = {wanted} must be in 0..{self.num_classes - 1}")
        return int(wanted)
