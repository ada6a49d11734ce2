"""Names in the files of LPIPS: VGG16's convolutions and the linear layers of LPIPS."""

import numpy as np

from cdcd_jax.interop.frozen import Layer, frozen_from_state_dict
from cdcd_jax.interop.stored import StateDict, read_floats
from cdcd_jax.typing import Params

FILES = ("vgg16-397923af.pth", "vgg.pth")
SOURCES = (
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "https://github.com/richzhang/PerceptualSimilarity/tree/master/lpips/weights/v0.1",
)
"""Where the two files are published. A checkpoint of taming-transformers holds both."""

CONVOLUTIONS = {
    "stages/0/0": ("slice1", 0), "stages/0/1": ("slice1", 2),
    "stages/1/0": ("slice2", 5), "stages/1/1": ("slice2", 7),
    "stages/2/0": ("slice3", 10), "stages/2/1": ("slice3", 12), "stages/2/2": ("slice3", 14),
    "stages/3/0": ("slice4", 17), "stages/3/1": ("slice4", 19), "stages/3/2": ("slice4", 21),
    "stages/4/0": ("slice5", 24), "stages/4/1": ("slice5", 26), "stages/4/2": ("slice5", 28),
}  # fmt: skip
"""Our path -> the part of LPIPS's network that has the layer, and its number in VGG16."""

IGNORED = ("classifier.", "scaling_layer.", "lins.")
"""VGG16's classifier; the constants of the input; ``lin0`` to ``lin4`` under a second name."""


def lpips_from_torch(state: StateDict, template: Params) -> Params:
    """Arrange the weights of LPIPS on VGG16, version 0.1, as ours.

    Args:
        state: Arrays by name: of torchvision's VGG16 and of LPIPS's ``vgg.pth`` together, as in
            ``read_state_dict(first) | read_state_dict(second)``; or of one file that holds both,
            such as the whole LPIPS network or a codec checkpoint of taming-transformers, where what
            is not under the same prefix is ignored.
        template: What ``jax.eval_shape(lpips.init, key)`` gives.

    Returns:
        Parameters, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    state = _without_prefix(state)
    inside = "net.slice1.0.weight" in state
    convolutions = {
        path: Layer(f"net.{part}.{number}" if inside else f"features.{number}")
        for path, (part, number) in CONVOLUTIONS.items()
    }
    learned = {index: f"lin{index}.model.1.weight" for index in template["weights"]}
    params = frozen_from_state_dict(
        {name: array for name, array in state.items() if name not in learned.values()},
        convolutions,
        {"stages": template["stages"]},
        network="LPIPS on VGG16",
        ignored=IGNORED,
    )
    params["weights"] = {
        index: _learned(state, name, template["weights"][index].shape)
        for index, name in learned.items()
    }
    return params


def _without_prefix(state: StateDict) -> StateDict:
    """Return the arrays beside ``lin0``, without the prefix of its name."""
    mark = "lin0.model.1.weight"
    found = sorted(name.removesuffix(mark) for name in state if name.endswith(mark))
    if not found:
        raise ValueError(
            f"The state dict has no {mark}, which LPIPS needs; give {FILES[1]} ({SOURCES[1]}) "
            f"together with {FILES[0]} ({SOURCES[0]})."
        )
    prefix = found[0]
    return {
        name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)
    }


def _learned(state: StateDict, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in state:
        raise ValueError(f"The state dict has no {name}, which LPIPS on VGG16 needs.")
    array = read_floats(state, name)
    if array.shape != (1, *shape, 1, 1):
        raise ValueError(
            f"{name} has the shape {array.shape}, but LPIPS on VGG16 needs {(1, *shape, 1, 1)}."
        )
    return array.reshape(shape)
