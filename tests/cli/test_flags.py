"""Flags that a mode ignores are refused, and so are values that cannot be."""

import re
from pathlib import Path

import pytest
from absl.testing import flagsaver

from cdcd_jax.cli.drawing import describe
from cdcd_jax.cli.evaluate import name_evaluation
from cdcd_jax.cli.flag_checks import check_flags, check_writable
from cdcd_jax.cli.flag_help import EXAMPLES, GROUPS, describe_flags
from cdcd_jax.cli.flags import FLAGS, MODES, USES, override
from cdcd_jax.cli.music_files import DanceRequest, name_music
from cdcd_jax.settings.config_file import load_config

PLACES = (Path("one"), Path("two"))
VALUES = {
    **dict.fromkeys(("seed", "num_samples", "label", "num_steps", "top_k", "devices"), 3),
    **dict.fromkeys(("num_hosts", "host_index", "host_timeout", "host_stuck_timeout"), 3),
    **dict.fromkeys(("truncation", "temperature", "guidance", "seconds", "denoise"), 0.5),
    **dict.fromkeys(("debug", "trajectory", "gif"), True),
    "prompt": ["a bird"],
    "plan": "sample",
    "strength": 0.5,
    "audio_out": "a.wav",
    "video_out": "a.mp4",
}


@pytest.fixture(autouse=True)
def parsed():
    FLAGS.mark_as_parsed()


@pytest.mark.parametrize("name", USES)
def test_a_flag_is_taken_by_the_modes_of_the_table_and_by_no_other(name):
    use, value = USES[name], VALUES.get(name, "text")
    needed = {use.needs: "a.npy"} if use.needs else {}
    reading = "sample" if "sample" in use.modes else use.modes[0]
    for mode in MODES:
        with flagsaver.flagsaver(mode=mode, **{name: value}, **needed):
            if mode in use.modes:
                check_flags()
            else:
                with pytest.raises(ValueError, match=f"is not read by --mode={mode}: "):
                    check_flags()
    for other in use.without:
        given = {other: VALUES.get(other, "text"), name: value, **needed}
        with (
            flagsaver.flagsaver(mode=reading, **given),
            pytest.raises(ValueError, match=r"is not read with --|needs --mode=evaluate"),
        ):
            check_flags()
    if use.needs:
        with (
            flagsaver.flagsaver(mode=reading, **{name: value}),
            pytest.raises(ValueError, match=f"{name} needs --{use.needs}=FILE"),
        ):
            check_flags()


def test_the_help_of_a_flag_says_who_reads_it():
    assert FLAGS["seed"].help == "Sample, edit: seed of the samples."
    assert FLAGS["box"].help.startswith("Edit with --image: ")
    assert FLAGS["denoise"].help.startswith("Sample with --motion: ")
    assert FLAGS["export"].help.startswith("Sample, evaluate: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"temperature": float("nan")}, "temperature = nan must be a finite number"),
        ({"guidance": 1e39}, "guidance = 1e+39 must be a finite number"),
        ({"workdir": " "}, "workdir is empty"),
        ({"num_samples": 20_000}, "one image holds at most 10000; add --export=FOLDER"),
        ({"motion": "a", "audio_out": "a.mp3"}, "audio_out = a.mp3 must end in .wav"),
        ({"motion": "a", "video_out": "a.avi"}, "video_out = a.avi must end in .mp4"),
        ({"export": "/dev/null/a"}, "export = /dev/null/a"),
        ({"export": "a.jpg"}, "export = a.jpg must be a folder"),
        ({"export": "a" * 300}, "aaa: File name too long; name another"),
        ({"export": "a.npzz"}, "must be a folder, whose name needs no .npzz, or a file that ends"),
        ({"export": "a.npz2"}, "must be a folder, whose name needs no .npz2, or a file that ends"),
        (
            {"export": "s3://bucket/a.npz"},
            "export = s3://bucket/a.npz is not a path of a file system",
        ),
        (
            {"motion": "https://a.org/b.npy"},
            "motion = https://a.org/b.npy is not a path of a file s",
        ),
        ({"workdir": "/dev/null/a"}, "workdir = /dev/null/a: /dev/null is not a folder"),
    ],
)
def test_values_that_cannot_be_are_refused(flags, message):
    with (
        flagsaver.flagsaver(mode="sample", **flags),
        pytest.raises(ValueError, match=re.escape(message)),
    ):
        check_flags()


