"""Motion files: how a body moves, as one array [frames features].

Three kinds of features are known:

    219  SMPL (Loper et al. 2015): the body's translation divided by its scale, then 24 rotation
         matrices row by row. This is how AI Choreographer (Li et al. 2021) makes features of
         AIST++, and the number of features of the published dance-to-music models.
    51   COCO's 17 key points in three dimensions, as AIST++ has them besides.
    75   OpenPose's 25 key points of an image: x, y and confidence (TikTok Dance-Music).

Any other array of numbers is taken as it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from cdcd_jax.reading.array_pickles import load_pickle
from cdcd_jax.reading.arrays import is_npy, read_npy, read_npz

NUM_ROTATIONS = 24
"""Joints of SMPL that turn, the root first."""

SMPL_KEYS = ("smpl_poses", "smpl_trans", "smpl_scaling")

KEY_POINTS = ("keypoints3d_optim", "keypoints3d")
"""Names in AIST++'s files: the first is smoothed over time, and taken where both are there."""

COCO_EDGES = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12)),
    *((11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),
)

OPENPOSE_EDGES = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11)),
    *((8, 12), (12, 13), (13, 14), (0, 15), (15, 17), (0, 16), (16, 18)),
    *((14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24)),
)


EDGES = {51: COCO_EDGES, 75: OPENPOSE_EDGES}
"""Pairs of joints to draw, by the number of features."""


def find_joints(motion: Float[np.ndarray, "frames features"]) -> np.ndarray | None:
    """Return features as key points, whose format follows from their number: [frames joints 3].

    Of OpenPose's, y of an image points downwards and is turned; the third number is a confidence,
    not a depth, and becomes 0. Rotations are not positions without the body model, which has a
    licence of its own: None.

    >>> find_joints(np.ones((1, 75)))[0, 0].tolist(), find_joints(np.ones((1, 219)))
    ([1.0, -1.0, 0.0], None)
    """
    if motion.shape[1] == 51:
        return motion.reshape(len(motion), 17, 3)
    if motion.shape[1] == 75:
        return motion.reshape(len(motion), 25, 3) * np.array([1, -1, 0], motion.dtype)
    return None


def load_motion(path: str | Path) -> Float32[np.ndarray, "frames features"]:
    """Read a motion file.

    Args:
        path: ``.pkl`` of AIST++ (SMPL parameters or key points), read without executing anything;
            ``.npz`` with the same names or one array; ``.npy`` of [frames features] or
            [frames joints coordinates].

    Returns:
        Features as above; more than two axes are joined to one behind the frames.

    Raises:
        ValueError: If the file is missing, damaged, or holds no motion.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "still.npy"
    >>> np.save(path, np.zeros((60, 25, 3)))
    >>> load_motion(path).shape
    (60, 75)
    """
    path = Path(path)
    held = load_pickle(path) if path.suffix in (".pkl", ".pickle") else _load_numpy(path)
    if isinstance(held, Mapping):
        if SMPL_KEYS[0] in held:
            return _smpl_file(held, path)
        names = [name for name in KEY_POINTS if name in held] or list(held)
        if not names or (len(held) > 1 and names[0] not in KEY_POINTS):
            raise ValueError(
                f"{path} has neither {SMPL_KEYS[0]} nor {KEY_POINTS[1]}, but "
                f"{', '.join(map(str, held)) or 'nothing'}; give a motion file"
            )
        held = held[names[0]]
    return _check_motion(held, path)


def motion_frames(path: str | Path) -> int:
    """Count the frames of a motion file; reads no more of a ``.npy`` than its header.

    Raises:
        ValueError: See ``load_motion``.
    """
    path = Path(path)
    if path.suffix != ".npy":
        return len(load_motion(path))
    array = _load_numpy(path, mapped=True)
    return len(array) if array.ndim else 0


def smpl_features(
    poses: Float[np.ndarray, "frames 72"],
    translation: Float[np.ndarray, "frames 3"],
    scaling: float,
) -> Float32[np.ndarray, "frames 219"]:
    """Turn SMPL parameters into features: t / s, then exp([w]x) of each of 24 axis-angle vectors w.

    Args:
        poses: 24 vectors in a row; a vector's length is the angle in radians.
        translation: Of the body, in AIST++'s units.
        scaling: Of the body, > 0.

    Returns:
        Translation first, then the matrices row by row.

    >>> features = smpl_features(np.zeros((1, 72)), np.array([[2.0, 4.0, 6.0]]), 2.0)
    >>> features[0, :12].tolist()
    [1.0, 2.0, 3.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    """
    # A frame that is not finite stays one: whoever uses it can then name it.
    known = np.isfinite(poses).all(axis=1)
    matrices = np.full((len(poses), 9 * NUM_ROTATIONS), np.nan)
    if known.any():
        turns = Rotation.from_rotvec(poses[known].reshape(-1, 3))
        matrices[known] = turns.as_matrix().reshape(-1, 9 * NUM_ROTATIONS)
    return np.concatenate([translation / scaling, matrices], axis=1).astype(np.float32)


def _smpl_file(held: Mapping[Any, Any], path: Path) -> Float32[np.ndarray, "frames 219"]:
    try:
        poses, translation, scaling = (np.asarray(held[key], np.float64) for key in SMPL_KEYS)
    except KeyError as error:
        raise ValueError(f"{path} has no {error.args[0]} beside its {SMPL_KEYS[0]}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds SMPL parameters that are not numbers") from error
    poses = poses.reshape(len(poses), -1) if poses.ndim else poses
    frames = len(poses) if poses.ndim else 0
    if not frames or poses.shape[1] != 3 * NUM_ROTATIONS or translation.shape != (frames, 3):
        raise ValueError(
            f"{path} must hold {SMPL_KEYS[0]} [frames 72] and {SMPL_KEYS[1]} [frames 3], "
            f"not {list(poses.shape)} and {list(translation.shape)}"
        )
    if scaling.size != 1 or not scaling.item() > 0:
        raise ValueError(f"{path} must hold one positive {SMPL_KEYS[2]}, not {scaling!r:.60}")
    return smpl_features(poses, translation, scaling.item())


def _load_numpy(path: Path, *, mapped: bool = False) -> Any:
    """Read an array, or a dict of those of an archive; arrays of objects are refused."""
    try:
        return read_npy(path, mapped=mapped) if is_npy(path) else read_npz(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not there; a motion file is needed") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an array: {why_not_read(error)}") from error


def why_not_read(error: Exception) -> str:
    """Explain why an array cannot be read."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"it holds no array of numbers, or was not downloaded whole ({error!s:.240})"


def _check_motion(held: Any, path: Path) -> Float32[np.ndarray, "frames features"]:
    array = held if isinstance(held, np.ndarray) else np.array([])
    if array.ndim < 2 or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{path} must hold numbers [frames features] or [frames joints coordinates], not "
            + (f"{array.dtype} {list(array.shape)}" if array is held else type(held).__name__)
        )
    return array.reshape(len(array), -1).astype(np.float32)
