import sys

import imageio_ffmpeg
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


def test_a_video_can_be_read_again(tmp_path, joints):
    path = tmp_path / "new" / "dance.mp4"
    assert save_dance_video(path, joints, EDGES, AUDIO, fps=12.5, size=50) == path
    assert list(path.parent.iterdir()) == [path]
    about, *frames = imageio_ffmpeg.read_frames(str(path), pix_fmt="gray", bits_per_pixel=8)
    assert (about["size"], about["fps"], about["codec"]) == ((50, 50), 12.5, "h264")
    assert about["audio_codec"] == "aac"
    found = np.stack([np.frombuffer(frame, np.uint8).reshape(50, 50) for frame in frames])
    expected = np.stack(
        [np.asarray(each.convert("L")) for each in draw_figures(joints, EDGES, size=50)]
    )
    assert found.shape == expected.shape
    assert np.abs(found.astype(float) - expected).mean() < 12


@pytest.mark.parametrize("program", ["sys.exit(3)", "sys.stdin.buffer.read()"])
def test_where_ffmpeg_fails_nothing_is_left(tmp_path, monkeypatch, joints, program):
    """At once, so that its pipe breaks; or after the last frame, as on a full disk."""
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(f"#!{sys.executable}\nimport sys\n{program}\n")
    ffmpeg.chmod(0o755)
    for module in (imageio_ffmpeg, imageio_ffmpeg._io):
        monkeypatch.setattr(module, "get_ffmpeg_exe", lambda: str(ffmpeg))
    path = tmp_path / "dance.mp4"
    path.write_text("an older one")
    with pytest.raises(ValueError, match=r"dance\.mp4 cannot be written: ffmpeg failed, see above"):
        save_dance_video(path, joints, EDGES, AUDIO, fps=10.0, size=480)
    assert path.read_text() == "an older one"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["dance.mp4", "ffmpeg"]


def test_without_the_library_the_error_says_what_to_install(tmp_path, monkeypatch, joints):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match=r'pip install "cdcd_jax\[video\]", or leave --video_out'):
        save_dance_video(tmp_path / "dance.mp4", joints, EDGES, AUDIO, fps=10.0)
    assert not list(tmp_path.iterdir())


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
