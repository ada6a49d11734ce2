"""Glyphs: the split by combination, the variants, and what is refused."""

from collections import Counter

import matplotlib
import numpy as np
import pytest

from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.sources import Source
from cdcd_jax.data.toy.glyph_drawing import Variant, draw_glyph, font_file, shape_classes
from cdcd_jax.data.toy.glyph_names import CHARACTERS, FAMILIES, SCRIPTS, STYLES, find_script
from cdcd_jax.data.toy.glyphs import load_glyphs

ALPHA, A = "\N{GREEK CAPITAL LETTER ALPHA}", "\N{CYRILLIC CAPITAL LETTER A}"


@pytest.fixture(scope="module")
def splits():
    return load_glyphs("train", num_variants=2), load_glyphs("test")


def images(glyphs, indices):
    return [decode_image(glyphs[index].data) for index in indices]


def test_characters_are_letters_and_digits_that_every_font_has():
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 239
    assert {find_script(character) for character in CHARACTERS} == set(SCRIPTS)
    for style in STYLES:
        missing = draw_glyph("\N{PRIVATE USE ONE}", style, 32, Variant()).tobytes()
        drawn = {draw_glyph(character, style, 32, Variant()).tobytes() for character in CHARACTERS}
        assert missing not in drawn
        assert len(drawn) > 195


def test_every_combination_is_in_one_split(splits):
    train, test = splits
    assert isinstance(train, Source)
    assert isinstance(test, Source)
    count = len(CHARACTERS) * len(STYLES)
    of_train, of_test = ({glyphs[i].label for i in range(len(glyphs))} for glyphs in splits)
    assert of_train | of_test == set(range(count))
    assert not of_train & of_test
    assert (len(train), len(test)) == (2 * len(of_train), len(of_test))
    assert len(of_test) / count == pytest.approx(1 / 6)


def test_every_character_and_style_is_trained(splits):
    train, test = splits
    assert set(Counter(train.characters[::2]).values()) == {10}
    assert set(Counter(test.characters).values()) == {2}
    of_style = np.bincount(train.styles[::2], minlength=len(STYLES)) / len(CHARACTERS)
    assert 0.8 < of_style.min() <= of_style.max() < 0.87


def test_no_test_image_is_trained_under_another_name(splits):
    train, test = splits
    known = {train[index].data: index for index in range(len(train))}
    seen = [index for index in range(len(test)) if test[index].data in known]
    assert len(seen) <= 1
    for index in seen:  # one letter in another style and size
        assert train.characters[known[test[index].data]] == test.characters[index]
    letters = {
        letter: set(test.styles[np.array(test.characters) == letter]) for letter in "A" + ALPHA
    }
    assert letters["A"] == letters[ALPHA]


def test_an_image_is_what_its_caption_says(splits):
    glyph = splits[0][splits[0].characters.index(ALPHA)]
    style = STYLES[glyph.label % len(STYLES)]
    assert CHARACTERS[glyph.label // len(STYLES)] == ALPHA
    assert glyph.captions[:2] == (
        f"greek capital letter alpha, {style}",
        f"{style} greek capital letter alpha",
    )
    expected = np.asarray(draw_glyph(ALPHA, style, 32, Variant()))
    np.testing.assert_array_equal(decode_image(glyph.data)[..., 0], expected)


def test_bold_has_more_ink_and_small_letters_are_lower():
    def ink(character, style):
        return 255 - np.asarray(draw_glyph(character, style, 32, Variant())).astype(int)

    for family in FAMILIES:
        assert ink("H", f"{family} bold").sum() > 1.2 * ink("H", family).sum()
        rows = [np.flatnonzero(ink(character, family).sum(axis=1)) for character in "Oo"]
        assert rows[0][0] < rows[1][0]
        assert abs(rows[0][-1] - rows[1][-1]) <= 1  # one baseline
    assert (ink("I", "sans") != ink("I", "sans italic")).any()


def test_nothing_is_cut_off():
    wide = "\N{CYRILLIC CAPITAL LETTER ZHE}\N{LATIN CAPITAL LETTER A WITH RING ABOVE}Wj"
    for style in STYLES:
        for letter in wide:
            cell = draw_glyph(letter, style, 64, Variant(right=50, down=-50))
            roomy = draw_glyph(letter, style, 64, Variant())
            sums = [255 * 64 * 64 - int(np.asarray(image, int).sum()) for image in (cell, roomy)]
            assert sums[0] == sums[1] > 0


def test_variants_differ_and_the_same_seed_gives_the_same(splits):
    chosen = {"scripts": ["digit"], "families": ["mono"]}
    first, again, other = (load_glyphs("train", seed=seed, **chosen) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert [first[i] for i in range(8)] == [again[i] for i in range(8)]
    centred, *others = images(first, range(4))
    assert all(image.shape == (32, 32, 3) for image in (centred, *others))
    assert any((image != centred).any() for image in others)
    np.testing.assert_array_equal(centred, images(splits[0], [splits[0].styles.tolist().index(
        first.styles[0])])[0])  # fmt: skip
    assert set(first.characters) == set("0123456789")
    assert {STYLES[style].split()[0] for style in first.styles} == {"mono"}


def test_look_alikes_share_a_shape(splits):
    shapes = shape_classes()
    assert shapes["A"] == shapes[ALPHA] == shapes[A] != shapes["a"]
    assert shapes["0"] != shapes["O"]
    assert set(shapes.values()) == set(range(206))
    train = splits[0]
    assert [shapes[character] for character in train.characters] == train.shapes.tolist()


def test_mistakes_are_named(monkeypatch, tmp_path):
    for options, message in (
        ({"split": "val"}, 'no split "val"'),
        ({"size": 8}, "size must be at least 16"),
        ({"num_variants": 0}, "num_variants at least 1, got 32 and 0"),
        (
            {"scripts": ["hebrew letter"]},
            'scripts names "hebrew letter"; choose among digit, latin',
        ),
        ({"families": ()}, "families is empty; choose among sans"),
        ({"families": "sans serif"}, 'families names "sans serif"'),
    ):
        with pytest.raises(ValueError, match=message):
            load_glyphs(**{"split": "test"} | options)
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=r"no font .*DejaVuSerif-BoldItalic.ttf, which comes with"):
        font_file("serif bold italic")
