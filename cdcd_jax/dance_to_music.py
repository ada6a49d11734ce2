"""Dances as what a model is conditioned on, and music for a whole one.

That is made in windows that overlap, each going on from the one before.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from cdcd_jax.conditioning.conditioning import Conditioning, DrawFn, check_data, deal
from cdcd_jax.conditioning.dance_format import DanceFormat
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.segments import cut_video
from cdcd_jax.editing import Original, fit_sounds, free_tokens
from cdcd_jax.io import is_first_host


class DanceInput(NamedTuple):
    """A whole dance that music is made for.

    Attributes:
        motion: [frames features].
        parts: What the model is conditioned on besides: the genre, the same in every window, and
            the video, which is cut by its time.
        seconds: How much music there will be.
        format: What the model takes of it.
    """

    motion: np.ndarray
    parts: dict[str, np.ndarray]
    seconds: float
    format: DanceFormat

    @property
    def frames(self) -> np.ndarray:
        """The motion while there is music."""
        return self.motion[: round(self.seconds * self.format.fps)]


@dataclass(frozen=True, kw_only=True)
class DanceConditioning(Conditioning):
    """Dances, for which music is made.

    Attributes:
        dance: Sizes and rates of the dances.
    """

    dance: DanceFormat
    noun = "dances"
    flag = "motion"
    by_example = True

    @property
    def parts(self) -> tuple[str, ...]:
        """What of a dance the model is conditioned on."""
        return self.dance.parts

    def describe(self) -> str:
        """Name music."""
        return "music for dances"

    def facts(self) -> dict[str, Any]:
        """Return the sizes and rates."""
        return super().facts() | {"dance": self.dance.to_json()}

    def encode(self, request: Any) -> dict[str, np.ndarray]:
        """Take windows of dances, as arrays with a row for each."""
        if not isinstance(request, Mapping) or {*request} != {*self.parts}:
            wanted = ", ".join(f'"{name}"' for name in self.parts)
            raise ValueError(f"request: give a dict of {wanted}, arrays with a row for each window")
        return {name: np.asarray(rows) for name, rows in request.items()}

    def generate(
        self,
        draw: DrawFn,
        request: Any,
        *,
        num_samples: int | None,
        seed: int,
        length: int,
        mask_id: int,
        given: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> Int[np.ndarray, "samples tokens"]:
        """Draw the tokens of a whole dance's music, once unless ``num_samples`` says otherwise.

        Args:
            draw: See ``generate_music``, as for the rest.
            request: A dict of ``"motion"``, ``"genre"`` and ``"video"``, or what ``read_dance``
                returned.
            num_samples: How many times it is made, all different.
            seed: Seed of the music.
            length: Tokens of a window.
            mask_id: The mask.
            given: Tokens of what is edited, as for other conditions.
        """
        dance = request if isinstance(request, DanceInput) else self._read(request)
        return generate_music(
            draw,
            dance,
            length=length,
            mask_id=mask_id,
            seed=seed,
            num_samples=num_samples or max(map(len, given.values()), default=1),
            given=given,
        )

    def read_dance(
        self,
        *,
        motion: Any,
        genre: str | int | None = None,
        video: Any = None,
        seconds: int | float | None = None,
        source: str = "motion",
        video_source: str = "video",
        **unknown: Any,
    ) -> DanceInput:
        """Check a dance against what the model takes.

        Args:
            motion: [frames features].
            genre: Name or number, for models that are conditioned on it.
            video: [steps features] of the whole dance, likewise.
            seconds: How much of the dance; all if None.
            source: What the motion is called in a sentence, such as its file.
            video_source: What the video is called.
            **unknown: Refused.

        Returns:
            The dance.

        Raises:
            ValueError: If it has other features or is too short, or a part is missing or not used.
        """
        if unknown:
            raise ValueError(f"request: {min(unknown)} is not part of a dance")
        wanted, motion = self.dance, np.asarray(motion, np.float32)
        if motion.ndim != 2 or motion.shape[1] != wanted.num_features:
            raise ValueError(
                f"{source} has {motion.shape[-1] if motion.ndim == 2 else motion.shape} features a "
                f"frame, and the model was trained on {wanted.num_features}"
            )
        bad = np.flatnonzero(~np.isfinite(motion).all(axis=1))
        if bad.size:
            raise ValueError(f"{source} holds a value that is not finite in frame {bad[0]}")
        lasting = len(motion) / wanted.fps
        seconds = lasting if seconds is None else min(seconds, lasting)
        if len(motion) < wanted.frames or seconds * SAMPLE_RATE < wanted.samples:
            raise ValueError(
                f"{source} and seconds leave {seconds:.2f} s, and the model makes music of at "
                f"least {wanted.seconds:g} s; give a longer dance"
            )
        names = wanted.genre_names
        needed = {
            "genre": f"--genre, one of {', '.join(names)}",
            "video": f"--video=FILE.npy, [steps {wanted.video_features}] features of the "
            "dance's video",
        }
        for name, given in {"genre": genre, "video": video}.items():
            if given is not None and name not in wanted.parts:
                raise ValueError(f"{name}: the model was trained without it; leave it out")
            if given is None and name in wanted.parts:
                raise ValueError(
                    f"{name} is not given, and the model was trained with it and has no null "
                    f"condition; add {needed[name]}"
                )
        parts: dict[str, np.ndarray] = {}
        if genre is not None:
            parts["genre"] = np.array(_find_genre(genre, names), np.int32)
        if video is not None:
            parts["video"] = np.atleast_2d(np.asarray(video, np.float32))
            if parts["video"].shape[1] != wanted.video_features:
                raise ValueError(
                    f"{video_source} has {parts['video'].shape[1]} features a step, and the model "
                    f"was trained on {wanted.video_features}"
                )
        return DanceInput(motion, parts, seconds, wanted)

    def require_images(self, what: str) -> None:
        """Raise a ValueError."""
        raise ValueError(f"{what} is for images, and these samples are sound")

    def prepare(self, data: np.ndarray) -> np.ndarray:
        """Check sound [batch samples]."""
        return check_data(data)

    def read_original(self, codec: Any, data: Any, mask: Any, request: Any = None) -> Original:
        """Turn sound that is edited into tokens, as many as are generated for a dance.

        Args:
            codec: What encodes it.
            data: One sound [samples] or a batch, see ``editing.fit_sounds``.
            mask: What may change, seconds or samples.
            request: The dance, as for ``generate``.

        Raises:
            ValueError: If it is no sound or dance, or the mask is not of it.
        """
        dance = request if isinstance(request, DanceInput) else self._read(request)
        length = math.prod(codec.grid)
        total, hop = count_tokens(dance, length), self.dance.samples // length
        sounds, changed = fit_sounds(data, mask, total * hop, SAMPLE_RATE, seconds=dance.seconds)
        tokens = np.stack([codec.encode_long(sound) for sound in check_data(sounds)])
        return Original(sounds, changed, tokens, free_tokens(changed, (total,)))

    def present(
        self,
        codec: Any,
        tokens: np.ndarray,
        *,
        as_pil: bool = False,
        original: Original | None = None,
    ) -> np.ndarray:
        """Turn tokens of any number into sound."""
        del as_pil  # which is refused before
        sound = np.stack([codec.decode_long(row) for row in tokens])
        return sound if original is None else original.paste(sound)

    def _read(self, request: Any) -> DanceInput:
        if not isinstance(request, Mapping) or "motion" not in request:
            raise ValueError(
                'request: this is a model of dances; give a dict with "motion" [frames features] '
                'and, where it is conditioned on them, "genre" and "video"'
            )
        return self.read_dance(**request)


def count_tokens(dance: DanceInput, length: int) -> int:
    """Count the tokens of a whole dance's music, of which a window has a length."""
    return int(dance.seconds / (dance.format.samples / length / SAMPLE_RATE))


