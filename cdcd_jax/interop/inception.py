"""Names in ``pt_inception-2015-12-05-6726825d.pth``, the weights of the Frechet distance."""

import numpy as np

from cdcd_jax.interop.frozen import Layer, frozen_from_state_dict
from cdcd_jax.interop.stored import StateDict
from cdcd_jax.typing import Params

FILE = "pt_inception-2015-12-05-6726825d.pth"
SOURCE = "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights"
"""Where the file is published."""

STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")

_A = (
    "branch1x1", "branch5x5_1", "branch5x5_2",
    "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", "branch_pool",
)  # fmt: skip
_C = (
    "branch1x1", "branch7x7_1", "branch7x7_2", "branch7x7_3",
    "branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5",
    "branch_pool",
)  # fmt: skip
_E = (
    "branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b",
    "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool",
)  # fmt: skip

BLOCKS = {
    "Mixed_5b": _A, "Mixed_5c": _A, "Mixed_5d": _A,
    "Mixed_6a": ("branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    "Mixed_6b": _C, "Mixed_6c": _C, "Mixed_6d": _C, "Mixed_6e": _C,
    "Mixed_7a": (
        "branch3x3_1", "branch3x3_2",
        "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4",
    ),
    "Mixed_7b": _E, "Mixed_7c": _E,
}  # fmt: skip
"""Convolutions of each block."""

LAYERS = {
    **{name: Layer(f"{name}.conv", f"{name}.bn") for name in STEM},
    **{
        f"{block}/{name}": Layer(f"{block}.{name}.conv", f"{block}.{name}.bn")
        for block, names in BLOCKS.items()
        for name in names
    },
    "fc": Layer("fc"),
}
"""Our path -> their names."""


def inception_from_torch(state: StateDict, template: Params) -> Params:
    """Arrange the weights of the Frechet distance's InceptionV3 as ours.

    Args:
        state: What ``read_state_dict`` gives of the file.
        template: What ``jax.eval_shape(network.init, key)`` gives.

    Returns:
        Parameters, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape; torchvision's
            own InceptionV3 is another network and is refused.
    """
    if "AuxLogits.fc.weight" in state or state.get("fc.bias", np.zeros(1008)).shape == (1000,):
        raise ValueError(
            f"This is torchvision's InceptionV3, not the one distances are published with; "
            f"give {FILE} from {SOURCE}."
        )
    return frozen_from_state_dict(
        state, LAYERS, template, network="the InceptionV3 of the Frechet distance", epsilon=1e-3
    )
