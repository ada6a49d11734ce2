"""Files with all names of the published models of music are sampled as the command line does."""

import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from PIL import Image

from cdcd_jax.cli import music_files as performance
from cdcd_jax.cli.dances import DanceRequest, read_dance
from cdcd_jax.cli.diffusion import make_music
from cdcd_jax.cli.drawing import name_after_file, read_request
from cdcd_jax.dance_to_music import generate_music
from cdcd_jax.data.dance.aist import GENRES
from cdcd_jax.experiment.load import load
from cdcd_jax.experiment.model_folder import read_model
from cdcd_jax.experiment.published_music import describe_dances
from cdcd_jax.interop.published import read_published
from cdcd_jax.interop.published_music import read_published_music
from cdcd_jax.tasks import music_grid
from tests.support.music_files import make_music_entries
from tests.support.published_files import make_entries, write_checkpoint

SAMPLING = {"num_steps": 2, "truncation": 0.86, "top_k": None, "temperature": 1.0, "guidance": 1.0}
LENGTH, FPS = 5, 413  # 12 frames last as long as 5 tokens of 128 samples
MASK = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a checkpoint of each kind, a dance and features of its video."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("aist", "tiktok"):
        write_checkpoint(folder / f"{name}.pth", make_music_entries(name, num_layers=1))
    random = np.random.default_rng(0)
    np.save(folder / "dance.npy", random.normal(size=(60, 6)).astype(np.float32))
    np.save(folder / "video.npy", random.normal(size=(10, 7)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load(folder / "aist.pth", folder=folder / "aist")


@pytest.fixture(scope="module")
def tiktok(folder):
    return load(folder / "tiktok.pth", folder=folder / "tiktok")


def ask(folder, **given):
    request = DanceRequest(folder / "dance.npy", video=folder / "video.npy", genre="krump")
    return request._replace(**given)


def dance_of(model):
    return model.conditioning.dance


def perform(model, request, workdir, seed=0, **options):
    """Make music as the command line does; return what was written."""
    read_request(model, **options)
    before = {*workdir.rglob("*")}
    make_music(model, workdir, request, name="aist", seed=seed, **options)
    return sorted(file for file in workdir.rglob("*") if file not in before and file.is_file())


def test_what_a_window_lasts_follows_from_the_file(model, tiktok):
    dance = dance_of(model)
    assert (dance.fps, dance.frames, dance.samples) == (FPS, 12, LENGTH * 128)
    assert dance.parts == ("motion", "video", "genre")
    assert dance.genre_names == tuple(GENRES.values())
    # At published sizes: 120 frames of AIST++ and 60 of TikTok to 344 tokens, 360 to 1033.
    sizes = {"num_features": 75, "video_features": 7, "num_genres": 0}
    for frames, tokens, fps in ((120, 344, 60), (240, 689, 60), (360, 1033, 60), (60, 344, 30)):
        assert describe_dances(frames=frames, samples=tokens * 128, **sizes).fps == fps
    assert dance_of(tiktok).parts == ("motion", "video")
    assert dance_of(tiktok).genre_names == ()
    assert max(map(max, describe_dances(frames=60, samples=344 * 128, **sizes).edges)) == 24


def test_windows_go_on_from_each_other_and_see_their_own_part(model, folder):
    """60 frames last 60/413 s, 25 tokens: windows begin at 0, 3, ... 18 and end with the dance."""
    generator, seen = model, []

    def draw(key, cond, *, known):
        made = np.asarray(generator.draw(key, cond, known=known, **SAMPLING))
        seen.append((jax.tree.map(np.asarray, cond), np.asarray(known), made))
        return made

    def generate(seed):
        sizes = {"length": LENGTH, "mask_id": MASK, "num_samples": 2}
        return generate_music(draw, dance, seed=seed, **sizes)

    dance = read_dance(generator.conditioning, ask(folder))
    tokens = generate(3)
    assert tokens.shape == (2, 25)
    assert 0 <= tokens.min() <= tokens.max() < MASK
    assert not np.array_equal(tokens[0], tokens[1])
    motion, video = np.load(folder / "dance.npy"), np.load(folder / "video.npy")
    starts = [0, 3, 6, 9, 12, 15, 18, 20]
    assert len(seen) == len(starts)
    done = np.full((2, 25), MASK)
    for start, (cond, known, made) in zip(starts, seen, strict=True):
        window = slice(start, start + LENGTH)
        np.testing.assert_array_equal(known, done[:, window])
        np.testing.assert_array_equal(made[known != MASK], known[known != MASK])
        done[:, window] = made
        assert cond["genre"].tolist() == [7, 7]
        begin = start * 128 / 22050  # seconds
        first = min(round(begin * FPS), 60 - 12)
        np.testing.assert_array_equal(cond["motion"], [motion[first : first + 12]] * 2)
        # A step of the video lasts 60 / 413 / 10 s, a window 12 / 413 s: two steps or so.
        middles = (np.arange(10) + 0.5) * 60 / FPS / 10
        inside = (middles >= begin) & (middles < begin + 12 / FPS)
        assert inside.sum() in (1, 2)
        np.testing.assert_allclose(cond["video"], [video[inside].mean(0)[None]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(tokens, done)
    request = {"motion": np.load(folder / "dance.npy"), "genre": "krump", "video": video}
    again = generator.sample(request, num_samples=2, seed=3, output="tokens", **SAMPLING)
    np.testing.assert_array_equal(again, tokens)
    assert not np.array_equal(generate(4), tokens)
    sound = generator.sample(request, seed=3, **SAMPLING)
    assert sound.shape == (1, 25 * 128)


def test_every_window_is_conditioned_on_one_step_of_video(model, folder, tmp_path):
    np.save(tmp_path / "one.npy", np.arange(7.0))
    dance = read_dance(model.conditioning, ask(folder, video=tmp_path / "one.npy"))
    drawn = []

    def draw(key, cond, *, known):
        drawn.append(cond["video"])
        return np.zeros(known.shape, np.int32)

    generate_music(draw, dance, length=LENGTH, mask_id=MASK, seed=0)
    for video in drawn:
        np.testing.assert_array_equal(video, np.arange(7.0)[None, None])


def test_music_is_written(model, folder, tmp_path):
    def run(**options):
        return perform(model, workdir=tmp_path, **options, **SAMPLING)

    written = run(request=ask(folder, seconds=0.1), seed=0, num_samples=2)
    name = (
        f"aist-{name_after_file(folder / 'dance.npy')}-krump-"
        f"{name_after_file(folder / 'video.npy')}-"
        "seed0-seconds0.1-num_samples2-num_steps2-truncation0.86-temperature1"
    )
    names = [f"{name}-{take}.{end}" for take in (0, 1) for end in ("wav", "wav.png")]
    assert written == [tmp_path / "samples" / name for name in names]
    audio, rate = soundfile.read(written[0])
    assert rate == 22050
    assert len(audio) == 17 * 128  # whole tokens in 0.1 s
    assert audio.std() > 0
    assert not np.array_equal(audio, soundfile.read(written[2])[0])
    assert Image.open(written[1]).size[1] > 20
    out = tmp_path / "out" / "music.wav"
    out.parent.mkdir()
    cover = out.with_name("music-0.png")
    cover.write_text("somebody's")
    request = ask(folder, audio_out=out, genre="7", seconds=0.1)  # krump by its number
    again = run(request=request, seed=0, num_samples=2)
    assert again[0] == out.with_name("music-0.wav")
    np.testing.assert_array_equal(soundfile.read(again[0])[0], audio)
    assert cover.read_text() == "somebody's"


def test_an_image_that_cannot_be_drawn_costs_a_warning(
    model, folder, tmp_path, monkeypatch, capsys
):
    def fail(*_, **options):
        assert options["width"] == music_grid.MAX_WIDTH
        raise MemoryError

    monkeypatch.setattr(performance, "draw_spectrogram", fail)
    monkeypatch.setattr(music_grid, "MAX_WIDTH", 5)  # of the 11 pixels of 0.1 s
    request = ask(folder, seconds=0.1)
    written = perform(model, request, tmp_path, num_samples=2, **SAMPLING)
    assert [file.suffix for file in written] == [".wav", ".wav"]
    assert all(len(soundfile.read(file)[0]) == 17 * 128 for file in written)
    warnings = capsys.readouterr().err.splitlines()
    assert [line for line in warnings if line.startswith("Warning: ")] == [
        f"Warning: {file}.png is left out (MemoryError); {file} is saved" for file in written
    ]


def test_less_music_than_requested_is_reported(model, folder, tmp_path, capsys):
    """The dance lasts 60 / 413 s."""
    for seconds, said in ((0.1, False), (3, True)):
        request = ask(folder, seconds=seconds)
        make_music(model, tmp_path, request, name="aist", seed=0, num_samples=1, **SAMPLING)
        sentence = f"{folder / 'dance.npy'} lasts 0.15 s, less than the 3 s requested"
        assert (sentence in capsys.readouterr().out) == said
    (longer,) = (tmp_path / "samples").glob("*seconds3-*.wav")
    assert len(soundfile.read(longer)[0]) == 25 * 128


@pytest.mark.slow
def test_tiktok_needs_no_genre(tiktok, folder, tmp_path):
    options = {"num_samples": 1} | SAMPLING
    with pytest.raises(ValueError, match="genre: the model was trained without it; leave it out"):
        perform(tiktok, ask(folder), tmp_path, **options)
    written = perform(tiktok, ask(folder, genre=None), tmp_path, **options)
    assert len(soundfile.read(written[0])[0]) == 25 * 128


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"genre": None}, r"genre is not given.*; add --genre, one of break, pop, "),
        ({"genre": "waltz"}, r'genre = "waltz" must be one of break, .* or its number, 0\.\.9'),
        ({"genre": "10"}, r'genre = "10" must be one of break'),
        ({"video": None}, r"video is not given.*; add --video=FILE.npy, \[steps 7\] features"),
        ({"video": "dance.npy"}, r"dance.npy has 6 features a step, and the model .* on 7"),
        ({"video": "none.npy"}, r"none.npy cannot be read as an array"),
        ({"motion": "none.pkl"}, r"none.pkl"),
        ({"motion": "video.npy"}, r"video.npy has 7 features a frame, and the model .* on 6"),
        ({"seconds": 0.02}, r"leave 0.02 s, and the model makes music of at least 0.029"),
        ({"denoise": -1.0}, r"denoise = -1.0 must be at least 0"),
        ({"video_out": Path("a.mp4")}, r"video_out: this motion holds no positions to draw"),
    ],
)
def test_what_does_not_fit_is_named(model, folder, tmp_path, given, message):
    for name in ("video", "motion"):
        if isinstance(given.get(name), str):
            given = given | {name: folder / given[name]}
    with pytest.raises(ValueError, match=message):
        perform(model, ask(folder, **given), tmp_path, num_samples=1, **SAMPLING)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("film", "message"),
    [("a.avi", r'"a.avi" must end in \.mp4'), ("a.mp4", r"pip install .cdcd_jax\[video\]")],
)
def test_a_film_that_cannot_be_written_is_known_before_there_is_music(
    model, folder, tmp_path, monkeypatch, film, message
):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    np.save(tmp_path / "points.npy", np.zeros((60, 51), np.float32))
    dance = replace(model.conditioning, dance=dance_of(model)._replace(num_features=51))
    asked = ask(folder, motion=tmp_path / "points.npy", video_out=Path(film))
    with pytest.raises(ValueError, match=message):
        read_dance(dance, asked)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_steps": 5}, r"num_steps = 5 must be in 1\.\.T = 1\.\.4"),
        ({"truncation": 1.5}, r"truncation must be in"),
        ({"num_samples": 0}, r"num_samples = 0 must be at least 1"),
        ({"guidance": 2.0}, r"guidance = 2.0 needs a model that was trained without"),
    ],
)
def test_values_out_of_range_are_named(model, folder, tmp_path, given, message):
    options = {"num_samples": 1, **SAMPLING, **given}
    with pytest.raises(ValueError, match=message):
        perform(model, ask(folder), tmp_path, **options)


