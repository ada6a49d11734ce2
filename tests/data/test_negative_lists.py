"""Negatives that a file lists: the published forms, our own, and what does not fit the set."""

import json

import numpy as np
import pytest

from cdcd_jax.data.batch import TokenExamples
from cdcd_jax.data.negative_lists import load_negatives
from cdcd_jax.data.negatives import ListedNegatives
from cdcd_jax.data.pipeline import make_train_dataset
from cdcd_jax.reading.json_text import parse_json

BIRDS = ["1.Crow/a_1.jpg", "1.Crow/b_2.jpg", "2.Jay/a_1.jpg", "3.Owl/c_1.jpg"]
SPECIES = np.array([0, 0, 1, 2])
COCO = ["COCO_train2014_000000000009.jpg", "COCO_train2014_000000000025.jpg", "COCO_x_30.jpg"]


def drawn_of(listed, num_examples, num_negatives=40):
    indices = np.arange(num_examples)
    rows = listed.draw(np.random.default_rng(0), indices, num_negatives=num_negatives)
    return [set(row.tolist()) for row in rows]


def load(folder, content, names=BIRDS, group=SPECIES, **options):
    path = folder / "negatives.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_negatives(path, names, np.arange(len(names)), group, **options)


def test_lists_of_paths_belong_to_the_names_in_order(tmp_path):
    """The form that CUB's have; the paths are those of somebody else's computer."""
    content = [
        [f"/data/them/CUB/images/{BIRDS[k]}" for k in row] for row in ([2, 3], [2], [0], [0])
    ]
    listed = load(tmp_path, content, listed_names=BIRDS)
    assert drawn_of(listed, 4) == [{2, 3}, {2}, {0}, {0}]


def test_lists_of_numbers_belong_to_the_captions_in_order(tmp_path):
    """The form that COCO's have: an image's list is that of all its captions."""
    content = [[25], [9, 30], [30], [25], [7, 9]]  # image 7 was not prepared
    captions_of = [COCO[k] for k in (0, 1, 0, 2, 2)]
    listed = load(tmp_path, content, COCO, np.arange(3), listed_names=captions_of)
    assert drawn_of(listed, 3) == [{1, 2}, {0, 2}, {0, 1}]


def test_a_list_of_paths_of_sound_files_in_the_order_of_the_pieces(tmp_path):
    """The form that AIST++'s has; of three pieces the second was not prepared."""
    pieces = [f"gBR_sBM_c01_d04_mBR{song}_ch02_seg1" for song in range(3)]
    paths = [f"/data/somebody/audio_s6/train/{piece}.wav" for piece in pieces]
    content = [[paths[1], paths[2]], [paths[0]], [paths[0]]]
    kept = [pieces[0], pieces[2]]
    listed = load(tmp_path, content, kept, np.arange(2), listed_names=pieces)
    assert drawn_of(listed, 2) == [{1}, {0}]


def test_an_object_names_images(tmp_path):
    content = {name: [BIRDS[3], "gone.jpg"] for name in BIRDS[:3]} | {BIRDS[3]: BIRDS[:2]}
    assert drawn_of(load(tmp_path, content), 4) == [{3}, {3}, {3}, {0, 1}]


def test_all_that_are_listed_are_seen_before_one_comes_again():
    lists = [[1, 2, 3, 4, 5], [0, 2], [1], [1], [1], [1]]
    number = np.arange(6)
    listed = ListedNegatives(lists, number, number)
    drawn = listed.draw(np.random.default_rng(0), np.array([0] * 300 + [1]), num_negatives=5)
    assert all(sorted(row) == [1, 2, 3, 4, 5] for row in drawn[:300].tolist())
    assert len(np.unique(drawn[:300], axis=0)) > 80  # of 120 orders
    assert np.isin(drawn[300], [0, 2]).all()
    # With fewer than are listed, each is equally likely: 100 +- 4 standard deviations.
    counts = np.bincount(
        listed.draw(np.random.default_rng(1), np.zeros(250, int), num_negatives=2).ravel()
    )
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - 100) < 36)


def test_never_of_the_own_group_and_any_view_of_the_others():
    image = np.repeat(np.arange(4), 3)
    group = SPECIES[image]
    listed = ListedNegatives([[0, 1, 2], [0, 3], [1, 2], [3, 0]], image, group)
    views = [{6, 7, 8}, {9, 10, 11}, {3, 4, 5}, {0, 1, 2}]
    assert drawn_of(listed, 12, 60) == [views[k] for k in image]


def test_batches_take_them_the_same_for_any_number_of_processes():
    number = np.arange(6)
    examples = TokenExamples(tokens=number[:, None], cond=number, group=number)
    others = ListedNegatives([[(k + 1) % 6, (k + 3) % 6] for k in range(6)], number, number)
    options = {"batch_size": 4, "seed": 1, "num_negatives": 2, "others": others}
    whole = make_train_dataset(examples, **options)
    halves = [
        make_train_dataset(examples, **options, process_index=k, num_processes=2) for k in (0, 1)
    ]
    for step in range(4):
        apart = (whole[step]["negatives"][..., 0] - whole[step]["tokens"]) % 6
        assert np.sort(apart).tolist() == [[1, 3]] * 4
        joined = np.concatenate([half[step]["negatives"] for half in halves])
        np.testing.assert_array_equal(joined, whole[step]["negatives"])
    assert "negatives" not in make_train_dataset(examples, **options | {"num_negatives": 0})[0]


FULL = {name: [BIRDS[3]] for name in BIRDS[:3]} | {BIRDS[3]: [BIRDS[0]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1]", r"negatives\.json, line 1, column 5: this is not JSON"),
        ("3", "must be a list of lists or an object of lists"),
        ([[0]] * 4, "only a set with captions or dances says which example each entry is for"),
        (FULL | {BIRDS[0]: BIRDS[2]}, r"the negatives of 1\.Crow/a_1\.jpg must be a list, not '2"),
        (FULL | {BIRDS[0]: [1.5]}, r"a_1\.jpg must be names or numbers, not 1\.5"),
        ({"x.jpg": ["y.jpg"]}, "names none of the 4 images; it belongs to another set"),
        # Numbers at the names' ends do not tell the birds apart.
        (FULL | {BIRDS[0]: [1, 2]}, r"no negatives of another group for 1 of the 4 .*Crow/a_1"),
        (FULL | {BIRDS[0]: [BIRDS[1]]}, r"no negatives of another group for 1 of the 4 .*Crow/a_1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, content)


def test_a_list_of_another_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has 5 entries, and the set needs 4, one for each"):
        load(tmp_path, [[BIRDS[0]]] * 5, listed_names=BIRDS)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[1], [2]], "the list of image 1 names one that there is not"),
        ([[1], []], "the list of image 1 names no image of another group"),
        ([[1]], "there are 1 lists of negatives for other images"),
    ],
)
def test_lists_that_do_not_fit_the_examples_are_refused(lists, message):
    with pytest.raises(ValueError, match=message):
        ListedNegatives(lists, np.arange(2), np.arange(2))


def test_a_compact_list_of_many_negatives_takes_no_more_memory_than_is_allowed(monkeypatch):
    monkeypatch.setattr("cdcd_jax.reading.json_text.FREE_MEMORY", 0)
    listed = [[index % 1000] * 10 for index in range(100)]
    assert parse_json(json.dumps(listed, separators=(",", ":")), "negatives.json") == listed
    with pytest.raises(ValueError, match="far more lists, objects or numbers than text"):
        parse_json("[" + "[]," * 1000 + "[]]", "negatives.json")
