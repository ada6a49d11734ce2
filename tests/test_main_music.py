"""The command line on music: synthetic dances as a user types it, AIST++ and TikTok in miniature.

The sets on a disk go through all modes in this process, so that JAX starts once.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from cdcd_jax.cli.dances import DanceRequest, read_dance
from cdcd_jax.data.dance.examples import MusicExamples
from cdcd_jax.data.miniature.tiktok import PIECES
from cdcd_jax.data.toy.groove import load_groove
from cdcd_jax.tasks.miniature import NOTICE
from cdcd_jax.tasks.music_codecs import find_window
from tests.support.dance_layouts import (
    PIECES_TEST,
    write_aist_pieces,
    write_piece_negatives,
    write_sound,
)
from tests.support.loaded_runs import check_loaded

ROOT = Path(__file__).parent.parent
SMOKE = "configs/groove_sample_inter.py:smoke"
SMALL = (
    "--config.schedule.num_steps=4",
    "--config.denoiser.num_layers=1",
    "--config.denoiser.width=8",
    "--config.denoiser.num_heads=2",
    "--config.optimizer.warmup_steps=1",
    "--config.train.batch_size=4",
    "--config.train.num_steps=2",
    "--config.train.log_every=1",
    "--config.train.sample_every=0",
    "--config.eval.num_samples=2",
    "--config.eval.batch_size=2",
    "--config.eval.num_steps=(2,)",
    "--config.eval.truncations=(0.86,)",
    "--config.sample.num_samples=2",
    "--config.sample.num_steps=2",
)
SMALL_CODEC = (
    "--config.codec_train.batch_size=2",
    "--config.codec_train.num_steps=2",
    "--config.codec_train.log_every=1",
    "--config.codec_train.sample_every=0",
    "--config.codec_optimizer.warmup_steps=1",
)
ROWS = ("real test music", "real, through the codec", "samples", "samples, labels shuffled")


def check_rows(summary):
    assert [row["name"] for row in summary["rows"]] == list(ROWS)
    assert summary["bits_per_token"] > 0
    assert 0 < summary["codes_used"] <= 1
    for row in summary["rows"]:
        assert all(np.isfinite(value) for value in row.values() if isinstance(value, float))


def check_music(path, samples):
    """Look at sound and spectrogram of a dance."""
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames) == (22_050, 1, samples)
    with Image.open(path.with_name(f"{path.name}.png")) as image:
        assert image.width > samples / 22_050 * 100


@pytest.fixture
def start(run_forked):
    """Run the command in a process of its own."""

    def start(workdir, *arguments):
        narrow = "--config.condition.width=8"
        flags = [f"--config={SMOKE}", f"--workdir={workdir}", narrow, *SMALL, *arguments]
        return run_forked(*flags)

    return start


@pytest.mark.slow
def test_one_command_makes_codec_tokens_and_music_for_groove(start, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    code, output = start(workdir)
    assert code == 0, output
    assert "There is no codec" in output
    assert "There are no tokens" in output
    lines = output.splitlines()
    assert all(any(line.startswith(f"{row} ") for line in lines) for row in ROWS)
    quality = json.loads((workdir / "codec" / "summary.json").read_text())
    assert quality["num_test_recordings"] == 5
    assert Image.open(quality["reconstructions"]).size[0] > 300
    summary = json.loads((workdir / "summary.json").read_text())
    check_rows(summary)
    assert summary["steps"] == 2
    assert summary["config"]["loss"]["mechanism"] == "sample"
    real = summary["rows"][0]
    assert real["beats_coverage"] == real["beats_hit"] == 1
    assert 0 <= real["genre_accuracy"] <= 1
    image = Path(summary["sample_grid"])
    assert Image.open(image).size[0] > 300
    sounds = list(image.with_suffix("").glob("*.wav"))
    assert len(sounds) == 2 * 3  # real, through the codec and made, of two dances

    monkeypatch.syspath_prepend(str(ROOT))
    from configs.groove_sample_inter import get_config

    motion = tmp_path / "dance.npy"
    np.save(motion, load_groove("test", num_dances=1, seconds=6.0, seed=1)[0].motion)
    arguments = ("--mode=sample", f"--motion={motion}", "--seconds=5", "--num_samples=1")
    code, output = start(workdir, *arguments)
    assert code == 0, output
    assert "There is no codec" not in output
    (music,) = (workdir / "samples").glob("step*-dance-*.wav")
    assert f"Music: {music}" in output
    hop = find_window(get_config("smoke")).hop
    check_music(music, int(5 * 22_050 / hop) * hop)


@pytest.mark.slow
def test_aist_in_miniature(run_here, tmp_path):
    """A codec that the run trains, and negatives of shuffled waveforms: up to the training."""
    workdir = tmp_path / "run"
    flags = (
        f"--workdir={workdir}",
        "--config=configs/aist_step_intra.py:smoke",
        "--config.data.video_steps=2",
        *SMALL,
        *SMALL_CODEC,
    )
    for mode in ("codec", "prepare"):
        code, output = run_here(*flags, f"--mode={mode}")
        assert code == 0, output
        assert output.startswith(NOTICE)
    assert (workdir / "codec" / "codec.safetensors").exists()
    code, output = run_here(*flags, "--mode=sample")
    assert code == 1, output  # built, but nothing is trained
    conditioned, data = run_here.built[-1].conditioned, run_here.built[-1].data
    assert isinstance(conditioned.train, MusicExamples)
    # Four dances of 5 s, four pieces of 2 s each, loud and quiet.
    assert (len(conditioned.train), len(conditioned.test)) == (4 * 4 * 2, 4)
    assert {name: rows.shape[1:] for name, rows in conditioned.train.cond.items()} == {
        "motion": (120, 219), "video": (2, 2048), "genre": (),
    }  # fmt: skip
    assert conditioned.train.cond["genre"].tolist() == [0] * 16 + [5] * 16  # break and house
    batch = next(run_here.built[-1].training.make_batches())
    assert batch["intra_negatives"].shape == (4, 2, 43)
    everything = data.train.shards.take(np.arange(16 * 4)).reshape(16, 4, 43)
    for tokens, own in zip(batch["tokens"], batch["intra_negatives"], strict=True):
        (piece,) = np.flatnonzero((everything[:, :2] == tokens).all(-1).any(-1))
        assert sorted(map(tuple, own)) == sorted(map(tuple, everything[piece, 2:]))


@pytest.mark.slow
def test_the_pieces_of_aist_train_the_condition_of_the_paper(run_here, tmp_path):
    """D2M-GAN's and CDCD's own files by one command, then sampled and evaluated."""
    folder, workdir = tmp_path / "pieces", tmp_path / "run"
    write_aist_pieces(folder)
    write_sound(folder / f"audio_s2/test/{PIECES_TEST[1]}.wav", seconds=1.95)
    write_piece_negatives(folder / "aist_extra_negative_samples.json")
    flags = (
        f"--workdir={workdir}",
        "--config=configs/aist_step_intra.py:smoke",
        f"--config.data.path={folder}",
        f"--config.data.negatives={folder / 'aist_extra_negative_samples.json'}",
        *SMALL,
    )
    code, output = run_here(*flags)
    assert code == 0, output
    assert output.startswith(NOTICE)
    assert "AIST++ in pieces of 2 s, test: 1 of 2 pieces are shorter than 2 s; silence" in output
    summary = json.loads((workdir / "summary.json").read_text())
    check_rows(summary)
    assert summary["config"]["loss"]["mechanism"] == "step"
    assert 0 <= summary["rows"][0]["genre_accuracy"] <= 1
    assert summary["num_test_examples"] == 2
    experiment = run_here.built[-1]
    cond = next(experiment.training.make_batches())["cond"]
    assert {name: rows.shape[1:] for name, rows in cond.items()} == {
        "motion": (120, 219), "video": (1, 2048), "genre": (),
    }  # fmt: skip
    # Lock, middle hip-hop twice and house, loud and quiet each.
    group = np.repeat([2, 3, 3, 5], 2)
    assert experiment.conditioned.train.cond["genre"].tolist() == group.tolist()
    drawn = experiment.data.others.draw(np.random.default_rng(0), np.arange(8), num_negatives=3)
    for own, negatives in enumerate(drawn):
        assert set(negatives // 2) == set(np.flatnonzero(group[::2] != group[own]))

    code, output = run_here(*flags, "--mode=evaluate")
    assert code == 0, output
    (evaluation,) = (workdir / "evaluations").iterdir()
    again = json.loads((evaluation / "summary.json").read_text())
    assert again["bits_per_token"] == pytest.approx(summary["bits_per_token"])
    check_rows(again)

    dance = {kind: folder / f"{kind}_s2/test/{PIECES_TEST[0]}.npy" for kind in ("motion", "video")}
    dance["genre"] = "pop"
    sound = tmp_path / "made.wav"
    asked = [f"--{name}={value}" for name, value in dance.items()]
    code, output = run_here(*flags, "--mode=sample", f"--audio_out={sound}", *asked)
    assert code == 0, output
    check_music(sound, 43 * 1024)

    arrays = {kind: np.load(dance[kind]) for kind in ("motion", "video")}
    experiment = run_here.built[-1]
    request = {**arrays, "genre": "pop"}
    copy, loaded = check_loaded(experiment, workdir, tmp_path / "moved", request, num_steps=2)
    assert loaded.sample(request, num_steps=2).shape == (1, 43 * 1024)
    again = tmp_path / "again.wav"
    code, output = run_here("--mode=sample", f"--workdir={copy}", f"--audio_out={again}", *asked)
    assert code == 0, output
    assert again.read_bytes() == sound.read_bytes()

    edit = (f"--workdir={copy}", "--mode=edit", f"--music={sound}", "--span=0.5:1", *asked[:2])
    edited = {}
    for genre in ("pop", "house"):
        code, output = run_here(*edit, f"--genre={genre}", "--num_samples=2")
        assert code == 0, output
        results = re.findall(r"^One by one: (.*)$", output, re.MULTILINE)[0]
        edited[genre] = soundfile.read(f"{results}/1.wav", dtype="int16")[0]
    before, outside = soundfile.read(sound, dtype="int16")[0], np.ones(43 * 1024, bool)
    outside[11_025:22_050] = False
    for after in edited.values():
        np.testing.assert_array_equal(after[outside], before[outside])

    conditioning = run_here.built[-1].conditioned.conditioning
    frames = np.random.default_rng(0).normal(size=(180, 219)).astype(np.float32)
    broken = {"short": frames[:60], "other": frames[:, :51], "nan": frames.copy()}
    broken["nan"][7, 3] = np.nan
    bad = {name: tmp_path / f"{name}.npy" for name in broken}
    for name, array in broken.items():
        np.save(bad[name], array)
    for changed, sentence in (
        ({"motion": bad["short"]}, f"{bad['short']} and seconds leave 1.00 s"),
        ({"motion": bad["other"]}, f"{bad['other']} has 51 features a frame"),
        ({"motion": bad["nan"]}, f"{bad['nan']} holds a value that is not finite in frame 7"),
        ({"genre": "polka"}, 'genre = "polka" must be one of break, pop, lock'),
        ({"genre": None}, "genre is not given, and the model was trained with it"),
        ({"video": None}, "video is not given"),
    ):
        given = {name: value for name, value in (dance | changed).items() if value is not None}
        with pytest.raises(ValueError, match=re.escape(sentence)):
            read_dance(conditioning, DanceRequest(**given))


@pytest.mark.slow
def test_tiktok_in_miniature(run_here, tmp_path):
    """Pieces of two seconds, a published kind of codec, and negatives of other songs."""
    workdir = tmp_path / "run"
    flags = (f"--workdir={workdir}", "--config=configs/tiktok_sample_inter.py:smoke", *SMALL)
    code, output = run_here(*flags)
    assert code == 0, output
    assert output.startswith(NOTICE)
    assert "There is no codec" not in output
    summary = json.loads((workdir / "summary.json").read_text())
    check_rows(summary)
    assert summary["notes"][-1] == NOTICE
    assert summary["config"]["loss"]["negatives"] == "inter"
    assert "genre_accuracy" not in summary["rows"][0]

    conditioned = run_here.built[-1].conditioned
    pieces = np.array([4, 4, 2]) * summary["config"]["prepare"]["views"]
    assert conditioned.train.group.tolist() == np.repeat([0, 1, 2], pieces).tolist()
    rows = conditioned.train.take(np.arange(len(conditioned.train)))
    songs = dict(zip(map(bytes, rows), conditioned.train.group.tolist(), strict=True))
    batch = next(run_here.built[-1].training.make_batches())
    assert set(batch["cond"]) == {"motion", "video"}  # what the paper tells of TikTok
    for own, negatives in zip(batch["tokens"], batch["negatives"], strict=True):
        assert all(songs[bytes(row)] != songs[bytes(own)] for row in negatives)

    dance, sound = tmp_path / "dance.npy", workdir / "made" / "dance.wav"
    data, name = workdir / "data" / "tiktok", PIECES["test"][0]
    np.save(dance, np.concatenate([np.load(data / "motion_s2" / f"{name}.npy")] * 2))
    code, output = run_here(
        *flags, "--mode=sample", f"--motion={dance}", f"--audio_out={sound}",
        f"--video={data / 'video_s2' / f'{name}.npy'}", "--seconds=2.9", "--num_samples=2",
        "--denoise=1",
    )  # fmt: skip
    assert code == 0, output
    for take in range(2):
        check_music(sound.with_stem(f"dance-{take}"), int(2.9 * 22_050 / 1024) * 1024)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--audio_out=music.wav"], "audio_out needs --motion=FILE"),
        (["--genre=house"], "genre needs --motion=FILE"),
        (["--denoise=1"], "denoise needs --motion=FILE"),
        (["--motion=dance.npy", "--gif"], "gif is not read with --motion; leave one of them out"),
    ],
)
def test_flags_that_do_not_belong_together_are_named(run_here, flags, sentence):
    code, output = run_here(f"--config={SMOKE}", "--mode=sample", *flags)
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith("Error: ")
    assert sentence in output
