"""Names in torchvision's ResNet files."""

from cdcd_jax.interop.frozen import Layer, frozen_from_state_dict
from cdcd_jax.interop.stored import StateDict
from cdcd_jax.typing import Params

FILE = "resnet101-63fe2227.pth"
SOURCE = "https://download.pytorch.org/models/resnet101-63fe2227.pth"
"""Where the file is published (``ResNet101_Weights.IMAGENET1K_V1``)."""


def resnet_layers(template: Params) -> dict[str, Layer]:
    """Name the layers of a ResNet of bottleneck blocks.

    Args:
        template: What ``jax.eval_shape(network.init, key)`` gives; it says how many blocks there
            are and which have a shortcut.

    Returns:
        Our path -> their names.
    """
    layers = {"stem": Layer("conv1", "bn1"), "fc": Layer("fc")}
    for stage, blocks in template["stages"].items():
        for index, block in blocks.items():
            ours, theirs = f"stages/{stage}/{index}", f"layer{int(stage) + 1}.{index}"
            for part in ("1", "2", "3"):
                layers[f"{ours}/conv{part}"] = Layer(f"{theirs}.conv{part}", f"{theirs}.bn{part}")
            if "shortcut" in block:
                layers[f"{ours}/shortcut"] = Layer(
                    f"{theirs}.downsample.0", f"{theirs}.downsample.1"
                )
    return layers


def resnet_from_torch(state: StateDict, template: Params) -> Params:
    """Arrange torchvision's weights of a ResNet as ours.

    Args:
        state: What ``read_state_dict`` gives of the file.
        template: What ``jax.eval_shape(network.init, key)`` gives.

    Returns:
        Parameters, float32 NumPy arrays.

    Raises:
        ValueError: Naming the array that is missing, unexpected or of another shape.
    """
    return frozen_from_state_dict(state, resnet_layers(template), template, network="the ResNet")
