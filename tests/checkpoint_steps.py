"""Which checkpoints lie in a folder, told by their names."""

import os

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
