import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from cdcd_jax.data.dance import audio as audio_module
from cdcd_jax.data.dance.audio import SAMPLE_RATE, audio_seconds, load_audio, save_wav


def tone(rate, *, seconds=0.5, pitch=440.0):
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channel_count_becomes_the_same_mono_tone(tmp_path, rate, channels):
    path = tmp_path / "tone.flac"
    # The channels' mean is the tone, neither of them is.
    sound = tone(rate)[:, None] * np.array([1.0] if channels == 1 else [1.6, 0.4])[None]
    soundfile.write(path, sound, rate)
    audio = load_audio(path)
    assert audio.dtype == np.float32
    assert len(audio) == SAMPLE_RATE // 2
    # The resampling filter starts and ends on silence, so the edges are left out.
    np.testing.assert_allclose(audio[500:-500], tone(SAMPLE_RATE)[500:-500], atol=1e-4)
    assert audio_seconds(path) == pytest.approx(0.5)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_what_is_too_high_for_the_new_rate_is_taken_away_and_the_rest_kept(tmp_path, rate):
    path = tmp_path / "whistle.wav"

    def decibels(pitch):
        soundfile.write(path, tone(rate, pitch=pitch), rate, subtype="FLOAT")
        audio = load_audio(path)[1000:-1000]
        return 20 * np.log10(np.sqrt(2 * np.mean(audio**2)) / 0.5)

    for pitch in (11_050.0, 11_500.0, 12_000.0, 16_000.0):
        assert decibels(pitch) < -80
    for pitch in (1000.0, 9000.0, 10_000.0):
        assert abs(decibels(pitch)) < 0.1


def test_a_written_file_is_clipped_and_read_back(tmp_path):
    path = tmp_path / "new folder" / "loud.wav"
    audio = np.array([0.25, 3.0, -3.0, 0.0], np.float32)
    save_wav(path, audio)
    info = soundfile.info(path)
    assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", SAMPLE_RATE, 1)
    np.testing.assert_allclose(load_audio(path), np.clip(audio, -1, 1), atol=2**-15)
    assert [file.name for file in path.parent.iterdir()] == ["loud.wav"]


def test_a_refused_sound_leaves_the_old_file(tmp_path):
    path = tmp_path / "old.wav"
    save_wav(path, np.array([0.5]))
    for bad in (np.array([np.nan, 0.1]), np.array([])):
        with pytest.raises(ValueError, match=r"old\.wav"):
            save_wav(path, bad)
    assert load_audio(path).round(2).tolist() == [0.5]


def test_bad_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.wav is not there"):
        load_audio(tmp_path / "nothing.wav")
    with pytest.raises(ValueError, match=r"nothing\.wav is not there"):
        audio_seconds(tmp_path / "nothing.wav")
    (tmp_path / "text.wav").write_text("this is not a sound")
    with pytest.raises(ValueError, match=r"text\.wav cannot be read as sound"):
        load_audio(tmp_path / "text.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    with pytest.raises(ValueError, match=r"empty\.wav holds no sound"):
        load_audio(tmp_path / "empty.wav")
    sound = np.array([0.1, 0.2, np.inf], np.float32)
    soundfile.write(tmp_path / "inf.wav", sound, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"inf\.wav .*sample 2"):
        load_audio(tmp_path / "inf.wav")


@pytest.mark.parametrize("share", [1.0, 0.99])
def test_channels_that_cancel_are_not_averaged(tmp_path, share):
    path = tmp_path / "phase.wav"
    sound = tone(SAMPLE_RATE)
    soundfile.write(path, np.stack([sound, -share * sound], axis=1), SAMPLE_RATE)
    with pytest.warns(UserWarning, match=r"phase\.wav: its channels cancel .* channel 1"):
        audio = load_audio(path)
    np.testing.assert_allclose(audio, sound, atol=1e-4)


@pytest.mark.parametrize("right", [0.0, -0.3, 1.0])
def test_other_channels_are_averaged(tmp_path, right):
    path = tmp_path / "wide.wav"
    sound = tone(SAMPLE_RATE)
    soundfile.write(path, np.stack([sound, right * sound], axis=1), SAMPLE_RATE)
    np.testing.assert_allclose(load_audio(path), (1 + right) / 2 * sound, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*its channels cancel")
@pytest.mark.parametrize("share", [0.3, -0.99])
@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_blocks_become_the_same_samples_as_a_whole_in_little_memory(
    tmp_path, monkeypatch, rate, share
):
    sound = np.random.default_rng(0).normal(0, 0.1, (10 * rate + 7, 2)).astype(np.float32)
    sound[:, 1] = share * sound[:, 0]
    soundfile.write(tmp_path / "long.wav", sound, rate, subtype="FLOAT")
    mono = (sound.mean(axis=1, dtype=np.float64) if share > 0 else sound[:, 0]).astype(np.float64)
    whole = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    monkeypatch.setattr(audio_module, "BLOCK_NUMBERS", 10_001)
    tracemalloc.start()
    audio = load_audio(tmp_path / "long.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(audio, whole.astype(np.float32))
    assert peak < 3 * audio.nbytes
