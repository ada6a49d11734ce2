import json

import numpy as np
import pytest
from scipy.io import savemat

from cdcd_jax.data.imagenet import load_imagenet

WNIDS = ("n01440764", "n01443537", "n02085620")


def make_imagenet(root, *, flat=True):
    for wnid in WNIDS:
        (root / "train" / wnid).mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_1.JPEG").write_bytes(wnid.encode())
    for number, wnid in enumerate([WNIDS[2], WNIDS[0], WNIDS[2], WNIDS[1]], start=1):
        folder = root / "val" if flat else root / "val" / wnid
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(b"")
    return root


def write_devkit(folder):
    """Write the kit's two files: numbers in another order than the wnids', inner nodes after."""
    folder.mkdir(parents=True)
    # Picture 1 is of class number 1, n02085620, and so on.
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n3\n1\n2\n")
    rows = [(1, WNIDS[2], "chihuahua", 0), (2, WNIDS[1], "goldfish", 0), (3, WNIDS[0], "tench", 0)]
    rows.append((4, "n00000001", "entity", 3))
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array(rows, dtype=fields)[:, None]
    savemat(folder / "meta.mat", {"synsets": synsets})


def write_solution(path, wnids=(WNIDS[2], WNIDS[0], WNIDS[2], WNIDS[1])):
    rows = [f"ILSVRC2012_val_{k:08d},{wnid} 1 2 3 4 \n" for k, wnid in enumerate(wnids, start=1)]
    path.write_text("ImageId,PredictionString\n" + "".join(reversed(rows)))


def labels_of(source):
    return [source[index].label for index in range(len(source))]


def test_training_classes_are_numbered_in_the_order_of_wnids(tmp_path):
    source = load_imagenet(make_imagenet(tmp_path), "train")
    assert source.class_names == WNIDS
    assert labels_of(source) == [0, 1, 2]
    assert source[1] == (f"{WNIDS[1]}/{WNIDS[1]}_1.JPEG", 1, WNIDS[1].encode(), ())


def test_flat_validation_pictures_by_the_development_kit(tmp_path):
    make_imagenet(tmp_path)
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12/data")
    assert labels_of(load_imagenet(tmp_path, "val")) == [2, 0, 2, 1]


def test_flat_validation_pictures_by_the_kaggle_file(tmp_path):
    make_imagenet(tmp_path)
    write_solution(tmp_path / "elsewhere.csv")
    source = load_imagenet(tmp_path, "val", val_labels=tmp_path / "elsewhere.csv")
    assert labels_of(source) == [2, 0, 2, 1]
    assert source[0].name == "ILSVRC2012_val_00000001.JPEG"


def test_validation_pictures_in_wnid_folders(tmp_path):
    source = load_imagenet(make_imagenet(tmp_path, flat=False), "val")
    assert labels_of(source) == [0, 1, 2, 2]


def test_names_come_from_the_class_index(tmp_path):
    make_imagenet(tmp_path)
    names = ["tench", "goldfish", "Mexican_hairless"]
    index = {str(k): [wnid, names[k]] for k, wnid in enumerate(WNIDS)}
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps(index))
    expected = ("tench", "goldfish", "Mexican hairless")
    assert load_imagenet(tmp_path).class_names == expected
    assert load_imagenet(tmp_path, class_index=path).class_names == expected
    path.write_text(json.dumps({"0": index["1"], "1": index["0"], "2": index["2"]}))
    with pytest.raises(ValueError, match="does not number its classes in the order of their wnids"):
        load_imagenet(tmp_path)
    path.write_text(json.dumps({"0": index["0"]}))
    with pytest.raises(ValueError, match=f"differ in class {WNIDS[1]}"):
        load_imagenet(tmp_path)
    path.write_text("[]}")
    with pytest.raises(ValueError, match=r"imagenet_class_index\.json is no class index"):
        load_imagenet(tmp_path)


def test_what_is_missing_is_named_with_the_way_out(tmp_path):
    make_imagenet(tmp_path)
    with pytest.raises(ValueError, match="lie flat, so their classes are needed: put LOC_val"):
        load_imagenet(tmp_path, "val")
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12/data")
    (tmp_path / "ILSVRC2012_devkit_t12/data/meta.mat").unlink()
    with pytest.raises(ValueError, match=r"meta\.mat is missing"):
        load_imagenet(tmp_path, "val")
    with pytest.raises(ValueError, match=r"nowhere\.csv cannot be read: No such file"):
        load_imagenet(tmp_path, "val", val_labels=tmp_path / "nowhere.csv")
    write_solution(tmp_path / "short.csv", WNIDS)
    with pytest.raises(ValueError, match=r"_00000004\.JPEG is not listed in .*short\.csv"):
        load_imagenet(tmp_path, "val", val_labels=tmp_path / "short.csv")
    write_solution(tmp_path / "other.csv", ("n09999999",) * 4)
    with pytest.raises(ValueError, match="is of class n09999999, which has no training folder"):
        load_imagenet(tmp_path, "val", val_labels=tmp_path / "other.csv")
    with pytest.raises(ValueError, match='no split "test" of ImageNet'):
        load_imagenet(tmp_path, "test")
    with pytest.raises(ValueError, match="there is no folder"):
        load_imagenet(tmp_path / "nowhere")
