"""References that others publish: mu and sigma, images in arr_0, and what is none of them."""

import zipfile

import numpy as np
import pytest

from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.evaluation.metrics.images.frechet import (
    Gaussian,
    frechet_distance,
    init_moments,
    update_moments,
)
from cdcd_jax.evaluation.metrics.images.real_images import RealImages
from cdcd_jax.evaluation.metrics.images.reference import (
    Reference,
    check_reference,
    find_form,
    load_reference,
)
from cdcd_jax.evaluation.npz import stream_rows

DIM = 2048
MU = np.linspace(0, 1, DIM)
SIGMA = np.diag(np.linspace(1, 2, DIM))
OURS = {"fingerprint": "ours", "num_examples": 3, "mean": MU, "scatter": SIGMA}


def never(images):
    raise AssertionError("nothing is to be computed")


def load(path, compute=never):
    unused = RealImages(ImageBytes("none", [b""], [0], []), image_size=8, limit=1)
    return load_reference(path, "ours", unused, compute)


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("fid_stats.npz", (), "as pytorch-fid has them"),
        (
            "cifar10_clean_train_32.npz",
            (),
            "clean-fid's in mode clean, of images that it resized",
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
    assert "precision, recall and KID need images or features" in printed


def test_the_distance_to_statistics_is_that_to_their_examples():
    features = np.random.default_rng(0).normal(size=(2, 40, 3))
    first, second = (update_moments(init_moments(3), rows) for rows in features)
    gaussian = Gaussian(first.mean, first.covariance)
    assert frechet_distance(second, gaussian) == frechet_distance(second, first)


@pytest.mark.parametrize("with_statistics", [True, False])
def test_images_in_arr_0(tmp_path, capsys, with_statistics):
    """ADM's files: features are computed of the images, the statistics taken if there are any."""
    images = np.random.default_rng(0).integers(0, 255, (23, 6, 5, 3), dtype=np.uint8)
    statistics = {"mu": MU, "sigma": SIGMA} if with_statistics else {}
    np.savez(tmp_path / "adm.npz", arr_0=images, **statistics)
    read = []

    def compute(archived):
        assert len(archived) == archived.num_distinct == 23
        for batch, places in archived.batches(10, progress=False):
            np.testing.assert_array_equal(batch, images[places])
            read.extend(places.tolist())
        assert archived.name_of(3).startswith("image 3 of ")
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
        ({"arr_0": MU}, r"arr_0 is float64 \[2048\], and no images, which are uint8"),
        (
            {"mu": np.array([None] * DIM), "sigma": SIGMA},
            r"mu: it holds Python objects, records",
        ),
        (
            {"mu": MU, "sigma": SIGMA + 1j},
            r"mu and sigma are float64 and complex128, and not float",
        ),
        ({"mu": MU > 0, "sigma": SIGMA}, r"mu and sigma are bool and float64"),
        ({"mu": MU.astype(str), "sigma": SIGMA}, r"mu and sigma are <U\d+ and float64"),
        ({"mu": MU, "sigma": np.triu(SIGMA + 1)}, r"sigma is not symmetric"),
        ({"mu": MU, "sigma": -SIGMA}, r"sigma has negative variances"),
        ({"mu": MU, "sigma": SIGMA, "arr_0": MU}, r"arr_0 is float64 \[2048\], and no images"),
        (OURS | {"num_examples": [3, 4]}, r"not a file of .*num_examples int64 \[2\]"),
        (OURS | {"num_examples": -3}, r"not a file of reference statistics"),
        (
            OURS | {"mean": MU[:3]},
            r"not a file of .*mean float64 \[3\].*scatter float64 \[2048, 2048\]",
        ),
        (OURS | {"mean": MU.astype(str)}, r"not a file of reference statistics, as it holds"),
        (OURS | {"features": np.ones((3, 2))}, r"not a file of .*features float64 \[3, 2\]"),
        (OURS | {"mean": MU + np.nan}, r"mean or scatter has values that are not finite"),
        (OURS | {"features": SIGMA[:2] + np.nan}, r"features has values that are not finite"),
    ],
)
def test_another_format_is_named_and_nobodys_file_is_to_be_deleted(tmp_path, arrays, message):
    path = tmp_path / "adm.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as error:
        check_reference(path)
    with pytest.raises(ValueError, match=message):
        load(path)
    assert "adm.npz" in str(error.value)
    assert "delete" not in str(error.value)
    assert "remove" not in str(error.value)


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "reference.npz"
    path.write_text("mu and sigma")
    with pytest.raises(ValueError, match=r"reference\.npz is not a complete npz archive of arrays"):
        find_form(path)
    np.savez(path, arr_0=np.zeros((9, 4, 4, 3), np.uint8))
    data = path.read_bytes()
    # The array's head is whole, and its bytes are not what the archive's checksum says.
    path.write_bytes(data.replace(bytes(40), b"\1" * 40, 1))
    with pytest.raises(ValueError, match=r"reference\.npz is not a complete npz archive.*Bad CRC"):
        load(path, lambda archived: list(archived.batches(4, progress=False)))


def test_our_file_of_another_network_is_refused(tmp_path):
    few = {"mean": MU[:3], "scatter": SIGMA[:3, :3]}
    np.savez(tmp_path / "few.npz", fingerprint="ours", num_examples=3, **few)
    with pytest.raises(
        ValueError, match=r"few\.npz holds statistics of 3 features, and not of Inc"
    ):
        check_reference(tmp_path / "few.npz")


@pytest.mark.parametrize(
    ("place", "value", "message"), [(10, 9, "compression .*not supported"), (8, 1, "encrypted")]
)
def test_unknown_compression_and_encryption_are_named(tmp_path, place, value, message):
    path = tmp_path / "odd.npz"
    np.savez(path, mu=MU[:2])
    data = bytearray(path.read_bytes())
    # Method and flags are in the archive's directory, and the flags before the member, too.
    data[data.index(b"PK\1\2") + place] = value
    data[data.index(b"PK\3\4") + place - 2] = value
    path.write_bytes(data)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match=rf"odd\.npz is not a complete npz archive.*{message}"):
        find_form(path)


@pytest.mark.parametrize("kind", ["O", "f4,i4", "M8[s]", [("ä", "f4")]], ids=str)
def test_arrays_of_other_kinds_beside_statistics_are_left(tmp_path, kind):
    np.savez(tmp_path / "reference.npz", mu=MU, sigma=SIGMA, more=np.zeros(2, kind))
    check_reference(tmp_path / "reference.npz")


def test_black_images_may_be_compressed(tmp_path, monkeypatch):
    path, images = tmp_path / "black.npz", np.zeros((1400, 128, 128, 3), np.uint8)
    np.savez_compressed(path, arr_0=images, more=np.array([None]))
    assert max(2**26, 100 * path.stat().st_size) < images.nbytes
    check_reference(path)
    assert sum(len(rows) for rows in stream_rows(path, "arr_0", 500)) == len(images)
    monkeypatch.setattr("cdcd_jax.reading.arrays.WANTED_BYTES", 2**26)
    with pytest.raises(ValueError, match=r"black\.npz .* it would unpack"):
        next(stream_rows(path, "arr_0", 500))
