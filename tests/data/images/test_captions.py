"""Any captioned images: lists, texts beside images, and what is wrong with them."""

import json

import pytest

from cdcd_jax.data.images.caption_list import load_captions


def write_list(folder, rows, split="train", *, images=("a.jpg", "deep/b.png", "c.jpg")):
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    path = folder / f"{split}.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def images_of(source):
    return [source[index] for index in range(len(source))]


def row_of(image, *captions, **more):
    return {"image": image, "captions": list(captions)} | more


def test_a_list_of_images(tmp_path):
    rows = [row_of("c.jpg", "eins", " zwölf \u2028 Bäume"), {"image": "deep/b.png", "caption": "b"}]
    write_list(tmp_path, [rows[0], "", rows[1]])
    source = load_captions(tmp_path)
    assert source.class_names == ()
    assert images_of(source) == [
        ("c.jpg", 0, b"c.jpg", ("eins", "zwölf Bäume")),
        ("deep/b.png", 1, b"deep/b.png", ("b",)),
    ]


def test_groups_are_numbered_and_images_without_one_are_alone(tmp_path):
    rows = [row_of("a.jpg", "x", group="g"), row_of("c.jpg", "y"), row_of("deep/b.png", "z")]
    write_list(tmp_path, [*rows[:2], rows[2] | {"group": "g"}])
    source = load_captions(tmp_path)
    assert [image.label for image in images_of(source)] == [0, 1, 0]
    write_list(tmp_path, [rows[0] | {"group": 1}, rows[1] | {"group": "1"}, rows[2]])
    assert [image.label for image in images_of(load_captions(tmp_path))] == [0, 1, 2]


def test_texts_beside_images(tmp_path):
    for name, text in (("b.jpg", "one\n\ntwo\n"), ("sub/a.PNG", "three")):
        path = tmp_path / "test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
        path.with_suffix(".txt").write_text(text)
    for clutter in (".hidden.jpg", "__MACOSX/._b.jpg", "sub/._a.PNG"):
        (tmp_path / "test" / clutter).parent.mkdir(exist_ok=True)
        (tmp_path / "test" / clutter).write_bytes(b"")
    expected = [("b.jpg", ("one", "two")), ("sub/a.PNG", ("three",))]
    source = load_captions(tmp_path, "test")
    assert [(image.name, image.captions) for image in images_of(source)] == expected
    with pytest.raises(ValueError, match=r"no split \"train\", only \['test'\]: neither train\.j"):
        load_captions(tmp_path)
    # The folder of a split is a set with the one split "train".
    alone = load_captions(tmp_path / "test")
    assert [(image.name, image.captions) for image in images_of(alone)] == expected
    (tmp_path / "test" / "b.gif").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.txt is beside two images"):
        load_captions(tmp_path, "test")
    (tmp_path / "test" / "d.gif").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of the 4 images of \S*test have no text .* d\.txt"):
        load_captions(tmp_path, "test")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"image": "a.jpg"', r"train\.jsonl, line 2: this is not JSON .*each line must be one"),
        ({"image": 3, "caption": "x"}, 'line 2: "image" must be the path of an image, not 3'),
        ({"image": "a.jpg"}, 'line 2: there must be either "captions", a list, or "caption"'),
        ({"image": "a.jpg", "captions": "x"}, "line 2: \"captions\" must be a list .* not 'x'"),
        (row_of("a.jpg"), r'line 2: "captions" must be a list of texts, not \[\]'),
        (row_of("a.jpg", "x", ""), "line 2: a caption is empty"),
        (row_of("a.jpg", None), "line 2: a caption must be a text, not None"),
        (row_of("a.jpg", "x", group=[1]), r'line 2: "group" must be a text or .* not \[1\]'),
        (row_of("./c.jpg", "x"), r"train\.jsonl names c\.jpg twice; put all captions"),
        (row_of("gone.jpg", "x"), r"lacks 1 of the 2 images that train\.jsonl names, gone\.jpg"),
    ],
)
def test_a_bad_line_is_named(tmp_path, row, message):
    write_list(tmp_path, [row_of("c.jpg", "fine"), row])
    with pytest.raises(ValueError, match=message):
        load_captions(tmp_path)


def test_a_bad_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        load_captions(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no images .*give the folder that holds train\.j"):
        load_captions(tmp_path)
    path = write_list(tmp_path, [])
    with pytest.raises(ValueError, match=r"train\.jsonl lists no images"):
        load_captions(tmp_path)
    with pytest.raises(ValueError, match=r"no split \"test\", only \['train'\]; write test\.jsonl"):
        load_captions(tmp_path, "test")
    path.write_bytes(b'{"image": "a.jpg", "caption": "x"}\n{"image": "c.jpg", "caption": "\xe9"}')
    with pytest.raises(ValueError, match=r"train\.jsonl, line 2: byte \d+ is not UTF-8; save"):
        load_captions(tmp_path)
