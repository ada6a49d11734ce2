"""Prompts on the command line and in files, and what a model has no use for."""

import importlib
import re

import jax
import numpy as np
import pytest
from absl.testing import flagsaver

from cdcd_jax.cli.drawing import describe, read_request
from cdcd_jax.cli.flag_checks import check_flags
from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.cli.prompts import read_prompts
from cdcd_jax.conditioning.condition import no_condition
from cdcd_jax.conditioning.texts import Texts
from cdcd_jax.conditioning.vocabulary import CaptionTokenizer, learn_vocabulary
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build
from cdcd_jax.tasks.conditions import condition_on_texts


def write(folder, content):
    path = folder / "prompts.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_those_of_the_command_line_come_first_and_each_once(tmp_path):
    path = write(tmp_path, "\n  a red bird \r\n\r\n\tein Vögel 🐦\na gull\n")
    assert read_prompts([" a gull", "a cat"], path) == (
        *("a gull", "a cat"),
        *("a red bird", "ein Vögel 🐦"),
    )
    assert read_prompts(["a cat", "a cat "], None) == ("a cat",)
    assert read_prompts([], None) == ()


def test_a_mark_of_the_encoding_is_no_part_of_the_first(tmp_path):
    assert read_prompts([], write(tmp_path, b"\xef\xbb\xbfa cat\n")) == ("a cat",)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a cat\nein Vögel\n".encode("latin-1"), 2),
        ("a cat\nein Vögel\n".encode("utf-16"), 1),
        ("a cat\nein Vögel\n".encode("utf-16-le"), 1),  # without a mark all letters but ö are UTF-8
        ("a cat\na bird\n".encode("utf-16-be"), 1),
        (b"a\n\n\xf0\x9f\n", 3),
    ],
)
def test_a_line_in_another_encoding_is_named(tmp_path, content, line):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=rf"prompts\.txt: line {line} is not UTF-8; save the"):
        read_prompts(["a cat"], path)


def test_files_without_prompts_are_refused(tmp_path):
    for content in (b"", b"\n \r\n\t\n", b"\xef\xbb\xbf"):
        with pytest.raises(ValueError, match=r"prompts\.txt holds no prompts; write one a line"):
            read_prompts(["a cat"], write(tmp_path, content))
    with pytest.raises(ValueError, match=r"prompt_file = \S*none\.txt cannot be read: No such"):
        read_prompts([], tmp_path / "none.txt")
    with pytest.raises(ValueError, match=r"cannot be read: it is a folder"):
        read_prompts([], tmp_path)


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_prompt_is_named_by_its_place(empty):
    with pytest.raises(ValueError, match="prompt 2 is empty; say what is to be drawn"):
        read_prompts(["a cat", empty], None)


def test_a_prompt_that_would_be_cut_is_shown_in_short():
    vocabulary = learn_vocabulary(["a small red bird"], vocab_size=300)
    tokenizer = CaptionTokenizer(vocabulary, length=8)
    prompts = ["a red bird", "a small red bird " * 600 + "on a mat"]
    assert len(prompts[1]) > 10_000
    conditioning = condition_on_texts(
        Texts(
            tokenize=tokenizer, count=tokenizer.count, length=tokenizer.length,
            embed=lambda tokens: tokens, condition=no_condition(), cond_dim=1, fingerprint="",
        ),
        (),
    )  # fmt: skip
    assert conditioning.encode_for(prompts[:1], 1).shape == (1, 8)
    sentence = r"text 'a small red bird a small red bird a sma…' has 24\d\d tokens, and the model "
    with pytest.raises(ValueError, match=sentence + "reads 8; shorten it"):
        conditioning.encode_for(prompts, 2)
    assert conditioning.encode(prompts).shape == (2, 8)  # of a data set, it is cut
    # As many tokens as fit, a space and the end among them, are not too many.
    letters = "q" * (tokenizer.length - 2)
    conditioning.encode_for(letters, 1)
    with pytest.raises(ValueError, match="'qqqqqqq' has 9 tokens"):
        conditioning.encode_for(letters + "q", 1)


