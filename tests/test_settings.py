"""Configurations that cannot work are refused before any work, each with a sentence."""

import importlib
import io
import itertools
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from cdcd_jax.data.images.sources import EncodedImage
from cdcd_jax.experiment.check import check_combination, check_settings
from cdcd_jax.experiment.experiment import build
from cdcd_jax.experiment.keys import section_keys
from cdcd_jax.registry import CONDITIONS as KINDS
from cdcd_jax.registry import SOURCES
from cdcd_jax.settings.config_file import ConfigFileError, add_sampler_options, check_overrides
from cdcd_jax.settings.kinds import find_kind

ROOT = Path(__file__).parents[1]
FILES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
BASES = {
    "digits": "digits_vanilla",
    "class": "grocery_vanilla",
    "text": "glyphs_vanilla",
    "clip": "coco_vanilla",
    "music": "groove_vanilla",
    "jukebox": "aist_vanilla",
}
CODECS = {
    "pixels": "digits", "tokens": "digits", "vqgan": "class", "patches": "text", "spectra": "music",
    "jukebox": "jukebox",
}  # fmt: skip
CONDITIONS = {"class": "class", "none": "class", "text": "text", "clip": "clip", "dance": "music"}


def load(name, variant=""):
    return importlib.import_module(f"configs.{name}").get_config(variant)


def shipped():
    for name in FILES:
        for variant in ("", "smoke", "4s"):
            try:
                yield load(name, variant)
            except (ValueError, AttributeError):  # no such variant, or no configuration
                continue


def base(name):
    if name == "digits":
        return "digits"
    task = SOURCES[name].tasks[0]
    return "music" if task.noun == "music" else "text" if "captions" in task.provides else "class"


def combined(name, codec, kind):
    """Put a configuration together from sections that were written for each part."""
    config = load(BASES[base(name)], "smoke")
    with config.unlocked():
        for part in (load(BASES[CODECS[codec]], "smoke"), load(BASES[CODECS[codec]])):
            if part.codec.name == codec:
                break
        for section in part:
            if section.startswith("codec"):
                config[section] = part[section]
        config.condition = load(
            BASES[CONDITIONS[kind]], "" if kind == "clip" else "smoke"
        ).condition
        config.update({"data": {"name": name}, "condition": {"kind": kind}})
        if "image_size" in config.codec:
            config.codec.image_size = 8
        if "prepare" not in config and codec != "pixels":
            config.prepare = part.prepare
    return config


def test_every_shipped_configuration_has_the_keys_it_needs_and_no_other():
    count = 0
    for config in shipped():
        check_settings(config, for_codec=True)
        count += 1
    assert count > 60


def test_every_key_that_is_listed_is_in_a_shipped_configuration():
    used = {(name, key) for config in shipped() for name in config for key in config[name]}
    listed = {
        (name, key)
        for name, variants in section_keys().items()
        for keys in variants.values()
        for key in keys.needed
    }
    assert listed <= used


@pytest.mark.parametrize("section", sorted(section_keys()))
def test_a_misspelled_key_of_every_section_is_answered_with_the_one_meant(section):
    config = next(config for config in shipped() if section in config)
    key = sorted(config[section])[-1]
    wrong = key[:1] + key[2:]
    with config.unlocked():
        config[section][wrong] = 3
    with pytest.raises(ValueError, match=rf"{section}\.{wrong} is not a key: did you mean {key}"):
        check_settings(config)


def test_what_is_no_section_is_named():
    config = load("digits_vanilla")
    with config.unlocked():
        config.trian = {"num_steps": 3}
        with pytest.raises(ValueError, match=r"no section trian: did you mean train\?"):
            check_settings(config)
        del config.trian, config.train
        config.train = 3
        with pytest.raises(ValueError, match=r"train = 3 must be a section"):
            check_settings(config)


