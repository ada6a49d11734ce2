"""COCO and CUB-200 in miniature, as the folders that one downloads are on a disk."""

from cdcd_jax.data.miniature import coco, cub
from cdcd_jax.data.miniature.cub import write_cub_list

__all__ = ["COCO_CAPTIONS", "COCO_IMAGES", "CUB_NAMES", "write_coco", "write_cub", "write_cub_list"]

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
    folder, *, images=COCO_IMAGES, captions=COCO_CAPTIONS, split="train2014", place=None
):
    """Write a split of two images, which hold their names."""
    files = {image["file_name"]: image["file_name"].encode() for image in COCO_IMAGES}
    options = {"images": images, "captions": captions, "files": files, "place": place}
    return coco.write_coco(folder, split, **options)


def write_cub(folder, *, train=(0, 2)):
    """Write three images, which hold their captions."""
    birds = "the bird {}\n\na  bird\ufffd\ufffd with wings\n"
    captions = {name: birds.format(name[-1]) for name in CUB_NAMES}
    images = {name: text.encode() for name, text in captions.items()}
    cub.write_cub(folder, captions=captions, images=images, train=train)
