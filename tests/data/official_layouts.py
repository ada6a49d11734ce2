"""COCO and CUB-200 in miniature, as the folders that one downloads lie on a disk."""

import json
import pickle

COCO_IMAGES = [{"id": 9, "file_name": "COCO_9.jpg"}, {"id": 4, "file_name": "COCO_4.jpg"}]
COCO_CAPTIONS = [
    {"image_id": 9, "caption": "A dog."},
    {"image_id": 4, "caption": "Two  cats\n"},
    {"image_id": 9, "caption": "An animal."},
]
CUB_NAMES = (
    "001.Black_footed_Albatross/a",
    "001.Black_footed_Albatross/b",
    "002.Laysan_Albatross/c",
)


def write_coco(
    folder,
    *,
    images=COCO_IMAGES,
    captions=COCO_CAPTIONS,
    split="train2014",
    place=None,
    pictures=None,
):
    """Write a split; the pictures hold their names unless their bytes are given by name."""
    place = folder / (place or split)
    place.mkdir(parents=True, exist_ok=True)
    names = (image["file_name"] for image in COCO_IMAGES)
    for name, data in (pictures or {name: name.encode() for name in names}).items():
        (place / name).write_bytes(data)
    (folder / "annotations").mkdir(exist_ok=True)
    path = folder / "annotations" / f"captions_{split}.json"
    path.write_text(json.dumps({"images": images, "annotations": captions}, indent=1))
    return path


def write_cub(folder, *, captions=None, train=(0, 2), pictures=None):
    """Write the set, its captions beside CUB_200_2011; ``train`` are places in the list of it."""
    if captions is None:
        birds = "the bird {}\n\na  bird\ufffd\ufffd with wings\n"
        captions = {name: birds.format(name[-1]) for name in CUB_NAMES}
    root = folder / "CUB_200_2011"
    for name, text in captions.items():
        data = text.encode() if pictures is None else pictures[name]
        for path, content in (
            (root / "images" / f"{name}.jpg", data),
            (folder / "text" / f"{name}.txt", text.encode()),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    lines = [f"{number} {name}.jpg\n" for number, name in enumerate(captions, start=1)]
    (root / "images.txt").write_text("".join(lines))
    flags = [f"{number + 1} {int(number in train)}\n" for number in range(len(captions))]
    (root / "train_test_split.txt").write_text("".join(flags))


def write_cub_list(folder, part, names, protocol=0):
    """Write the pickled list of a part of the split by species."""
    (folder / part).mkdir(exist_ok=True)
    path = folder / part / "filenames.pickle"
    path.write_bytes(pickle.dumps(names, protocol=protocol))
    return path
