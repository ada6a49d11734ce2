"""The condition of dance-to-music: a dance's motion, its video's features and its genre."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdcd_jax.conditioning.condition import Condition
from cdcd_jax.conditioning.motion_reference import MotionEncoder, make_reference_motion
from cdcd_jax.conditioning.motion_temporal import make_temporal_motion
from cdcd_jax.nn import dense, init_dense
from cdcd_jax.typing import Params, PRNGKey, Timed

ENCODERS = {"temporal": make_temporal_motion, "reference": make_reference_motion}


class _Parts(NamedTuple):
    """The parts of a dance that are in use; others are None, or no genres."""

    motion: MotionEncoder | None
    video: int | None
    num_genres: int

    @property
    def names(self) -> set[str]:
        used = {"motion": self.motion, "video": self.video, "genre": self.num_genres}
        return {name for name, part in used.items() if part}


def dance_condition(
    *,
    encoder: str,
    motion: Mapping[str, Any] | None,
    num_genres: int,
    video_features: int | None,
    video_steps: int,
    seconds: float,
    width: int,
    genre_width: int = 256,
    null: str | None = "learned",
) -> Condition:
    """Make a condition of dances.

    ``"temporal"`` gives a token for each few frames of the motion, for each step of the video and
    for the genre, with their times: :class:`~cdcd_jax.typing.Timed`. ``"reference"`` gives one
    token [batch 1 width], dense(motion, mean of the video, genre), as the published models were
    made; it has no time: all positions of the music get the same condition.

    Args:
        encoder: ``"temporal"`` or ``"reference"``.
        motion: Options of ``make_temporal_motion`` without ``width``, or of
            ``make_reference_motion``; None to leave motion out.
        num_genres: 0 to leave genres out.
        video_features: Of a step of the video; None to leave video out.
        video_steps: Steps of the video, evenly spaced over its length.
        seconds: How long the dance is, > 0.
        width: Features of a token.
        genre_width: Features of a genre before it is joined with the rest, for ``"reference"``.
        null: The null condition: ``"learned"`` features (one token, or as many as a dance
            has, at their times), or None for a model that is never without.

    Returns:
        The condition. Its ``cond`` is a dict of what is in use: ``"motion"`` [batch frames
        features], ``"video"`` [batch steps features], ``"genre"`` [batch] int32.

    Raises:
        ValueError: If a value is out of range or nothing is in use; from ``encode`` if ``cond`` has
            other parts, or one of another shape.

    >>> condition = dance_condition(encoder="temporal", motion=None, num_genres=3, width=8,
    ...                             video_features=5, video_steps=2, seconds=4.0)
    >>> params = jax.eval_shape(condition.init, jax.random.key(0))
    >>> cond = {"video": np.ones((1, 2, 5)), "genre": np.array([2])}
    >>> jax.eval_shape(condition.encode, params, cond).features.shape  # at 1 s, 3 s and no time
    (1, 3, 8)
    """
    if encoder not in ENCODERS:
        allowed = ", ".join(f'"{name}"' for name in ENCODERS)
        raise ValueError(f'encoder = "{encoder}" must be one of {allowed}')
    if null not in ("learned", None):
        raise ValueError(f'null = "{null}" must be "learned" for a dance: there is no empty one')
    if motion is None and video_features is None and not num_genres:
        raise ValueError(
            "a dance needs its motion, its video or its genre: set one of motion, video_features "
            "and num_genres"
        )
    sizes: dict[str, int] = {"width": width, "video_steps": video_steps}
    sizes |= {} if video_features is None else {"video_features": video_features}
    sizes |= {"genre_width": genre_width} if num_genres else {}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} = {size} must be at least 1")
    if num_genres < 0 or not seconds > 0.0:
        raise ValueError(
            f"num_genres = {num_genres} may not be negative, and seconds = {seconds} must be above "
            "0"
        )
    if encoder == "reference":
        made = None if motion is None else make_reference_motion(**motion)
        parts = _Parts(made, video_features, num_genres)
        return _joined(parts, video_steps, width, genre_width, null)
    made = None if motion is None else make_temporal_motion(**motion, width=width)
    parts = _Parts(made, video_features, num_genres)
    times = [] if made is None or made.seconds is None else list(made.seconds)
    if video_features is not None:
        times += [(step + 0.5) * seconds / video_steps for step in range(video_steps)]
    times += [float("nan")] * bool(num_genres)
    return _timed(parts, np.array(times, np.float32), video_steps, width, null)


def _joined(
    parts: _Parts, video_steps: int, width: int, genre_width: int, null: str | None
) -> Condition:
    """Make one token of all parts together."""
    features = 0 if parts.motion is None else parts.motion.width
    features += (parts.video or 0) + (genre_width if parts.num_genres else 0)

    def init(key: PRNGKey) -> Params:
        motion_key, genre_key, join_key, null_key = jax.random.split(key, 4)
        params: Params = {"join": init_dense(join_key, features, width)}
        if parts.motion is not None:
            params["motion"] = parts.motion.init(motion_key)
        if parts.num_genres:
            params["genre"] = _init_genres(genre_key, parts.num_genres, genre_width)
        return params | ({"null": _draw(null_key, 1, width)} if null else {})

    def encode(params: Params, cond: Any) -> jax.Array:
        _check(parts, cond, video_steps)
        tokens = []
        if parts.motion is not None:
            tokens.append(parts.motion.apply(params["motion"], jnp.asarray(cond["motion"])))
        if parts.video is not None:
            tokens.append(jnp.asarray(cond["video"], jnp.float32).mean(axis=1, keepdims=True))
        if parts.num_genres:
            tokens.append(_look_up(params["genre"], cond["genre"]))
        return dense(jnp.concatenate(tokens, axis=-1), **params["join"])

    def nothing(params: Params, batch: int) -> jax.Array:
        return jnp.broadcast_to(params["null"][None], (batch, 1, width))

    return Condition(jax.jit(init), encode, nothing if null else None)


def _timed(
    parts: _Parts, times: np.ndarray, video_steps: int, width: int, null: str | None
) -> Condition:
    """Make tokens of all parts, joined along the sequence."""

    def init(key: PRNGKey) -> Params:
        motion_key, video_key, genre_key, null_key = jax.random.split(key, 4)
        params: Params = {}
        if parts.motion is not None:
            params["motion"] = parts.motion.init(motion_key)
        if parts.video is not None:
            params["video"] = init_dense(video_key, parts.video, width)
        if parts.num_genres:
            params["genre"] = _init_genres(genre_key, parts.num_genres, width)
        return params | ({"null": _draw(null_key, len(times), width)} if null else {})

    def at_times(features: jax.Array) -> Timed:
        seconds = jnp.broadcast_to(jnp.asarray(times)[None], features.shape[:2])
        return Timed(features, seconds)

    def encode(params: Params, cond: Any) -> Timed:
        _check(parts, cond, video_steps)
        tokens = []
        if parts.motion is not None:
            tokens.append(parts.motion.apply(params["motion"], jnp.asarray(cond["motion"])))
        if parts.video is not None:
            tokens.append(dense(jnp.asarray(cond["video"], jnp.float32), **params["video"]))
        if parts.num_genres:
            tokens.append(_look_up(params["genre"], cond["genre"]))
        return at_times(jnp.concatenate(tokens, axis=1))

    def nothing(params: Params, batch: int) -> Timed:
        return at_times(jnp.broadcast_to(params["null"][None], (batch, len(times), width)))

    return Condition(jax.jit(init), encode, nothing if null else None)


def _check(parts: _Parts, cond: Any, video_steps: int) -> None:
    given = set(cond) if isinstance(cond, Mapping) else set()
    for name in sorted(parts.names ^ given):
        state = "needs" if name in parts.names else "does not know"
        raise ValueError(f'the condition {state} "{name}"; it takes {sorted(parts.names)}')
    batch = max(jnp.shape(cond[name])[0] for name in given)
    motion = jnp.shape(cond["motion"]) if parts.motion else ()
    shapes = {"motion": (batch, *motion[1:]), "genre": (batch,)}
    shapes["video"] = (batch, video_steps, parts.video)
    for name in sorted(given):
        if jnp.shape(cond[name]) != shapes[name]:
            raise ValueError(
                f"{name} must have the shape {shapes[name]}, but it is {jnp.shape(cond[name])}"
            )


def _init_genres(key: PRNGKey, num_genres: int, width: int) -> Params:
    return {"embedding": jax.random.normal(key, (num_genres, width))}


def _draw(key: PRNGKey, *shape: int) -> jax.Array:
    return 0.02 * jax.random.normal(key, shape)


def _look_up(layer: Params, genre: Any) -> jax.Array:
    """Return the genre's token [batch 1 width], NaN for a number that is none."""
    table = jnp.asarray(layer["embedding"]).at[jnp.asarray(genre)]
    found = table.get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
    return found[:, None]