def test_an_image_of_long_prompts_has_a_name_that_disks_take():
    name = describe(0, ["a bird " * 2000, "../../etc/passwd"], num_steps=5, label=None)
    assert len(name.encode()) < 200
    assert "/" not in name
    assert name != describe(0, ["a bird " * 2000, "../../etc/passwd!"], num_steps=5, label=None)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"prompt": ["a cat"]},
            "prompt is not read by --mode=train: it is for samples; add --mode",
        ),
        ({"prompt_file": "prompts.txt"}, "prompt_file is not read by --mode=train: it is for samp"),
        ({"gif": True, "mode": "evaluate"}, "gif is not read by --mode=evaluate: it is for sampl"),
        (
            {"trajectory": True},
            "trajectory is not read by --mode=train: it is for samples; add --m",
        ),
        ({"bpe_merges": "merges.txt", "mode": "sample"}, "bpe_merges needs --reference_checkpoint"),
    ],
)
def test_flags_on_samples_need_the_mode(given, sentence):
    FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**given), pytest.raises(ValueError, match=re.escape(sentence)):
        check_flags()


@pytest.fixture(scope="module")
def experiments(tmp_path_factory):
    """Build a model of texts that is never trained without one, and a model of classes."""
    folder = tmp_path_factory.mktemp("run")
    built = []
    for name, changes in (
        ("glyphs_vanilla", {"data.scripts": ("digit",), "condition.dropout": 0.0}),
        ("digits_vanilla", {}),
    ):
        config = importlib.import_module(f"configs.{name}").get_config("smoke")
        config.update_from_flattened_dict(changes)
        mesh = make_mesh(jax.devices()[:1])
        built.append(build(config.lock(), folder, mesh=mesh, dry_run=True))
    return built


def check(experiment, **given):
    read_request(experiment.generator({}), **(experiment.sampling | given))


def test_what_can_be_requested(experiments):
    of_texts, of_classes = experiments
    check(of_texts, prompts=("digit one", "digit two"), num_samples=2)
    check(of_texts)
    check(of_classes, label=9)
    texts = of_texts.conditioned.conditioning.texts
    assert texts.count(["digit one"]) <= texts.length
    assert np.shape(texts.tokenize(["digit one"])) == (1, 16)


@pytest.mark.parametrize(
    ("classes", "given", "message"),
    [
        (False, {"label": 1}, "label: this is a model of texts; give --prompt instead"),
        (True, {"prompts": ("one",)}, "prompt: this is a model of classes; give --label instead"),
        (True, {"label": 10}, r"label = 10 must be in 0\.\.9"),
        (
            False,
            {"prompts": ("one", "two"), "num_samples": 1},
            "num_samples = 1 must be at least 2, one for each request",
        ),
        (False, {"num_samples": 0}, "num_samples = 0 must be at least 1"),
        (False, {"guidance": 2.0}, r"guidance = 2\.0 needs a model that was trained without its c"),
        (True, {"guidance": 2.0}, r"guidance = 2\.0 needs a model .* above 0\); leave it at 1"),
        (False, {"guidance": -1.0}, r"guidance = -1\.0 must be at least 0; 1 is none"),
        (False, {"guidance": float("nan")}, "guidance = nan must be at least 0"),
        (False, {"prompts": ("x " * 5000,)}, "has 10001 tokens, and the model reads 16; shorten"),
    ],
)
def test_what_a_model_has_no_use_for_is_named(experiments, classes, given, message):
    with pytest.raises(ValueError, match=message):
        check(experiments[classes], **given)


def test_the_captions_of_a_large_set_are_prompts_and_millions_of_empty_lines_are_none(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"a bird {'on a branch ' * 30} {number}\n" for number in range(28_000)))
    assert path.stat().st_size > 10**7
    assert len(read_prompts([], path)) == 28_000
    path.write_bytes(b"\n" * 2_100_000)
    with pytest.raises(ValueError, match=r"prompts.txt has 2,100,000 lines"):
        read_prompts([], path)
