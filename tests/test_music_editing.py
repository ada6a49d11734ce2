"""Editing of music: continuation, infilling, and what is kept of the sound."""

import re

import numpy as np
import pytest

from cdcd_jax.conditioning.condition import no_condition
from cdcd_jax.conditioning.dance_format import DanceFormat
from cdcd_jax.dance_to_music import DanceConditioning

LENGTH, HOP, MASK = 4, 2205, 9
DANCE = {"motion": np.zeros((30, 2), np.float32)}  # 3 s at 10 frames a second, 30 tokens


class HopCodec:
    """A codec of which a token is ten times the mean of 0.1 s."""

    grid, vocab_size = (1, LENGTH), MASK

    def encode_long(self, audio):
        return np.round(10 * audio.reshape(-1, HOP).mean(axis=1)).astype(np.int32)

    def decode_long(self, tokens):
        return np.repeat(tokens, HOP).astype(np.float32) / 10


@pytest.fixture
def kind():
    sizes = DanceFormat(("motion",), 0.4, LENGTH * HOP, 10.0, 4, 2)
    return DanceConditioning(condition=no_condition(), denoiser={}, dance=sizes)


def edit(kind, data, mask, *, noised=False, num_samples=None):
    """Edit with a model that makes token 7; return sound and the calls' known and start tokens."""
    calls = []

    def draw(key, cond, *, known, start=None):
        calls.append((np.asarray(known), start))
        return np.where(np.asarray(known) == MASK, 7, known)

    original = kind.read_original(HopCodec(), data, mask, DANCE)
    tokens = kind.generate(
        draw,
        DANCE,
        num_samples=num_samples,
        seed=0,
        length=LENGTH,
        mask_id=MASK,
        given=original.rows(MASK, noised=noised),
    )
    return kind.present(HopCodec(), tokens, original=original), calls


def sound(seconds):
    return np.random.default_rng(0).uniform(0.2, 0.4, round(seconds * 22050)).astype(np.float32)


def test_a_continuation_keeps_what_there_is(kind):
    audio = sound(1.25)
    made, calls = edit(kind, audio, (1.25, 3.0))
    np.testing.assert_array_equal(made[0, : audio.size], audio)
    np.testing.assert_array_equal(made[0, audio.size :], np.float32(0.7))
    assert len(calls) < 14  # windows that are known whole are not drawn
    assert {*np.unique(calls[0][0])} <= {3, MASK}
    nothing = np.zeros(audio.size, bool)
    np.testing.assert_array_equal(edit(kind, audio, nothing)[0], made)


def test_infilling_changes_the_span_and_nothing_else(kind):
    audio = sound(3.0)
    made, calls = edit(kind, np.stack([audio, audio / 2]), (1.0, 1.55), noised=True, num_samples=3)
    changed = np.zeros(audio.size, bool)
    changed[22050 : round(1.55 * 22050)] = True
    for row, before in zip(made, (audio, audio / 2, audio), strict=True):
        np.testing.assert_array_equal(row[~changed], before[~changed])
        np.testing.assert_array_equal(row[changed], np.float32(0.7))
    assert all(start.shape == known.shape == (3, LENGTH) for known, start in calls)
    np.testing.assert_array_equal(edit(kind, audio, changed)[0][0], made[0])
    np.testing.assert_array_equal(edit(kind, audio, ~changed & changed)[0][0], audio)
    assert np.all(edit(kind, audio, None)[0] == np.float32(0.7))


def test_a_longer_sound_is_cut_with_a_sentence(kind):
    with pytest.warns(UserWarning, match=re.escape("3.500 s of sound are cut to the 3.000 s")):
        made, _ = edit(kind, sound(3.5), (0.0, 0.1))
    assert made.shape == (1, 3 * 22050)


@pytest.mark.parametrize(
    ("data", "mask", "message"),
    [
        (sound(1.0), (2.0, 1.0), "mask = (2.0, 1.0) must be seconds (start, end)"),
        (sound(1.0), (0.0, 4.0), "0 <= start < end <= 3.00"),
        (sound(1.0), ("a", "b"), "mask = ('a', 'b') must be seconds"),
        (sound(1.0), (float("nan"), 2.0), "must be seconds (start, end)"),
        (sound(1.0), np.ones(5, bool), "mask must be booleans of the sound's 22050 samples"),
        (sound(1.0), [(0.0, 0.5), (0.4, 9.0)], "mask = (0.4, 9.0) must be seconds"),
        (sound(1.0), (1, 2, 3, 4), "or seconds (start, end), got object of shape (4,)"),
        (sound(1.0)[:0], (0.0, 1.0), "data must be one sound [samples] or a batch"),
        (sound(1.0)[None, None], (0.0, 1.0), "got the shape (1, 1, 22050)"),
        (np.int16(sound(1.0) * 2**14), (0.0, 1.0), "data must be sound as floats -1..1, got int16"),
        (sound(1.0) * 90, (0.0, 1.0), "data must be sound as floats -1..1, but it reaches"),
        ("song.wav", (0.0, 1.0), "data must be sound as floats -1..1, got <U8"),
        (sound(1.0), (0.5, 0.50001), "mask = (0.5, 0.50001) is shorter than a sample"),
        (sound(1.0) * np.nan, (0.0, 1.0), "data holds a value that is not finite"),
    ],
)
def test_a_wrong_sound_or_span_is_named(kind, data, mask, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        edit(kind, data, mask)
