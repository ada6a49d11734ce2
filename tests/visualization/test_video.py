import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from cdcd_jax.visualization.video import draw_figures, save_dance_video

EDGES = [(0, 1), (1, 2)]
AUDIO = np.zeros(11025, np.float32)


@pytest.fixture
def joints():
    positions = np.zeros((6, 3, 3))
    positions[:, :, 1] = [0.0, 1.0, 2.0]
    positions[:, 2, 0] = np.linspace(-1, 1, 6)
    return positions


def fake_ffmpeg(folder, monkeypatch, body):
    """Put a program of that name before all others."""
    script = folder / "bin" / "ffmpeg"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport sys, pathlib\narguments = sys.argv[1:]\n{body}")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))


WRITES_ALL = """
if "-encoders" in arguments:
    print(" V....D {encoder}  the encoder")
else:
    frames = sys.stdin.buffer.read()
    sound = arguments[arguments.index("pipe:0") + 2].removeprefix("file:")
    report = [str(len(frames)), pathlib.Path(sound).read_bytes()[:4].decode(), *arguments]
    pathlib.Path(arguments[-1].removeprefix("file:")).write_text("\\n".join(report))
"""


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_ffmpeg_gets_all_frames_and_the_sound(tmp_path, monkeypatch, joints, encoder):
    fake_ffmpeg(tmp_path, monkeypatch, WRITES_ALL.replace("{encoder}", encoder))
    path = tmp_path / "new" / "dance.mp4"
    assert save_dance_video(path, joints, EDGES, AUDIO, fps=12.5, size=64) == path
    num_bytes, sound, *command = path.read_text().splitlines()
    assert int(num_bytes) == 6 * 64 * 64 * 3
    assert sound == "RIFF"
    given = dict(pairwise(command))
    assert (given["-s"], given["-r"], given["-c:v"]) == ("64x64", "12.5", encoder)
    assert given["-c:a"] == "aac"
    assert list(path.parent.iterdir()) == [path]


def test_what_ffmpeg_says_is_told_and_nothing_is_left(tmp_path, monkeypatch, joints):
    fails = """
if "-encoders" not in arguments:
    pathlib.Path(arguments[-1].removeprefix("file:")).write_text("half")
    sys.exit("no room for this")
"""
    fake_ffmpeg(tmp_path, monkeypatch, fails)
    path = tmp_path / "dance.mp4"
    path.write_text("an older one")
    # More than a pipe holds, so that it breaks.
    with pytest.raises(ValueError, match=r"dance\.mp4 cannot be written.*no room for this"):
        save_dance_video(path, joints, EDGES, AUDIO, fps=10.0, size=480)
    assert path.read_text() == "an older one"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bin", "dance.mp4"]


def test_without_ffmpeg_the_way_out_is_told(tmp_path, monkeypatch, joints):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"install ffmpeg, or\s+leave --video_out out"):
        save_dance_video(tmp_path / "dance.mp4", joints, EDGES, AUDIO, fps=10.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_video_can_be_read_again(tmp_path, joints):
    path = save_dance_video(tmp_path / "dance.mp4", joints, EDGES, AUDIO, fps=12.0, size=64)
    command = ["ffmpeg", "-loglevel", "error", "-i", str(path), "-f", "rawvideo"]
    command += ["-pix_fmt", "gray", "-an", "-"]
    read = subprocess.run(command, capture_output=True, check=True).stdout
    frames = np.frombuffer(read, np.uint8).reshape(-1, 64, 64)
    expected = np.stack(
        [np.asarray(each.convert("L")) for each in draw_figures(joints, EDGES, size=64)]
    )
    assert frames.shape == expected.shape
    assert np.abs(frames.astype(float) - expected).mean() < 12


def ink(image):
    return np.all(np.asarray(image) < 128, axis=-1)


def test_figures_stand_upright_and_stay_in_the_image(joints):
    first, *_, last = draw_figures(joints, EDGES, size=100)
    rows, columns = np.nonzero(ink(first))
    assert rows.min() >= 15
    assert rows.max() <= 85
    # The head, the highest joint, moves from the left to the right.
    assert columns[rows == rows.min()].mean() < 40
    rows, columns = np.nonzero(ink(last))
    assert columns[rows == rows.min()].mean() > 60


def test_missing_joints_are_not_drawn(joints):
    joints[0, 2] = np.nan
    first, second, *_ = draw_figures(joints, EDGES, size=100)
    assert 0 < ink(first).sum() < ink(second).sum()
    still = np.zeros((1, 2, 2))
    assert ink(next(draw_figures(still, [(0, 1)], size=100))).any()


@pytest.mark.parametrize(
    ("name", "change", "size", "message"),
    [
        ("dance.avi", 0.0, 64, r"must end in \.mp4"),
        ("dance.mp4", np.nan, 64, "at least one frame and one joint"),
        ("dance.mp4", 0.0, 63, "must be even"),
        ("dance.mp4", 0.0, 20, "at least 50 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, joints, name, change, size, message):
    with pytest.raises(ValueError, match=message):
        save_dance_video(tmp_path / name, joints + change, EDGES, AUDIO, fps=10.0, size=size)