@pytest.mark.parametrize("base_name", BASES.values())
def test_whatever_is_missing_is_named(base_name):
    """Either a key may be left out, or there is a sentence about it."""
    config, table = load(base_name), section_keys()
    for section in list(config):
        for key in list(config[section]):
            copy = config.copy_and_resolve_references()
            with copy.unlocked():
                del copy[section][key]
            if any(key not in keys.needed for keys in table[section].values()):
                # It has a default, or belongs to other data; or it is missing, too.
                with suppress(ValueError):
                    check_settings(copy)
                continue
            with pytest.raises(ValueError, match=f"^{section}.{key} is missing"):
                check_settings(copy)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        *(("loss", key) for key in ("mechanism", "negatives", "num_negatives")),
        *((section, "decay") for section in ("optimizer", "codec_optimizer")),
    ],
)
def test_a_missing_key_is_named_though_the_constructor_has_a_default(section, key):
    config = load("imagenet_vanilla").copy_and_resolve_references()
    with config.unlocked():
        del config[section][key]
    with pytest.raises(ValueError, match=rf"^{section}\.{key} is missing; give it"):
        check_settings(config)


def test_every_key_has_a_kind():
    for section, variants in section_keys().items():
        for keys in variants.values():
            assert not [key for key in keys.known if not find_kind(section, key)]


NAN, INF = float("nan"), float("inf")
WRONG = {
    "a whole number": {
        "train.batch_size": ("16", 16.0, None, True, {"a": 1}, (16,)),
        "schedule.num_steps": (10.5, "10"),
        "denoiser.width": (16.5,),
        "loss.num_negatives": (2.5,),
        "optimizer.warmup_steps": (5.5,),
        "eval.batch_size": ("8",),
        "data.num_threads": (1.0,),
    },
    "a whole number or None": {
        "mesh.data": ("1", 1.0),
        "sample.top_k": (2.5,),
        "loss.chains_per_pass": (True,),
    },
    "a finite number": {
        "optimizer.lr": ("1e-3", True, None, NAN, INF),
        "loss.aux_weight": (INF,),
        "loss.contrast_weight": ("x",),
        "condition.dropout": ("0.1",),
    },
    "True or False": {"train.importance_sampling": ("no", 0, None)},
    "a string": {"data.name": (["digits"], None), "denoiser.mlp": (3,)},
    "a path that is not empty or None": {"codec.folder": (3, False)},
    "a tuple of 2 whole numbers": {
        "codec.grid": (8, "88", (8,), (8.0, 8)),
        "loss.patches": (2, (2,), (2, 2, 2)),
    },
    "a tuple of 2 finite numbers": {"loss.mask_weight": (1.0, (1.0,), ("a", "b"), (1.0, NAN))},
    "a tuple of whole numbers": {"eval.num_steps": (10, "10", ("10",), (2.5,), None)},
    "a tuple of finite numbers": {"eval.truncations": (0.86, (None,), ("a",), (NAN,))},
    "a tuple of rules": {"mesh.rules": (None, "a")},
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (kind, name, value)
        for kind, names in WRONG.items()
        for name, values in names.items()
        for value in values
    ],
)
def test_a_value_of_the_wrong_kind_is_named(kind, name, value):
    values = load("digits_vanilla").to_dict()
    section, key = name.split(".")
    values[section][key] = value
    with pytest.raises(ValueError, match=rf"^{section}\.{key} = .* must be {kind}$"):
        check_settings(ConfigDict(values))


def test_ints_may_be_floats_and_lists_tuples():
    config = load("digits_vanilla").copy_and_resolve_references()
    with config.unlocked(), config.ignore_type():
        config.optimizer.update(clip_norm=1, weight_decay=np.float32(0.5))
        config.loss.update(mask_weight=[1, 1], patches=[2, 2])
        config.eval.update(num_steps=[5], truncations=[1], num_samples=np.int64(8))
    check_settings(config)


@pytest.mark.parametrize("section", ["train", "mesh", "eval", "data", "prepare", "codec_fit"])
def test_a_missing_section_is_named(section):
    config = load("glyphs_vanilla")
    with config.unlocked():
        del config[section]
    with pytest.raises(ValueError, match=f"the section {section} is missing; begin with"):
        check_settings(config)


def test_keys_of_another_kind_of_condition_are_refused():
    config = load("glyphs_vanilla")
    config.condition.kind = "clip"
    with pytest.raises(
        ValueError, match=r"condition\.\w+ is not a key of condition\.kind = \"clip\""
    ):
        check_settings(config)


