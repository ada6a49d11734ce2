"""The dancer of the synthetic dances: a figure of 17 joints that hits a pose on every beat.

Between two beats all angles of the body go from one pose to the next along one curve, fastest in
the middle and at rest on the beat. The beat is therefore where the joints are slowest, which is
what the literature calls a kinematic beat (Li et al. 2021, Sec. 5.2.3 takes local minima of the
joints' speed).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

FPS = 60.0
"""Frames per second, as AIST++ has."""

JOINTS = (
    *("pelvis", "left hip", "left knee", "left ankle", "right hip", "right knee", "right ankle"),
    *("spine", "chest", "neck", "head"),
    *("left shoulder", "left elbow", "left wrist", "right shoulder", "right elbow", "right wrist"),
)

EDGES = (
    *((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10)),
    *((8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16)),
)

BODY = ("sway", "twist", "tilt", "lean", "nod")
LIMBS = ("raise", "reach", "elbow", "spread", "lift", "knee")
"""Of each side: the arm's raise to the side and reach forwards, the leg's spread and lift; degrees,
like all of a pose but the sway, which is in centimetres."""

DOWNBEAT_SCALE = 1.35
"""The first beat of a bar has the largest move."""


class Style(NamedTuple):
    """A genre's style of dancing.

    A pose's keys are names of ``BODY``, and of ``LIMBS`` for both sides or after "left" or "right"
    for one.

    Attributes:
        rest: Pose around which the dancer moves.
        beats: What is added on each beat of a bar.
        sharpness: p of a move's speed sin(pi u)^p, 0 <= u <= 1: the higher, the shorter the move
            and the longer the pose is held.
    """

    rest: dict[str, int]
    beats: tuple[dict[str, int], ...]
    sharpness: float


STYLES = {
    # feet: knees come up in turn, arms hang
    "house": Style(
        {"raise": 15, "elbow": 60, "reach": 10, "lift": 12, "knee": 24},
        (
            {"left lift": 45, "left knee": 50, "lean": 8},
            {"right lift": 45, "right knee": 50, "lean": -8},
            {"left lift": 45, "left knee": 50, "lean": 8},
            {"right lift": 45, "right knee": 50, "lean": -8},
        ),
        2.0,
    ),
    # head and one fist
    "rock": Style(
        {"raise": 20, "elbow": 70, "spread": 12, "knee": 10},
        (
            {"nod": 35, "lean": 14},
            {"nod": -15, "right raise": 110, "right elbow": -40},
            {"nod": 35, "lean": 14},
            {"nod": -15, "right raise": 110, "right elbow": -40},
        ),
        3.0,
    ),
    # slow and wide: both arms out, deep knees, hardly anything in between
    "half-time": Style(
        {"raise": 30, "elbow": 15, "spread": 15, "lift": 20, "knee": 40},
        (
            {"raise": 75, "lift": 18, "knee": 36},
            {"raise": 60, "lift": 12, "knee": 24, "nod": 22},
            {"raise": -20, "lift": -8, "knee": -16},
            {"raise": -6, "lift": 0, "knee": 0, "nod": 22},
        ),
        4.5,
    ),
    # hips from side to side, forearms forwards
    "reggae": Style(
        {"raise": 12, "reach": 20, "elbow": 85, "lift": 18, "knee": 36, "lean": 6},
        (
            {"sway": 16, "tilt": 12, "left knee": 14},
            {"sway": -16, "tilt": -12, "right knee": 14},
            {"sway": 16, "tilt": 12, "left knee": 14, "reach": 15},
            {"sway": -16, "tilt": -12, "right knee": 14},
        ),
        1.5,
    ),
    # the trunk turns, arms punch across
    "breakbeat": Style(
        {"raise": 25, "elbow": 45, "spread": 18, "lift": 10, "knee": 30},
        (
            {"twist": 45, "left reach": 80, "left elbow": -35},
            {"twist": -45, "right reach": 80, "right elbow": -35},
            {"twist": 30, "left reach": 60, "left spread": 25},
            {"twist": -30, "right reach": 60, "right spread": 25},
        ),
        4.0,
    ),
}


def dance_groove(
    rng: np.random.Generator, genre: str, *, tempo: float, downbeat: float, seconds: float
) -> Float32[np.ndarray, "frames features"]:
    """Dance to a song of which only tempo, genre and downbeat are known.

    Args:
        rng: Draws the dancer's size, vigour, facing and better hand, and small differences of each
            pose.
        genre: A key of ``STYLES``.
        tempo: Beats per minute, > 0.
        downbeat: When a bar begins, in seconds, <= 0.
        seconds: Length, > 0.

    Returns:
        Positions in metres of the joints, [frames 17 * 3]: x to the dancer's left and z forwards
        where she faces the viewer, y up; the ground is at y = 0.
    """
    style, times = STYLES[genre], np.arange(round(seconds * FPS)) / FPS
    beats = (times - downbeat) * tempo / 60
    poses = _poses(rng, style, int(beats[-1]) + 2)
    before, phase = beats.astype(int), beats % 1
    moved = _ease(phase, style.sharpness)[:, None]
    pose = poses[before] * (1 - moved) + poses[before + 1] * moved
    joints = _place(pose, size=rng.uniform(0.88, 1.12))
    # A sway of half a centimetre, too slow to move the minima of the speed.
    slow = rng.uniform(0.1, 0.3, 3)[None] * times[:, None] + rng.uniform(0, 1, 3)[None]
    joints = joints + 0.005 * np.sin(2 * np.pi * slow)[:, None] * np.array([1.0, 0.0, 1.0])
    joints = joints @ _turn(np.radians(rng.uniform(-40, 40, 1)), axis=1)[0].T
    return joints.reshape(len(times), -1).astype(np.float32)


def _pose(settings: dict[str, int]) -> Float[np.ndarray, " angles"]:
    """Return the value of every angle of a pose: ``BODY``, the left ``LIMBS``, the right ones."""
    body = [settings.get(name, 0) for name in BODY]
    sides = [
        settings.get(name, 0) + settings.get(f"{side} {name}", 0)
        for side in ("left", "right")
        for name in LIMBS
    ]
    return np.array(body + sides, np.float64)


def _poses(
    rng: np.random.Generator, style: Style, num_beats: int
) -> Float[np.ndarray, "beats angles"]:
    """Draw the pose of each beat; half of the dancers are left-handed."""
    numbers = np.arange(num_beats)
    moves = np.stack([_pose(beat) for beat in style.beats])[numbers % 4]
    moves = moves * np.where(numbers % 4 == 0, DOWNBEAT_SCALE, 1.0)[:, None]
    moves = moves * rng.uniform(0.75, 1.2) * rng.uniform(0.9, 1.1, (num_beats, 1))
    poses = _pose(style.rest)[None] + moves + rng.normal(0, 2.5, moves.shape)
    first, arm = len(BODY), len(LIMBS)
    order = [*range(first), *range(first + arm, first + 2 * arm), *range(first, first + arm)]
    signs = np.where(np.isin(np.arange(len(order)), (0, 1, 2)), -1.0, 1.0)
    return poses[:, order] * signs[None] if rng.integers(2) else poses


def _ease(phase: Float[np.ndarray, " frames"], sharpness: float) -> Float[np.ndarray, " frames"]:
    """Integrate sin(pi u)^p from 0 to a phase, as a share of the whole."""
    grid = np.linspace(0, 1, 1025)
    speed = np.sin(np.pi * grid) ** sharpness
    way = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
    return np.interp(phase, grid, way / way[-1])


def _turn(angle: Float[np.ndarray, " frames"], axis: int) -> Float[np.ndarray, "frames 3 3"]:
    """Rotate about an axis, right-handed."""
    matrix = np.zeros((len(angle), 3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, second, first] = np.sin(angle)
    matrix[:, first, second] = -np.sin(angle)
    return matrix


def _point(
    raised: Float[np.ndarray, " frames"], forwards: Float[np.ndarray, " frames"], side: float
) -> Float[np.ndarray, "frames 3"]:
    """Direct a hanging limb: raised to its side first, and forwards by an angle."""
    return np.stack(
        [
            side * np.sin(raised),
            -np.cos(raised) * np.cos(forwards),
            np.cos(raised) * np.sin(forwards),
        ],
        axis=-1,
    )


def _place(
    pose: Float[np.ndarray, "frames angles"], *, size: float
) -> Float[np.ndarray, "frames joints 3"]:
    """Compute the joints from the angles, with the lower foot on the ground."""
    sway, twist, tilt, lean, nod = np.radians(pose[:, : len(BODY)]).T
    trunk = _turn(twist, 1) @ _turn(-tilt, 2) @ _turn(lean, 0)
    hips, up = _turn(twist * 0.3, 1), np.array([0.0, 1.0, 0.0])
    pelvis = np.stack([np.degrees(sway) / 100, 0 * sway, 0 * sway], axis=-1)
    chest = pelvis + 0.48 * trunk @ up
    neck = chest + 0.08 * trunk @ up
    head = neck + 0.18 * trunk @ _turn(nod, 0) @ up
    arms, legs = [], []
    for number, side in enumerate((1.0, -1.0)):
        angles = pose[:, len(BODY) + number * len(LIMBS) :][:, : len(LIMBS)]
        raised, reach, elbow, spread, lift, knee = np.radians(angles).T
        shoulder = chest + trunk @ np.array([0.18 * side, 0.0, 0.0])
        joint = shoulder + 0.29 * (trunk @ _point(raised, reach, side)[..., None])[..., 0]
        wrist = joint + 0.26 * (trunk @ _point(raised, reach + elbow, side)[..., None])[..., 0]
        arms += [shoulder, joint, wrist]
        hip = pelvis + hips @ np.array([0.1 * side, 0.0, 0.0])
        bend = hip + 0.43 * (hips @ _point(spread, lift, side)[..., None])[..., 0]
        ankle = bend + 0.42 * (hips @ _point(spread, lift - knee, side)[..., None])[..., 0]
        legs += [hip, bend, ankle]
    spine = pelvis + 0.25 * trunk @ up
    joints = size * np.stack([pelvis, *legs, spine, chest, neck, head, *arms], axis=1)
    lowest = np.minimum(joints[:, 3, 1], joints[:, 6, 1])
    return joints - lowest[:, None, None] * up
