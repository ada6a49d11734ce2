"""``--mode=edit`` for images: a figure and a file for each result, keeping what is not masked."""

import numpy as np
import pytest
from PIL import Image

import cdcd_jax as cdcd
from cdcd_jax.cli.editing import read_edit
from cdcd_jax.data.toy.digits import load_digits
from tests.support.small_digits import save_small_digits


@pytest.fixture
def folder(tmp_path):
    """Write a small model of digits, a digit, and a mask of its lower half."""
    save_small_digits(tmp_path / "run")
    digit = np.round(load_digits("test").tokens[0].reshape(8, 8) / 16 * 255).astype(np.uint8)
    Image.fromarray(digit).save(tmp_path / "digit.png")
    Image.fromarray(np.uint8(np.arange(64).reshape(8, 8) >= 32)).save(tmp_path / "mask.png")
    return tmp_path


def test_an_edit_writes_a_figure_and_a_file_for_each_result(folder, run_here):
    flags = (f"--workdir={folder / 'run'}", "--mode=edit", f"--image={folder / 'digit.png'}")
    code, output = run_here(*flags, f"--mask={folder / 'mask.png'}", "--label=3", "--num_samples=3")
    assert code == 0, output
    figure, results = (line.partition(": ")[2] for line in output.splitlines()[-2:])
    with Image.open(figure) as image:
        assert image.height > 3 * 96
    before = np.asarray(Image.open(folder / "digit.png"))
    model = cdcd.load(folder / "run")
    edited = model.edit(before, (4, 0, 4, 8), 3, num_samples=3)
    for number in range(3):
        after = np.asarray(Image.open(f"{results}/{number}.png"))[..., 0]
        np.testing.assert_array_equal(after[:4], before[:4])
        np.testing.assert_array_equal(after, np.round(255 * edited[number]))
    code, again = run_here(*flags, "--box=4,0,4,8", "--label=3", "--strength=0.5")
    assert code == 0, again
    assert figure not in again
    code, classes = run_here(*flags)
    assert code == 0, classes
    assert len([*(folder / "run" / "samples").glob("*num_samples10*/*.png")]) == 10


def test_a_box_and_a_mask_give_the_same_and_have_names_of_their_own(folder):
    common = {"image": str(folder / "digit.png"), "strength": 1.0}
    masked = read_edit(mask=str(folder / "mask.png"), box=None, **common)
    boxed = read_edit(mask=None, box="4,0,4,8", **common)
    np.testing.assert_array_equal(masked.mask, boxed.mask)
    assert len({masked.name, boxed.name, read_edit(mask=None, box=None, **common).name}) == 3
