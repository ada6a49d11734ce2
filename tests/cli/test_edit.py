"""``--mode=edit`` for images: a figure and a file for each result, keeping what is not masked."""

import importlib

import jax
import numpy as np
import pytest
from PIL import Image

import cdcd_jax as cdcd
from cdcd_jax.cli.editing import read_edit
from cdcd_jax.codecs.codec_file import flatten, write_arrays
from cdcd_jax.data.toy.digits import load_digits
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build
from cdcd_jax.experiment.model_folder import save_model
from cdcd_jax.training.exported import WEIGHTS, WEIGHTS_FORMAT


@pytest.fixture
def folder(tmp_path):
    """Write a small model of digits, a digit, and a mask of its lower half."""
    config = importlib.import_module("configs.digits_vanilla").get_config("smoke")
    changes = {"denoiser.num_layers": 1, "denoiser.width": 16, "schedule.num_steps": 4}
    config.update_from_flattened_dict(changes)
    config.eval.num_steps, config.sample.num_steps = (2,), 2
    built = build(config.lock(), tmp_path / "run", mesh=make_mesh(jax.devices()[:1]))
    save_model(built, config, tmp_path / "run")
    params = built.model.init(jax.random.key(1))
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(params).items()}
    write_arrays(tmp_path / "run" / "model" / WEIGHTS, arrays, {"format": WEIGHTS_FORMAT})
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
