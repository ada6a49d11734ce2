"""Whole and cut files of every container, written by libsndfile or byte by byte."""

import struct

import numpy as np
import pytest
import soundfile

from cdcd_jax.data.dance.audio import audio_seconds, load_audio
from cdcd_jax.data.dance.audio_truncation import _walk_frames, find_missing

KINDS = {
    "wav": {},
    "aiff": {},
    "flac": {},
    "mp3": {},
    "ogg": {"subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "rf64": {"format": "RF64"},
}


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    sound = np.random.default_rng(0).normal(0, 0.1, (48_000, 2))
    for kind, options in KINDS.items():
        soundfile.write(folder / f"noise.{kind}", sound, 48_000, **options)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read_and_a_cut_one_refused(whole_files, tmp_path, kind):
    content = (whole_files / f"noise.{kind}").read_bytes()
    path = tmp_path / f"song.{kind}"
    path.write_bytes(content)
    assert len(load_audio(path)) == 22_050
    for share in (0.05, 0.5, 0.9, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        for read in (load_audio, audio_seconds):
            with pytest.raises(ValueError, match=rf"song\.{kind} is cut short: it lacks"):
                read(path)


def test_what_is_no_part_of_the_sound_may_follow_it(whole_files, tmp_path):
    tagged = {"mp3": b"TAG" + bytes(125), "wav": b"LIST\xff\xff\0\0cut", "ogg": b"\0\0"}
    for kind, tail in tagged.items():
        path = tmp_path / f"tagged.{kind}"
        path.write_bytes((whole_files / f"noise.{kind}").read_bytes() + tail)
        assert find_missing(path) is None
    front = b"ID3\4\0\0" + bytes([0, 0, 1, 2]) + bytes(130)
    path = tmp_path / "front.mp3"
    content = front + (whole_files / "noise.mp3").read_bytes()
    path.write_bytes(content)
    assert find_missing(path) is None
    path.write_bytes(content[:-100])
    assert find_missing(path) == "a part of its last frame"


def test_a_wav_written_into_a_pipe_is_whole(whole_files, tmp_path):
    content = bytearray((whole_files / "noise.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)
    path = tmp_path / "piped.wav"
    path.write_bytes(content)
    assert find_missing(path) is None


def test_frames_that_the_first_one_announces_must_be_there(whole_files, tmp_path):
    content = (whole_files / "noise.mp3").read_bytes()
    path = tmp_path / "between.mp3"
    starts = [place for place, _ in _walk_frames(content, 0)]
    path.write_bytes(content[: starts[20]])
    assert "frames" in (find_missing(path) or "")


@pytest.mark.parametrize("version", [0xF3, 0xE3])
def test_frames_of_lower_rates_are_walked_over(tmp_path, version):
    # 64 kbit/s at 16 and 8 kHz: 288 and 576 bytes a frame.
    length = {0xF3: 288, 0xE3: 576}[version]
    frame = bytes([0xFF, version, 0x88, 0xC0]) + bytes(length - 4)
    path = tmp_path / "speech.mp3"
    path.write_bytes(3 * frame)
    assert find_missing(path) is None
    path.write_bytes(3 * frame + frame[:50])
    assert find_missing(path) == "a part of its last frame"


def test_other_files_are_not_checked(tmp_path):
    for number, content in enumerate(
        (b"", b"this is not a sound", b"\xff\xd8\xff\xe0 jpeg", b"fLaC")
    ):
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert find_missing(path) is None


@pytest.fixture(scope="module")
def silence(tmp_path_factory):
    path = tmp_path_factory.mktemp("silence") / "silence.flac"
    with soundfile.SoundFile(path, "w", 44_100, 2, "PCM_16") as file:
        for _ in range(4):
            file.write(np.zeros((60 * 44_100, 2), np.int16))
    return path


def test_minutes_of_silence_are_read(silence):
    assert silence.stat().st_size * 300 < 4 * 60 * 44_100 * 2 > 2**24
    assert audio_seconds(silence) == 240


def test_flac_without_a_length_is_read_to_its_end(silence):
    data = bytearray(silence.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    streamed = silence.with_name("streamed.flac")
    streamed.write_bytes(data)
    assert audio_seconds(streamed) == 240
    assert len(load_audio(streamed, sample_rate=44_100)) == 240 * 44_100


@pytest.mark.parametrize(("announced", "there"), [(801, 800), (803, 801), (801, 801), (799, 800)])
def test_bytes_beyond_the_last_frame_are_not_missed(tmp_path, announced, there):
    path = tmp_path / "a.wav"
    form = struct.pack("<HHIIHH", 1, 2, 8000, 32_000, 4, 16)
    head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data"
    path.write_bytes(head + struct.pack("<I", announced) + bytes(there))
    assert len(load_audio(path, sample_rate=8000)) == announced // 4
    path.write_bytes(head + struct.pack("<I", 804) + bytes(803))
    assert find_missing(path) == "1 bytes of its sound"
