"""Which checkpoints are in a folder, told by their names, and what is in one."""

import json
import os

import numpy as np
from orbax.checkpoint import v1 as ocp

SAVING = ".orbax-checkpoint-tmp"
"""What the name of a checkpoint that is being written ends with, or of one that was."""


def newest_step(checkpoints, suffix=""):
    """Return the newest step whose folder's name has a suffix, 0 if there is none."""
    names = os.listdir(checkpoints) if checkpoints.exists() else []
    steps = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
    return max((int(step) for step in steps if step.isdigit()), default=0)


def newest_begun(checkpoints):
    """Return the newest step of which a save has begun, 0 if there is none."""
    return max(newest_step(checkpoints), newest_step(checkpoints, SAVING))


def load_arrays(checkpoint):
    """Return all arrays of a checkpoint by name, and what it says of the data's position."""
    path = str(checkpoint.absolute())
    found = ocp.checkpointables_metadata(path)
    wanted = {
        name: np.empty(leaf.shape, leaf.dtype) for name, leaf in found.metadata["state"].items()
    }
    arrays = ocp.load_checkpointables(path, {"state": wanted})["state"]
    position = json.dumps(found.custom_metadata["data"], sort_keys=True).encode()
    return arrays | {"data": np.frombuffer(position, np.uint8)}
