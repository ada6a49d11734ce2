"""Birds of 200 species with ten captions each: CUB-200-2011 (Wah et al. 2011; Reed et al. 2016).

The images, ``CUB_200_2011/`` with ``images/<class>/*.jpg`` and its lists, are Caltech's. The
captions, ``text/<class>/<image>.txt`` (or ``text_c10/``, ``text/text/``, and all of them below
``cvpr2016_cub/`` or ``birds/``), are those that Reed et al. collected; the text-to-image literature
passes them on. They may be inside or beside ``CUB_200_2011``. An image's class is its folder, as
``image_class_labels.txt`` says too.

There are two splits. The official one, ``train_test_split.txt``, has every species in both parts
(5,994 and 5,794 images). The literature since Reed et al., VQ-Diffusion and CDCD included, tests
on 50 species that training lacks (8,855 and 2,933), listed in ``train/filenames.pickle`` and
``test/filenames.pickle``.
"""

from collections.abc import Iterable
from pathlib import Path

from cdcd_jax.data.images.caption_files import (
    CaptionedImages,
    clean_line,
    find_repeated,
    read_caption_lines,
)
from cdcd_jax.data.images.sources import ImageFiles, sub_folders
from cdcd_jax.reading.pickles import SafeUnpickler, brief
from cdcd_jax.reading.regular import open_regular, read_text, split_lines

SPLITS = ("train", "test", "train_classes", "test_classes")

RELEASES = ("", "cvpr2016_cub/", "birds/")
"""What archives of the captions and lists unpack to: Reed et al.'s, and StackGAN's."""

CAPTION_FOLDERS = tuple(
    release + name for release in RELEASES for name in ("text", "text_c10", "text/text")
)


def load_cub(folder: str | Path, split: str = "train") -> CaptionedImages:
    """List the images of a split with their captions.

    Args:
        folder: Holds ``CUB_200_2011``, or is it.
        split: ``"train"`` or ``"test"``, the official split; ``"train_classes"`` or
            ``"test_classes"``, the one by species.

    Returns:
        The images in the order of the split's list, with all species as classes.

    Raises:
        ValueError: If something is missing or malformed; the sentence names the file.
    """
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}" of CUB, only {", ".join(SPLITS)}')
    folder = Path(folder)
    root = folder / "CUB_200_2011" if (folder / "CUB_200_2011").is_dir() else folder
    classes = sub_folders(root / "images")
    if split.endswith("_classes"):
        part = split.removesuffix("_classes")
        path = _find(folder, root, [f"{release}{part}/filenames.pickle" for release in RELEASES])
        # Lists that were written on Windows have a carriage return behind each name.
        names = [name.strip().removesuffix(".jpg") + ".jpg" for name in _read_names(path)]
    else:
        path = root / "train_test_split.txt"
        names = _official_names(root, split)
    if repeated := find_repeated(names):
        raise ValueError(f"{path} lists {repeated} twice; list it once")
    labels = _find_labels(names, classes, root / "images", path)
    captions = _read_captions(names, _find(folder, root, CAPTION_FOLDERS))
    class_names = [name.partition(".")[2].replace("_", " ") or name for name in classes]
    images = ImageFiles(f"cub, {split}", root / "images", names, labels, class_names)
    return CaptionedImages(images, captions)


def _find(folder: Path, root: Path, names: Iterable[str]) -> Path:
    """Find captions or a list, which copies of the set keep in different places."""
    places = [place / name for name in names for place in (root, folder)]
    for place in places:
        # "text" may itself hold no classes but one more folder "text".
        if place.is_file() or (place.is_dir() and any(place.glob("[!._]*/*.txt"))):
            return place
    listed = " or ".join(name for name in names if not name.startswith(RELEASES[1:]))
    raise ValueError(
        f"{folder} has no {listed}, which the authors of the captions publish; put it there"
    )


def _official_names(root: Path, split: str) -> list[str]:
    """Read the names of a split's images from the set's own lists."""
    names = _read_pairs(root / "images.txt")
    path = root / "train_test_split.txt"
    flags = _read_pairs(path)
    if set(flags) != set(names) or not set(flags.values()) <= {"0", "1"}:
        raise ValueError(
            f"{path} must say 1 (train) or 0 (test) of each image of images.txt; "
            "take both from one copy of the set"
        )
    wanted = "1" if split == "train" else "0"
    return [name for number, name in names.items() if flags[number] == wanted]


def _read_pairs(path: Path) -> dict[str, str]:
    """Read a list whose lines are a number and what is said of that number."""
    pairs: dict[str, str] = {}
    for line_number, line in enumerate(split_lines(read_text(path).rstrip()), start=1):
        fields = line.split()
        if len(fields) != 2 or fields[0] in pairs:
            raise ValueError(
                f"{path}, line {line_number}: this must be a new number and one word, "
                f"not {line!r:.60}"
            )
        pairs[fields[0]] = fields[1]
    return pairs


def _read_names(path: Path) -> list[str]:
    """Read a pickled list of names; nothing else that a pickle may hold is executed."""
    try:
        with open_regular(path) as file:
            names = SafeUnpickler(file, path).load()  # lists and texts need no names
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a pickled list of names: {error}") from error
    if not isinstance(names, list) or not names:
        raise ValueError(f"{path} must hold a list of names, not {type(names).__name__}")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"{path} must hold names of images, not {brief(wrong[0])}")
    return names


def _find_labels(names: list[str], classes: list[str], images: Path, listing: Path) -> list[int]:
    label_of = {name: label for label, name in enumerate(classes)}
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        raise ValueError(
            f"{images} lacks {len(missing)} of the {len(names)} images that {listing} names, "
            f"{missing[0]} first; unpack all of them there"
        )
    try:
        return [label_of[name.split("/")[0]] for name in names]
    except KeyError as error:
        raise ValueError(f"{listing} names an image in no folder of {images}: {error}") from error


def _read_captions(names: list[str], folder: Path) -> list[list[str]]:
    files = [folder / Path(name).with_suffix(".txt") for name in names]
    if missing := [path for path in files if not path.is_file()]:
        raise ValueError(
            f"{len(missing)} of {len(names)} images have no captions, "
            f"{missing[0]} first; unpack all of them there"
        )
    # Signs that were lost before publication stand there as U+FFFD.
    captions = [
        [clean_line(text.replace("\ufffd", " ")) for text in read_caption_lines(path)]
        for path in files
    ]
    for path, texts in zip(files, captions, strict=True):
        if not all(texts):
            raise ValueError(
                f"{path} has a caption without a readable sign; take another copy of the set"
            )
    return captions