def test_every_combination_is_refused_or_known():
    """Digits, dances and CLIP are trained and scored in tests of their own, the rest below."""
    fitting = {
        (name, codec, kind)
        for name, data_set in SOURCES.items()
        for task in data_set.tasks
        for codec, kind in itertools.product(task.codecs(), KINDS)
        if KINDS[kind].needs in task.provides
    }
    assert len(fitting) == 2 * 2 * 2 + 5 * 2 * 2 + 4 * 2 * 2 + 2 * 4 + 3 * 2
    for combination in itertools.product(SOURCES, CODECS, KINDS):
        name, codec, kind = combination
        config = ConfigDict(
            {"data": {"name": name}, "codec": {"name": codec}, "condition": {"kind": kind}}
        )
        if combination in fitting:
            check_combination(config)
        else:
            with pytest.raises(ValueError, match=r"^(codec\.name|condition\.kind|data\.name) = "):
                check_combination(config)


class FewImages:
    """Images of noise, with classes or with captions."""

    name, fingerprint = "few", "few"

    def __init__(self, kind):
        self.class_names = () if kind in ("text", "clip") else ("a", "b")
        self.captions = () if self.class_names else ("a caption",)

    def __len__(self):
        return 12

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        return EncodedImage(str(index), index % 2, file.getvalue(), self.captions)


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("folder", "patches", "class"),
        ("cub", "vqgan", "none"),
        ("coco", "vqgan", "text"),
    ],
)
def test_what_fits_passes_a_dry_run_of_training_and_scoring(
    monkeypatch, tmp_path, name, codec, kind
):
    few = replace(SOURCES[name], load=lambda config, split: FewImages(kind))
    monkeypatch.setitem(SOURCES._entries, name, few)
    config = combined(name, codec, kind)
    config.eval.update(num_samples=4, num_real=12, batch_size=4)
    config.train.batch_size = 8
    config.denoiser.update(num_layers=1, width=8, num_heads=1)
    experiment = build(config, tmp_path, dry_run=True)
    if kind == "class":  # of captions metrics want prepared tokens
        options = experiment.scoring.make_options()
        assert options["metrics"]


def test_what_does_not_fit_is_refused_where_experiments_and_plans_are_built(tmp_path):
    config = combined("folder", "jukebox", "class")
    with pytest.raises(ValueError, match=r'codec\.name = "jukebox" is not a codec of images'):
        build(config, tmp_path, dry_run=True)
    with pytest.raises(ValueError, match=r'codec\.name = "jukebox" is not a codec of images'):
        check_settings(config)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, "path") for name in ("grocery_vanilla", "emoji_vanilla", "glyphs_sample_inter")),
        *((name, "path") for name in ("groove_vanilla", "sound_codec")),
        ("coco_vanilla", "class_index"),
        ("tiktok_vanilla", "music"),
    ],
)
def test_a_path_that_nothing_reads_is_refused(name, key):
    config = load(name, "smoke")
    if key not in config.data:
        with config.unlocked():
            config.data[key] = None
    check_settings(config, for_codec=True)
    config.data[key] = "FOLDER"
    with pytest.raises(ValueError, match=rf"^data\.{key} = FOLDER is not read where data\.name = "):
        check_settings(config, for_codec=True)


def test_the_address_of_a_remote_storage_is_shown_as_it_was_given():
    config = load("coco_vanilla", "smoke")
    config.data.path = "gs://bucket/coco"
    with pytest.raises(
        ValueError, match=r"^data\.path = 'gs://bucket/coco' is not a path of a file"
    ):
        check_settings(config)


def test_a_flag_may_set_an_option_of_a_sampler():
    config = importlib.import_module("configs.digits_vanilla").get_config("smoke").lock()
    add_sampler_options(
        config, ["--config.sample.choice_temperature=2", "--config.sample.grid=8,8"]
    )
    assert config.sample.choice_temperature in (0.0, 4.5)
    assert config.sample.grid is None
    assert "num_masked" not in config.sample
    config.sample.grid = (8, 8)
    check_overrides(config, ["--config.sample.grid=(8,8)"])
    with pytest.raises(ConfigFileError, match=r"sample\.choice_temperatur is not a key: did you"):
        check_overrides(config, ["--config.sample.choice_temperatur=2"])
