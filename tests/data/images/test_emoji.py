"""Emoji: what a folder of them must hold, their captions, and a split that styles share."""

import json
from pathlib import Path

import numpy as np
import pytest

from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.emoji import STYLES, load_emoji
from cdcd_jax.data.images.sources import Source

REAL = Path(__file__).parents[4] / "shared" / "data" / "emoji64"
NAMES = [f"animal {k}" for k in range(40)]


def row_of(name, **changes):
    row = {"caption": name, "base": name, "tags": ["fur", "animal"], "skin_tone": None, "key": name}
    return row | changes


def write_style(folder, style, rows, images=None):
    if images is None:
        images = np.arange(len(rows), dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    np.savez(folder / f"{style}.npz", images=images)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / f"{style}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_every_emoji_is_in_one_split_and_that_in_every_style(tmp_path):
    write_style(tmp_path, "twemoji", [row_of(name) for name in NAMES])
    write_style(tmp_path, "emojione", [row_of(name) for name in reversed(NAMES)])
    styles = ("twemoji", "emojione")
    train, test = (load_emoji(tmp_path, split, styles=styles) for split in ("train", "test"))
    assert isinstance(train, Source)
    assert len(train) + len(test) == 80
    tested = {test[index].name.split(" ", 1)[1] for index in range(len(test))}
    trained = {train[index].name.split(" ", 1)[1] for index in range(len(train))}
    assert tested
    assert trained | tested == set(NAMES)
    assert not trained & tested
    # An emoji has the same label in both styles, and no other emoji has it.
    labels = {(train[k].name.split(" ", 1)[1], train[k].label) for k in range(len(train))}
    assert len(labels) == len({label for _, label in labels}) == len(trained)
    first = train[0]
    assert first.captions[0] == f"{NAMES[0]}, twemoji style"
    assert first.captions[1] == f"{NAMES[0]}, fur, twemoji style"
    assert decode_image(first.data).tolist() == [[[0, 0, 0]]]
    assert train.fingerprint != load_emoji(tmp_path, "train", styles=["twemoji"]).fingerprint


def test_skin_tones_and_images_under_a_second_name_are_left_out(tmp_path):
    rows = [row_of(name) for name in NAMES] + [row_of("hand", skin_tone=1), row_of("old name")]
    pixels = np.array([*range(40), 40, 7], np.uint8)
    images = np.broadcast_to(pixels[:, None, None, None], (42, 2, 2, 3))
    write_style(tmp_path, "twemoji", rows, images)
    sets = [load_emoji(tmp_path, split, styles="twemoji") for split in ("train", "test")]
    assert sum(map(len, sets)) == 40
    rows[0]["caption"] = "another"
    write_style(tmp_path, "twemoji", rows, images)
    assert load_emoji(tmp_path, "train", styles="twemoji").fingerprint != sets[0].fingerprint


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"twemoji\.jsonl, line 41: this is not JSON"),
        ("[]", r"line 41: this is not a JSON object, but list"),
        ({"caption": "a"}, r'line 41: the description has no "base"'),
        (row_of("a", caption=" "), "line 41: a caption is empty"),
        (row_of("a", tags=[3]), "line 41: a caption must be a text, not 3"),
        (row_of("a", tags="word"), "line 41: tags must be a list of words, not 'word'"),
        ("", r"describes 40 images, and twemoji\.npz holds 41"),
    ],
)
def test_a_bad_description_is_named(tmp_path, row, message):
    write_style(tmp_path, "twemoji", [*map(row_of, NAMES), row])
    with pytest.raises(ValueError, match=message):
        load_emoji(tmp_path, "train", styles="twemoji")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match='no split "val" of the emoji'):
        load_emoji(tmp_path, "val")
    with pytest.raises(ValueError, match='no style "noto" of the emoji; choose among fluent_3d'):
        load_emoji(tmp_path, styles=["noto"])
    with pytest.raises(ValueError, match=r"fluent_3d\.jsonl cannot be read: No such file"):
        load_emoji(tmp_path)
    write_style(tmp_path, "twemoji", [row_of("a")], np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"must be uint8 .*, got uint8 \(1, 2, 2\)"):
        load_emoji(tmp_path, styles="twemoji")
    (tmp_path / "twemoji.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"twemoji\.npz holds no images"):
        load_emoji(tmp_path, styles="twemoji")


@pytest.mark.skipif(not REAL.exists(), reason="the emoji are not at hand")
def test_the_real_set():
    """About a tenth is tested, and the splits hold every image without a skin tone once."""
    train, test = (load_emoji(REAL, split, styles=["emojione"]) for split in ("train", "test"))
    lines = (REAL / "emojione.jsonl").read_text(encoding="utf-8").splitlines()
    plain = [json.loads(line)["skin_tone"] is None for line in lines]
    with np.load(REAL / "emojione.npz") as file:
        different = {image.tobytes() for image in file["images"][plain]}
    assert len(train) + len(test) == len(different)
    assert 0.08 < len(test) / len(different) < 0.12
    assert decode_image(test[0].data).tobytes() in different
    assert all(texts[0].endswith(STYLES["emojione"]) for texts in test.captions)
