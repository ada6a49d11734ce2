"""Codecs of music from a configuration: trained, fine-tuned from published weights, and fitted."""

import dataclasses
import importlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from PIL import Image

from cdcd_jax.cli.codec import make_codec
from cdcd_jax.codecs.jukebox import make_jukebox
from cdcd_jax.data.batch import TokenExamples
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.interop.jukebox import jukebox_to_state_dict
from cdcd_jax.tasks.codec_run import build_codec_run
from cdcd_jax.tasks.codecs import load_codec
from cdcd_jax.tasks.conditions import load_condition
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.task import find_task
from cdcd_jax.training.loop import compile_step
from cdcd_jax.training.stopping import Stopper

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def load(name, variant, **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    flat = {key.replace("__", "."): value for key, value in changes.items()}
    config.update_from_flattened_dict(flat)
    return config.lock()


def write_sounds(folder):
    times = np.arange(33075) / 22050
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for number in range(3):
            tone = 0.4 * np.sin(2 * np.pi * (200 + 90 * number) * times) * (times % 0.5 < 0.3)
            soundfile.write(folder / split / f"tone {number}.wav", tone, 22050)


TINY = {
    "data__num_threads": 0,
    "codec__width": 4,
    "codec__strides": (16,),
    "codec__num_codes": 8,
    "codec__code_dim": 4,
    "codec_optimizer__warmup_steps": 1,
    "codec_train__batch_size": 2,
    "codec_train__num_steps": 2,
    "codec_train__seconds": 0.25,
    "codec_train__sample_every": 0,
}


def test_a_codec_of_sound_files_is_trained_and_can_be_listened_to(tmp_path, capsys):
    write_sounds(tmp_path / "sound")
    path = str(tmp_path / "sound")
    config = load("sound_codec", "smoke", **TINY, data__name="sound", data__path=path)
    mesh = make_mesh(jax.devices()[:1])
    make_codec(build_codec_run(config, tmp_path / "run", mesh=mesh), Stopper())
    printed = capsys.readouterr().out
    assert "3 test recordings, 4 s: SNR" in printed
    folder = tmp_path / "run" / "codec"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["num_test_recordings"], summary["steps"]) == (3, 2)
    assert {"snr", "worst_snr", "decibels_off", "tokens_kept", "codes_used"} <= set(summary)
    image = Path(summary["reconstructions"])
    assert Image.open(image).size[0] > 400
    sounds = sorted(file.name for file in image.with_suffix("").iterdir())
    assert sounds[:2] == ["tone 0.wav-real.wav", "tone 0.wav-through-the-codec.wav"]
    audio, rate = soundfile.read(image.with_suffix("") / sounds[0])
    assert (rate, np.abs(audio).max()) == (22050, pytest.approx(0.95, abs=1e-3))
    codec = load_codec(config, find_places(config, tmp_path / "run"))
    assert codec.encode(np.zeros((1, codec.samples), np.float32)).shape == (1, codec.grid[1])
    with config.unlocked():
        config.codec.width = 8
    with pytest.raises(ValueError, match=r"is another codec \(width = 4 there, 8 now\)"):
        load_codec(config, find_places(config, tmp_path / "run"))


def test_published_weights_are_where_fine_tuning_starts(tmp_path):
    changes = TINY | {"codec__strides": (16, 2), "codec__downs": (2, 1), "codec__level": 1,
                      "codec__multipliers": (1, 1)}  # fmt: skip
    published = make_jukebox(downs=(2, 1), strides=(16, 2), multipliers=(1, 1), width=4, depth=1,
                             code_dim=4, num_codes=8)  # fmt: skip
    params = published.init(jax.random.key(3))
    np.savez(tmp_path / "vqvae.npz", **jukebox_to_state_dict(params))
    config = load("sound_codec", "smoke", **changes)
    with config.unlocked():
        config.codec_train.start_from = str(tmp_path / "vqvae.npz")
    mesh = make_mesh(jax.devices()[:1])
    built = build_codec_run(config, tmp_path, mesh=mesh)
    state = built.training.init_state()
    start = built.codec_of(state).params
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-6),
        start,
        {"level_1": params["level_1"]},
    )
    batch = next(built.training.make_batches())
    state, metrics = compile_step(built.training.train_step, mesh)(state, batch)
    assert metrics["restarts"] < 8
    codes = np.asarray(built.codec_of(state).params["level_1"]["quantizer"]["codebook"])
    published_codes = np.asarray(params["level_1"]["quantizer"]["codebook"])
    kept = np.abs(codes - published_codes).max(1) < 1.0
    assert kept.any()  # moved, not replaced all at once
    with config.unlocked():
        config.codec_train.start_from = str(tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"codec_train.start_from = .*none.pt cannot be used"):
        build_codec_run(config, tmp_path, mesh=mesh)


def test_a_codec_of_spectra_is_fitted(tmp_path, capsys):
    config = load("groove_vanilla", "smoke", codec_fit__num_recordings=4, codec__num_codes=16)
    make_codec(build_codec_run(config, tmp_path), Stopper())
    assert "Fitted 16 codes" in capsys.readouterr().out
    summary = json.loads((tmp_path / "codec" / "summary.json").read_text())
    assert summary["num_test_recordings"] == 5
    assert Path(summary["reconstructions"]).exists()
    codec = load_codec(config, find_places(config, tmp_path))
    assert (codec.vocab_size, codec.grid) == (16, (1, 86))
    config = load("groove_vanilla", "smoke", codec__num_codes=32)
    with pytest.raises(ValueError, match=r"\(num_codes = 16 there, 32 now\)"):
        load_codec(config, find_places(config, tmp_path))
    config = load("groove_vanilla", "smoke", codec_fit__seconds=0.0)
    with pytest.raises(ValueError, match=r"codec_fit\.seconds = 0.0 must be above 0"):
        build_codec_run(config, tmp_path)


def test_a_single_piece_to_test_with_is_refused_before_training():
    config = load("groove_vanilla", "smoke")
    data = find_task(config).random_data()
    conditioned = load_condition(config, data, None)
    find_task(config).make_scoring(data, conditioned, Path("none")).check()
    first = {name: rows[:1] for name, rows in data.test.cond.items()}
    one = TokenExamples(tokens=data.test.take(np.arange(1)), cond=first, group=data.test.group[:1])
    data = dataclasses.replace(data, test=one)
    with pytest.raises(ValueError, match="data: the test dances give one piece"):
        find_task(config).make_scoring(data, conditioned, Path("none")).check()
