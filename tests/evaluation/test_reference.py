"""References that others publish: mu and sigma, pictures in arr_0, and what is none of them."""

import numpy as np
import pytest

from cdcd_jax.data.sources import PictureBytes
from cdcd_jax.evaluation.frechet import Gaussian, frechet_distance, init_moments, update_moments
from cdcd_jax.evaluation.real_pictures import RealPictures
from cdcd_jax.evaluation.reference import Reference, find_form, load_reference

DIM = 2048
MU = np.linspace(0, 1, DIM)
SIGMA = np.diag(np.linspace(1, 2, DIM))


def never(pictures):
    raise AssertionError("nothing is to be computed")


def load(path, compute=never):
    unused = RealPictures(PictureBytes("none", [b""], [0], []), image_size=8, limit=1)
    return load_reference(path, "ours", unused, compute)


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("fid_stats.npz", (), "as pytorch-fid has them"),
        (
            "cifar10_clean_train_32.npz",
            (),
            "clean-fid's in mode clean, of pictures that it resized",
        ),
        ("cifar10_legacy_tensorflow_train_32.npz", (), "clean-fid's in mode legacy"),
        ("VIRTUAL_imagenet256_labeled.npz", ("mu_s", "sigma_s"), "ADM's, of features from Tensor"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_statistics_of_others_are_taken_as_they_are(tmp_path, capsys, save, name, more, said):
    save(tmp_path / name, mu=MU, sigma=SIGMA, **dict.fromkeys(more, np.eye(3)))
    reference = load(tmp_path / name)
    np.testing.assert_array_equal(reference.gaussian.mean, MU)
    np.testing.assert_array_equal(reference.gaussian.covariance, SIGMA)
    assert reference.features is None
    printed = capsys.readouterr().out
    assert said in printed
    assert "precision, recall and KID need pictures or features" in printed


def test_the_distance_to_statistics_is_that_to_their_examples():
    features = np.random.default_rng(0).normal(size=(2, 40, 3))
    first, second = (update_moments(init_moments(3), rows) for rows in features)
    gaussian = Gaussian(first.mean, first.covariance)
    assert frechet_distance(second, gaussian) == frechet_distance(second, first)


@pytest.mark.parametrize("with_statistics", [True, False])
def test_pictures_in_arr_0(tmp_path, capsys, with_statistics):
    """ADM's files: features are computed of the pictures, the statistics taken if there are any."""
    pictures = np.random.default_rng(0).integers(0, 255, (23, 6, 5, 3), dtype=np.uint8)
    statistics = {"mu": MU, "sigma": SIGMA} if with_statistics else {}
    np.savez(tmp_path / "adm.npz", arr_0=pictures, **statistics)
    read = []

    def compute(archived):
        assert len(archived) == archived.num_distinct == 23
        for images, places in archived.batches(10, progress=False):
            np.testing.assert_array_equal(images, pictures[places])
            read.extend(places.tolist())
        assert archived.name_of(3).startswith("picture 3 of ")
        return Reference(update_moments(init_moments(2), np.eye(2)), np.ones((4, 2), np.float32))

    reference = load(tmp_path / "adm.npz", compute)
    assert read == list(range(23))
    assert reference.features.shape == (4, 2)
    assert reference.gaussian.mean.size == (DIM if with_statistics else 2)
    assert "adm.npz" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["adm.npz"]  # nothing else is written


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": MU}, r"holds mu, which is another format: a reference has mu and sigma"),
        ({}, r"holds nothing, which is another format"),
        ({"feats": SIGMA}, r"holds feats, which is another format"),
        (
            {"mu": MU[:64], "sigma": SIGMA[:64, :64]},
            r"shapes \(64,\) and \(64, 64\), and not those",
        ),
        ({"mu": MU + np.nan, "sigma": SIGMA}, r"mu or sigma has values that are not finite"),
        ({"arr_0": MU}, r"arr_0 is float64 \[2048\], and no pictures, which are uint8"),
        ({"mu": np.array([None] * DIM), "sigma": SIGMA}, r"no complete npz archive: mu: .*pickle"),
    ],
)
def test_another_format_is_named_and_nobodys_file_is_to_be_deleted(tmp_path, arrays, message):
    path = tmp_path / "adm.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert "delete" not in str(error.value)
    assert "remove" not in str(error.value)


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "reference.npz"
    path.write_text("mu and sigma")
    with pytest.raises(ValueError, match=r"reference\.npz is no complete npz archive of arrays"):
        find_form(path)
    np.savez(path, arr_0=np.zeros((9, 4, 4, 3), np.uint8))
    data = path.read_bytes()
    # The array's head is whole, and its bytes are not what the archive's checksum says.
    path.write_bytes(data.replace(bytes(40), b"\1" * 40, 1))
    with pytest.raises(ValueError, match=r"reference\.npz is no complete npz archive.*Bad CRC"):
        load(path, lambda archived: list(archived.batches(4, progress=False)))
