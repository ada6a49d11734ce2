"""``--mode=edit`` for music: the sound outside of the spans is kept to the bit, in a WAV file."""

import re
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from cdcd_jax.cli.editing import count_edits, read_edit, read_original, write_edits
from cdcd_jax.conditioning.condition import no_condition
from cdcd_jax.conditioning.dance_format import DanceFormat
from cdcd_jax.dance_to_music import DanceConditioning
from cdcd_jax.diffusion.schedule import absorbing_schedule
from cdcd_jax.generator import Generator
from cdcd_jax.registry import SOURCES
from cdcd_jax.tasks.dance_to_music import DanceToMusicTask
from cdcd_jax.tasks.images import ImageTask
from cdcd_jax.training.model import Model
from cdcd_jax.visualization.grid import MASK

LENGTH, HOP, CODES = 4, 2205, 9
GENRES = ("house", "rock")
MOTION = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)  # 3 s, 30 tokens
TASK = DanceToMusicTask(None, SOURCES["groove"])
SAMPLING = {"num_steps": 2, "truncation": 1.0, "top_k": None, "temperature": 1.0}


class HopCodec:
    """A codec of which a token is ten times the mean of 0.1 s."""

    grid, vocab_size = (1, LENGTH), CODES

    def encode(self, windows):
        raise AssertionError("a dance is longer than a window")

    decode = encode

    def encode_long(self, audio):
        return np.round(10 * audio.reshape(-1, HOP).mean(axis=1)).astype(np.int32)

    def decode_long(self, tokens):
        return np.repeat(tokens, HOP).astype(np.float32) / 10


def draw_genre(params, key, cond, *, known, **options):
    """Make the tokens 7 of house and 8 of rock."""
    return np.where(np.asarray(known) == CODES, 7 + np.asarray(cond["genre"])[:, None], known)


@pytest.fixture
def generator():
    sizes = DanceFormat(("motion", "genre"), 0.4, LENGTH * HOP, 10.0, 4, 2, genre_names=GENRES)
    codec: Any = HopCodec()
    sampler: Any = draw_genre
    return Generator(
        name="fake",
        schedule=absorbing_schedule(num_steps=4, vocab_size=CODES),
        model=Model(init=lambda key: {}, denoise=lambda params, zt, t, cond: zt),
        params={},
        codec=codec,
        conditioning=DanceConditioning(condition=no_condition(), denoiser={}, dance=sizes),
        sampling=SAMPLING,
        sample_fn=sampler,
        bound_fn=sampler,
    )


def dance(generator, genre):
    return generator.conditioning.read_dance(motion=MOTION, genre=genre)


def write_music(path, seconds, rate=22_050, channels=1):
    levels = np.random.default_rng(1).integers(-(2**15), 2**15, (round(seconds * rate), channels))
    soundfile.write(path, levels.astype(np.int16), rate, subtype="PCM_16")
    return levels[:, 0].astype(np.int16)


def test_spans_are_made_anew_and_the_rest_is_that_of_the_file(generator, tmp_path, capsys):
    before = write_music(tmp_path / "a.wav", 3.0)
    request = read_edit(music=str(tmp_path / "a.wav"), spans=["0.5:1,2:2.25"], strength=1.0)
    wanted = dance(generator, "rock")
    assert count_edits(generator, TASK, request, 1) == 1
    original = read_original(generator, request, wanted)
    write_edits(generator, TASK, tmp_path, request, original, wanted, name="step1", seed=0,
                num_samples=2, **SAMPLING)  # fmt: skip
    changed = np.zeros(before.size, bool)
    for start, end in ((0.5, 1), (2, 2.25)):
        changed[round(start * 22_050) : round(end * 22_050)] = True
    figure, results = (line.partition(": ")[2] for line in capsys.readouterr().out.splitlines())
    for number in range(2):
        after, rate = soundfile.read(f"{results}/{number}.wav", dtype="int16")
        assert rate == 22_050
        np.testing.assert_array_equal(after[~changed], before[~changed])
        assert np.all(after[changed] == round(0.8 * 2**15))
    blue = np.all(np.asarray(Image.open(figure)) == MASK, axis=-1)
    assert blue.any(axis=0).sum() == pytest.approx(0.75 / 3 * 360, abs=8)


def test_another_genre_of_the_same_dance_changes_the_span_alone(generator):
    audio = np.full(3 * 22_050, 0.3, np.float32)
    for genre, level in (("house", 0.7), ("rock", 0.8)):
        request = {"motion": MOTION, "genre": genre}
        for span in ((1.0, 2.0), [(1.0, 1.5), (1.5, 2.0)]):
            made = generator.edit(audio, span, request, num_samples=2)
            assert np.all(made[:, 22_050:44_100] == np.float32(level))
            assert np.all(made[:, :22_050] == audio[0])
            assert np.all(made[:, 44_100:] == audio[0])


def test_a_sound_of_another_rate_or_length_is_converted_with_a_sentence(
    generator, tmp_path, capsys
):
    write_music(tmp_path / "a.wav", 4.0, 44_100, channels=2)
    request = read_edit(music=str(tmp_path / "a.wav"), strength=1.0)
    original = read_original(generator, request, dance(generator, "house"))
    assert original.data.shape == (1, 3 * 22_050)
    assert original.changed.all()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("44,100 samples per second become 22,050, and 2 channels become one")
    assert second == "music: 4.000 s of sound are cut to the 3.000 s of the dance"


def test_a_span_ends_with_the_dance_at_the_latest(generator, tmp_path):
    write_music(tmp_path / "a.wav", 1.0)
    conditioning = generator.conditioning
    longer = conditioning.read_dance(motion=MOTION, genre="house", seconds=2.09)  # of 20 tokens
    for span, right in (("1:2.09", True), ("1:2.2", False), ("2.5:2.7", False)):
        request = read_edit(music=str(tmp_path / "a.wav"), spans=[span], strength=1.0)
        if right:
            assert read_original(generator, request, longer).changed.sum() == 22_050
            continue
        start, _, end = span.partition(":")
        says = f"span = ({float(start)}, {float(end)}) must be seconds (start, end), 0 <= start"
        with pytest.raises(ValueError, match=re.escape(says)):
            read_original(generator, request, longer)


def test_data_of_another_kind_than_the_models_are_named(generator, tmp_path):
    write_music(tmp_path / "a.wav", 1.0)
    music = read_edit(music=str(tmp_path / "a.wav"), strength=1.0)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    image = read_edit(image=str(tmp_path / "a.png"), strength=1.0)
    for task, request, given, says in (
        (TASK, image, 1, "image: this is a model of dances; give --music=FILE instead"),
        (ImageTask(None, SOURCES["folder"]), music, 1, "; give --image=FILE instead"),
        (TASK, music, 0, "motion: this is a model of dances; say what is to be made"),
    ):
        with pytest.raises(ValueError, match=re.escape(says)):
            count_edits(generator, task, request, given)
    with pytest.raises(ValueError, match=re.escape("add --image=FILE, or --music=FILE")):
        read_edit(strength=1.0)
    for span in ("1-2", "1", "a:b", "-1:2", "1:2,"):
        with pytest.raises(ValueError, match=f"span = {span.split(',')[-1]} must be START:END"):
            read_edit(music=str(tmp_path / "a.wav"), spans=[span], strength=1.0)