def test_a_checkpoint_of_the_other_kind_is_named(folder, tmp_path):
    images = write_checkpoint(tmp_path / "bird.pth", make_entries("cub200")[1])
    with pytest.raises(ValueError, match=r"bird.pth is not a checkpoint of music: it lacks vqvae"):
        read_published_music(images)
    with pytest.raises(ValueError, match=r"aist.pth is a checkpoint of music; .*--motion=FILE"):
        read_published(folder / "aist.pth")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Return a folder in which the checkpoint is converted once."""
    return tmp_path_factory.mktemp("run")


def flags(folder, workdir, config="aist_vanilla"):
    named = [f"--config=configs/{config}.py"] if config else []
    checkpoint = f"--reference_checkpoint={folder / 'aist.pth'}"
    return [*named, "--mode=sample", checkpoint, f"--workdir={workdir}", "--num_steps=2"]


def test_the_command_makes_music(run_here, folder, workdir):
    dance = [
        f"--{name}={folder / name.replace('motion', 'dance')}.npy" for name in ("motion", "video")
    ]
    code, output = run_here(*flags(folder, workdir), *dance, "--genre=break", "--seconds=0.1")
    assert code == 0, output
    said = output.splitlines()
    converted = workdir / "published" / "aist"
    assert f"Converted {folder / 'aist.pth'} into {converted}" in said
    assert read_model(converted).config.denoiser.compute_dtype == "float32"
    written = [Path(line.removeprefix("Music: ")) for line in said if line.startswith("Music: ")]
    assert [path.suffix for path in written] == [".wav", ".png"]  # one take unless more are asked
    assert all(path.parent == workdir / "samples" for path in written)
    assert len(soundfile.read(written[0])[0]) == 17 * 128


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--motion=a"], "there is no file a.pth"),
        (["--motion=a", "--label=3"], "label is not read with --motion; leave"),
        (["--motion=a", "--bpe_merges=b"], "bpe_merges is not read with --motion"),
        (["--genre=pop"], "genre needs --motion=FILE"),
    ],
)
def test_the_command_names_what_is_wrong(run_here, given, sentence, tmp_path):
    code, output = run_here(*flags(tmp_path, tmp_path / "run"), *given)
    assert code == 2
    assert sentence.replace("a.pth", str(tmp_path / "aist.pth")) in output


@pytest.mark.parametrize("config", ["aist_vanilla", "imagenet_vanilla", None])
def test_music_needs_a_dance_whatever_the_configuration(run_here, folder, workdir, config):
    code, output = run_here(*flags(folder, workdir, config))
    assert code == 2
    assert "the test dances are not at hand, add --motion=FILE" in output