def generate_music(
    draw: DrawFn,
    dance: DanceInput,
    *,
    length: int,
    mask_id: int,
    seed: int,
    num_samples: int = 1,
    given: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Int[np.ndarray, "samples tokens"]:
    """Generate the tokens of a whole dance's music.

    The next window begins in the middle of the one before, is conditioned on that part of the
    dance, and keeps the tokens that are already there; the last one ends with the dance.

    Args:
        draw: Draws a window of each sample; ``cond`` is a dict with a row for each.
        dance: From ``DanceConditioning.read_dance``.
        length: Tokens of a window.
        mask_id: The mask.
        seed: Seed of the music.
        num_samples: How many times it is made, all different.
        given: Tokens ``known`` and ``start`` of whole pieces, dealt out to the samples in turn.

    Returns:
        Tokens of each sample.
    """
    per_token = dance.format.samples / length / SAMPLE_RATE
    total = count_tokens(dance, length)
    starts = [*range(0, total - length, length - length // 2), total - length]
    rows = {name: deal(pieces, num_samples) for name, pieces in given.items()}
    tokens = rows.pop("known", np.full((num_samples, total), mask_id, np.int32))
    for number, start in enumerate(
        tqdm(starts, desc="music", unit="window", disable=not is_first_host())
    ):
        inside = np.s_[:, start : start + length]
        if not np.any(tokens[inside] == mask_id):
            continue
        key = jax.random.fold_in(jax.random.key(seed), number)
        window = _cut(dance, start * per_token)
        cond = {name: np.repeat(part[None], num_samples, axis=0) for name, part in window.items()}
        parts = {name: jnp.asarray(pieces[inside]) for name, pieces in rows.items()}
        known = jnp.asarray(tokens[inside])
        tokens[inside] = np.asarray(draw(key, cond, known=known, **parts))
    return tokens


def _cut(dance: DanceInput, start: float) -> dict[str, np.ndarray]:
    """Cut out what the model is conditioned on in a window."""
    dance_format, window = dance.format, dict(dance.parts)
    if "motion" in dance_format.parts:
        first = round(start * dance_format.fps)
        first = min(first, len(dance.motion) - dance_format.frames)
        window["motion"] = dance.motion[first : first + dance_format.frames]
    if "video" in dance_format.parts:
        lasting = len(dance.motion) / dance_format.fps
        place = (start / lasting, dance_format.seconds / lasting)
        steps = dance_format.video_steps
        video = window["video"]
        window["video"] = cut_video(video, *place, steps) if steps else _mean_video(video, *place)
    return window


def _mean_video(video: np.ndarray, start: float, share: float) -> np.ndarray:
    """Average the steps whose middles are in a window, or take the one that it is in."""
    middles = (np.arange(len(video)) + 0.5) / len(video)
    inside = (start <= middles) & (middles < start + share)
    if not inside.any():
        inside[min(int((start + share / 2) * len(video)), len(video) - 1)] = True
    return video[inside].mean(axis=0, keepdims=True)


def _find_genre(genre: str | int, names: tuple[str, ...]) -> int:
    if genre in names:
        return names.index(str(genre))
    if str(genre).isdecimal() and int(genre) < len(names):
        return int(genre)
    raise ValueError(
        f'genre = "{genre}" must be one of {", ".join(names)}, or its number, 0..{len(names) - 1}'
    )
