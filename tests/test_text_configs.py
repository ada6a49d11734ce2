"""Configurations on captions: they build at full size, dry_run, and name what is missing."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from cdcd_jax.data.images.captioned import Captions
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build
from cdcd_jax.tasks import conditions
from cdcd_jax.tasks.conditions import load_condition
from cdcd_jax.tasks.token_data import random_tokens

ROOT = Path(__file__).parent.parent
KINDS = ("glyphs", "emoji", "coco", "cub200")
NAMES = sorted(path.stem for kind in KINDS for path in (ROOT / "configs").glob(f"{kind}_*.py"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def load(name, variant="", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config.lock()


def dry_build(config, folder=Path("none")):
    return build(config, folder, mesh=make_mesh(jax.devices()[:1]), dry_run=True)


def test_the_settings_of_the_paper_are_there():
    settings = ("vanilla", "step_intra", "sample_inter")
    assert set(NAMES) >= {f"{kind}_{x}" for kind in ("coco", "cub200") for x in settings}
    assert set(NAMES) >= {f"{kind}_{x}" for kind in ("glyphs", "emoji") for x in settings[::2]}


@pytest.fixture(scope="module")
def dry_built():
    """Build configurations on abstract data, those that are the same once."""
    found = {}

    def build_once(config):
        key = config.to_json()
        if key not in found:
            found[key] = dry_build(config)
        return found[key]

    return build_once


@pytest.mark.parametrize("name", [name for name in NAMES if name[0] in "ge"])
def test_every_smoke_variant_builds_on_glyphs(name, dry_built):
    experiment = dry_built(load(name, "smoke"))
    batch = next(experiment.training.make_batches())
    assert batch["cond"].shape == (64, 16)
    assert ("negatives" in batch) == name.endswith("inter")
    assert experiment.conditioned.conditioning.num_classes == 0
    assert (
        "letter" in experiment.conditioned.conditioning.test_texts[0]
        or "digit" in experiment.conditioned.conditioning.test_texts[0]
    )


def test_captions_that_are_tokenised_in_pieces_are_the_same(dry_built, monkeypatch):
    config = load("glyphs_vanilla", "smoke")
    whole = dry_built(config).conditioned
    assert len(whole.test_texts) % 3
    monkeypatch.setattr(conditions, "CAPTIONS_AT_ONCE", 3)
    pieces = dry_build(config).conditioned
    assert pieces.test_texts == whole.test_texts
    np.testing.assert_array_equal(pieces.test.cond, whole.test.cond)


def test_an_evaluation_of_birds_draws_samples_for_all_captions():
    """CUB's ten captions of each test image; of the others, one caption for each."""
    birds = load("cub200_vanilla").eval
    assert birds.all_captions
    assert birds.num_samples >= 29_330
    assert not load("coco_vanilla").eval.all_captions
    captions = Captions([[f"bird {k}", f"{k} birds"] for k in range(3)], np.arange(3))
    for everything, count in ((True, 6), (False, 3)):
        config = load("glyphs_vanilla", "smoke", eval__all_captions=everything)
        data = random_tokens(config, np.arange(3), np.arange(3), (), captions)
        conditioned = load_condition(config, data, None)
        assert len(conditioned.test_texts) == count
        asked = conditioned.test.cond if conditioned.requests is None else conditioned.requests.cond
        np.testing.assert_array_equal(
            asked, conditioned.conditioning.texts.tokenize(conditioned.test_texts)
        )
    assert conditioned.requests is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition__dropout": 1.0}, r"condition.dropout = 1.0 must be in \[0, 1\)"),
        ({"condition__null": "none"}, 'condition.null = "none" must be one of "learned", "empty"'),
        ({"condition__vocab_size": 100}, "condition.vocab_size = 100 must be at least 258"),
        ({"condition__num_heads": 5}, "condition.width = 48 must be a multiple of num_heads"),
        ({"codec__patch_size": 5}, "codec.patch_size = 5 must divide image_size = 32"),
        ({"codec__name": "vqgn"}, r'codec\.name = "vqgn" is not a codec: did you mean vqgan'),
        ({"data__scripts": ("runes",)}, "data.scripts.*runes"),
        ({"data__name": "coco"}, "data.path is not given"),
        ({"sample__guidance": -1.0}, "sample.guidance = -1.0 must be at least 0"),
        (
            {"condition__dropout": 0.0, "sample__guidance": 2.0},
            "sample.guidance = 2.0 needs a model that was trained without its condition",
        ),
    ],
)
def test_a_wrong_value_is_named_before_any_work(changes, message):
    with pytest.raises(ValueError, match=message):
        dry_build(load("glyphs_vanilla", "smoke", **changes))


def test_captions_are_needed_for_texts_and_classes_for_labels():
    config = load("grocery_vanilla", "smoke")
    with config.unlocked():
        config.condition = load("glyphs_vanilla", "smoke").condition
    with pytest.raises(ValueError, match=r'condition.kind = "text" needs captions'):
        dry_build(config)
    config = load("glyphs_vanilla", "smoke")
    with config.unlocked():
        config.condition = {"kind": "class", "dropout": 0.0}
    with pytest.raises(ValueError, match=r'condition.kind = "class" needs classes'):
        dry_build(config)


def test_classes_can_be_left_out_for_guidance():
    config = importlib.import_module("configs.digits_vanilla").get_config("smoke")
    config.condition.dropout = 0.2
    config.sample.guidance = 3.0
    experiment = build(config.lock(), Path("none"), mesh=make_mesh(jax.devices()[:1]))
    params = jax.eval_shape(experiment.training.init_state).params
    assert params["denoiser"]["blocks"]["mlp_norm"]["table"]["embedding"].shape[1] == 11
    assert experiment.model.null is not None
    np.testing.assert_array_equal(experiment.model.null({"condition": {}}, 2), [10, 10])