@pytest.mark.parametrize(
    "flag",
    ["--seed=-1", "--seed=9223372036854775808", "--num_samples=0", "--devices=1000000",
     "--num_samples=1000000000", "--host_timeout=0", "--denoise=nan", "--denoise=-1"],
)  # fmt: skip
def test_numbers_out_of_range_are_refused_when_parsed(run_here, flag):
    code, output = run_here("--config=configs/digits_vanilla.py:smoke", "--mode=sample", flag)
    assert code == 2
    assert flag.partition("=")[0].strip("-") in output
    assert output.count("\n") == 1


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    check_writable("export", tmp_path / "new" / "folder" / "a.npz")
    with pytest.raises(ValueError, match="is a folder; give the name of a file in it"):
        check_writable("audio_out", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is not a folder"):
        check_writable("audio_out", tmp_path / "file" / "a.wav")


def test_an_export_goes_to_a_folder_of_any_usual_name():
    for name in ("samples", "r0.86", "samples.v1", "a.NPZ"):
        with flagsaver.flagsaver(mode="sample", export=name):
            check_flags()


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--seed=1e5", "must be an integer in the range [0, 4294967295]"),
        ("--temperature=hot", "must be a number"),
        ("--debug=maybe", "must be true or false"),
        ("--config.train.seed=0.5", "must be an integer"),
        ("--config.train.importance_sampling=1: 2", "must be true or false"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_is_possible(run_here, flag, sentence):
    code, output = run_here("--config=configs/digits_vanilla.py:smoke", "--mode=sample", flag)
    assert (code, output) == (2, f"Error: {flag} {sentence}\n")


@pytest.mark.parametrize("flags", [[], ["--config.new.key=1"], ["--noconfig.new.key"]])
def test_a_command_without_a_configuration_gets_an_example(monkeypatch, run_here, flags):
    monkeypatch.setattr(FLAGS["config"], "value", None)
    code, output = run_here(*flags)
    assert code == 2
    assert output.startswith("Error: no configuration is given; add --config=FILE, such as")
    assert output.count("\n") == 1


def test_two_requests_have_two_names():
    names = {describe(seed, num_steps=2) for seed in (2**32, 2**32 + 1)}
    names |= {describe(0, num_steps=2, truncation=value) for value in (0.86, 0.8600001)}
    names |= {describe(0, num_steps=2, negative=text) for text in ("../a", "a b")}
    assert len(names) == 6
    assert not any("/" in name for name in names)
    requests = [
        DanceRequest(motion=folder / "a.npy", denoise=denoise)
        for folder in PLACES
        for denoise in (0.0, 1.0)
    ]
    assert len({name_music(request, 0) for request in requests}) == 4
    evaluations = {
        name_evaluation(seed=0, num_samples=9, num_steps=(2,), truncations=(value,))
        for value in (0.86, 0.8600001)
    }
    assert len(evaluations) == 2


def test_help_shows_every_flag_of_ours_in_one_group_and_no_other():
    ours = [flag.name for flag in FLAGS.flags_by_module_dict()["cdcd_jax.cli.flags"]]
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(ours)
    shown = describe_flags()
    assert all(f"  --{name}" in shown for name in ours)
    assert shown.count("\n  --") == len(ours)
    assert max(map(len, shown.splitlines())) <= 100
    assert "xml" not in shown


def test_the_examples_of_the_help_can_be_given():
    for example in EXAMPLES:
        for argument in example.split()[1:]:
            name, _, value = argument.removeprefix("--").partition("=")
            if name == "config":
                load_config(value)
            elif not name.startswith("config."):
                FLAGS[name].parser.parse(value)


def test_another_sampler_goes_without_the_options_of_the_configured_one():
    configured = {"sampler": "confidence", "choice_temperature": 2.0, "num_steps": 5}
    configured |= {"corrector": "gibbs", "num_masked": 8, "num_samples": 3}
    FLAGS.mark_as_parsed()
    assert override(configured) == configured
    with flagsaver.flagsaver(sampler="halton", times="cosine"):
        kept = {"num_steps": 5, "corrector": "gibbs", "num_masked": 8, "num_samples": 3}
        assert override(configured) == kept | {"sampler": "halton", "times": "cosine"}
    with (
        flagsaver.flagsaver(sampler="banana"),
        pytest.raises(ValueError, match='"banana" is not a sampler: there are ancestral'),
    ):
        override(configured)
