"""Images with their texts, films of the denoising, and names of files."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from cdcd_jax.codecs.pixels import PixelCodec
from cdcd_jax.visualization.animation import draw_frames, save_gif
from cdcd_jax.visualization.grid import GAP, MASK, PAPER
from cdcd_jax.visualization.prompts import LINE, draw_prompts, name_after_prompt, text_font, wrap

BLUE, WHITE = list(MASK), list(PAPER)


def test_samples_stand_in_a_row_above_their_text():
    images = np.stack([np.full((4, 4, 3), level) for level in (0.0, 0.2, 0.4)])
    drawn = np.asarray(draw_prompts(images, np.array([1, 0, 1]), ["one", "two"], cell_size=40))
    assert drawn.shape == (GAP + 40 + LINE + 2 * GAP, GAP + 2 * (2 * 40 + 2 * GAP + 8), 3)
    second = GAP + 2 * (40 + GAP) + 8
    middle = GAP + 20
    assert drawn[middle, GAP].tolist() == [51] * 3
    assert drawn[middle, GAP + 50].tolist() == WHITE  # "one" has one sample, "two" has two
    assert drawn[middle, second].tolist() == [0] * 3
    assert drawn[middle, second + 50].tolist() == [102] * 3
    for left in (GAP, second):
        assert (drawn[GAP + 40 :, left : left + 30] < 128).any()


def test_many_texts_go_on_in_the_next_line_and_lines_make_room():
    images, rows = np.zeros((30, 4, 4)), np.arange(30)
    short = draw_prompts(images, rows, ["a"] * 30)
    assert short.width < 1500
    assert short.height == GAP + 3 * (128 + LINE + 2 * GAP)
    long = draw_prompts(images, rows, ["a"] * 29 + ["word " * 2000])
    assert long.height == GAP + 3 * (128 + 3 * LINE + 2 * GAP)


def test_letters_of_other_alphabets_are_drawn():
    image, row = np.zeros((1, 4, 4)), np.array([0])
    drawn = {draw_prompts(image, row, [text]).tobytes() for text in ("я", "Ω", "é", "a", "\n")}
    assert len(drawn) == 5
    draw_prompts(image, row, ["日本 🦊 \ud800 \x00"])


def test_wrapped_lines_fit_and_lose_no_word():
    text = "the greek capital letter omega in serif bold italic"
    lines = wrap(text, 120, 9)
    assert " ".join(lines) == text
    assert all(text_font().getlength(line) <= 120 for line in lines)
    lines = wrap("x" * 10_000, 120)
    assert len(lines) == 3
    assert lines[2].endswith("x…")
    assert all(text_font().getlength(line) <= 120 for line in lines)
    assert wrap(" \n ", 120) == []


def test_names_differ_where_texts_do():
    texts = ["a cat", "a cat ", "A cat", "a\ncat", "a, cat!", "🦊", "", "\ud800", "a cat" * 999]
    names = [name_after_prompt(text) for text in texts]
    assert len(set(map(str.lower, names))) == len(texts)
    for name in names:
        assert 0 < len(name) < 50
        assert not set(name) & set("/\\ .\n:")


@pytest.fixture
def film():
    codec = PixelCodec(vocab_size=5, grid=(2, 2))
    tokens = np.array([[0, 1, 2, 3], [4, 4, 4, 4]])
    late = np.arange(4)[None] + np.zeros((2, 1), int)
    trajectory = np.stack([np.where(late < step, tokens, 5) for step in range(5)])
    return draw_frames(
        trajectory, ["grey", "white"], decode_fn=codec.decode, grid=(2, 2), mask_id=5, cell_size=40
    )


def test_a_film_goes_from_masks_to_the_sample(film):
    assert len(film) == 5
    assert len({frame.size for frame in film}) == 1
    top = GAP + LINE + GAP
    first, third, last = (np.asarray(film[index]) for index in (0, 2, 4))
    corners = [(top + y, GAP + x) for y in (5, 35) for x in (5, 35)]
    assert [first[corner].tolist() for corner in corners] == [BLUE] * 4
    assert [third[corner].tolist() for corner in corners] == [[0] * 3, [64] * 3, BLUE, BLUE]
    assert [last[corner].tolist() for corner in corners] == [[g] * 3 for g in (0, 64, 128, 191)]


def test_the_file_is_a_film_whose_last_frame_stays(tmp_path, film):
    path = save_gif(film, tmp_path / "new" / "film.gif", frame_time=50, last_time=1000)
    with Image.open(path) as read:
        assert (read.format, read.size, read.info["loop"]) == ("GIF", film[0].size, 0)
        frames = [(f.info["duration"], f.convert("RGB")) for f in ImageSequence.Iterator(read)]
    assert [duration for duration, _ in frames] == [50] * 4 + [1000]
    apart = np.abs(np.asarray(frames[2][1], int) - np.asarray(film[2], int))
    assert apart.max() <= 4  # colours of a palette
    assert [file.name for file in path.parent.iterdir()] == ["film.gif"]


def test_a_film_that_cannot_be_written_keeps_the_old_one(tmp_path, film, monkeypatch):
    path = save_gif(film, tmp_path / "film.gif")
    before = path.read_bytes()

    def half_a_save(part, **options):
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(film[0], "save", half_a_save)
    with pytest.raises(OSError, match="No space left"):
        save_gif(film, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_mistakes_are_named(tmp_path, film):
    images = np.zeros((2, 4, 4))
    process = {
        "decode_fn": PixelCodec(vocab_size=5, grid=(2, 2)).decode,
        "grid": (2, 2),
        "mask_id": 5,
    }
    other = film[0].resize((9, 9))
    for call, message in (
        (lambda: draw_prompts(images[:0], np.zeros(0, int), ["a"]), "0 samples leave nothing"),
        (lambda: draw_prompts(images, np.array([0, 1]), ["a"]), r"texts 0..1 need as many, got 1"),
        (lambda: draw_frames(np.zeros((1, 1, 4), int), ["a"], **process), "2 frames, got 1"),
        (lambda: draw_frames(np.zeros((3, 2, 4), int), ["a"], **process), "2 names, got 1"),
        (lambda: save_gif(film, tmp_path / "film.png"), r"must end in \.gif"),
        (lambda: save_gif([], tmp_path / "film.gif"), "one size, got 0 frames"),
        (lambda: save_gif([film[0], other], tmp_path / "film.gif"), "one size, got 2 frames"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert not list(tmp_path.iterdir())
