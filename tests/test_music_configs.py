"""Configurations on music: they build at full size, dry_run, and name what does not fit."""

import importlib
from pathlib import Path

import jax
import pytest

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build
from cdcd_jax.registry import CODECS
from cdcd_jax.tasks.codec_run import build_codec_run
from cdcd_jax.tasks.music_codecs import find_window
from tests.support.dance_layouts import write_aist, write_tiktok

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for kind in ("groove", "aist", "tiktok") for path in
               (ROOT / "configs").glob(f"{kind}_*.py"))  # fmt: skip
REAL = [name for name in NAMES if not name.startswith("groove")]
LENGTHS = {"": 344, "4s": 689, "6s": 1033}

PUBLISHED_DENOISER = {"aist": (407_199_744, 1033), "tiktok": (407_272_448, 344)}
"""Parameters of the published denoisers, and how many places each has."""


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def dances(tmp_path_factory):
    """Each set in miniature, as one downloads it."""
    folder = tmp_path_factory.mktemp("dances")
    write_aist(folder / "aist", seconds=7.0, video_steps=7)
    write_tiktok(folder / "tiktok", suffix="", seconds=7.0)
    return folder


def load(name, variant="", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config.lock()


def dry_build(config):
    return build(config, Path("none"), mesh=make_mesh(jax.devices()[:1]), dry_run=True)


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


def count_parameters(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_settings_are_there():
    all_five = ("vanilla", "step_intra", "step_inter", "sample_intra", "sample_inter")
    assert set(NAMES) >= {f"groove_{setting}" for setting in all_five}
    published = ("vanilla", "step_intra", "sample_inter")
    assert set(REAL) == {f"{kind}_{name}" for kind in ("aist", "tiktok") for name in published}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("groove")])
def test_every_smoke_variant_builds_on_groove(name, dry_built):
    config = load(name, "smoke")
    assert config.data.name == "groove"
    experiment = dry_built(config)
    batch = next(experiment.training.make_batches())
    assert set(batch) == {"tokens", "cond"} | ({"negatives"} if name.endswith("inter") else set())
    length = find_window(config).length
    assert batch["tokens"].shape == (config.train.batch_size, length)
    assert batch["cond"]["motion"].shape == (config.train.batch_size, 120, 51)
    if name.endswith("inter"):
        assert batch["negatives"].shape == (config.train.batch_size, 2, length)
    assert experiment.conditioned.conditioning.by_example
    assert experiment.conditioned.conditioning.num_classes == 0


def test_the_settings_of_a_set_differ_in_the_loss_alone():
    """So they share codec and tokens."""
    for name in NAMES:
        config, base = load(name), load(f"{name.split('_')[0]}_vanilla")
        differing = {section for section in base if base[section] != config[section]}
        assert differing == (set() if name.endswith("vanilla") else {"loss"})
        kind, _, negatives = name.partition("_")[2].partition("_")
        assert (config.loss.mechanism, config.loss.negatives) == (
            ("none", "inter") if kind == "vanilla" else (kind, negatives)
        )
    config = load("groove_vanilla")
    assert config.codec.folder
    assert config.data.tokens


def test_groove_builds_at_its_size(dry_built):
    config = load("groove_step_inter")
    experiment = dry_built(config)
    assert experiment.data.codec.vocab_size == config.codec.num_codes
    batch = next(experiment.training.make_batches())
    assert batch["negatives"].shape == (32, 10, find_window(config).length)


def test_longer_music_is_the_same_but_for_its_length():
    for name in REAL:
        for variant, seconds in {"4s": 4.0, "6s": 6.0}.items():
            config, base = load(name, variant), load(name)
            assert find_window(config).length == LENGTHS[variant]
            with base.unlocked():
                base.train.num_steps = config.train.num_steps
                # The test pieces: without overlap, but for the last of a dance.
                base.data.update(seconds=seconds, test_stride=seconds, test_rest=1.9)
            assert config == base


@pytest.mark.parametrize(
    ("name", "variant"),
    [*((name, "") for name in REAL), *(("aist_vanilla", longer) for longer in ("4s", "6s"))],
)
def test_the_size_of_the_paper(name, variant, dances, dry_built):
    kind, length = name.split("_")[0], LENGTHS[variant]
    experiment = dry_built(load(name, variant, data__path=str(dances / kind)))
    assert experiment.data.codec.vocab_size == 2048
    assert experiment.data.codec.grid == (1, length)
    params = jax.eval_shape(experiment.training.init_state).params
    # Beside the published ones each of 16 heads in 19 layers learns how far in time it looks.
    published, places = PUBLISHED_DENOISER[kind]
    wanted = published - (places - length) * 1024 + 19 * 16
    assert count_parameters(params["denoiser"]) == wanted
    # Theirs is 43 million (AIST++) with frozen and unused parts of the encoders of motion.
    assert 2e7 < count_parameters(params["condition"]) < 5e7
    batch = next(experiment.training.make_batches())
    seconds = int(variant[:1] or 2)
    frames, features = {"aist": (60 * seconds, 219), "tiktok": (30 * seconds, 75)}[kind]
    batch_size = {"aist": 8, "tiktok": 48}[kind]
    assert batch["cond"]["motion"].shape == (batch_size, frames, features)
    assert ("genre" in batch["cond"]) == (kind == "aist")
    assert batch["tokens"].shape == (batch_size, length)
    assert ("negatives" in batch) == name.endswith("inter")


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match=r'no variant ":8s" .* ":4s", ":6s" and ":smoke"'):
        load("tiktok_step_intra", "8s")
    with pytest.raises(ValueError, match='no variant ":4s"'):
        load("groove_vanilla", "4s")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__name": "grove"}, r'data\.name = "grove" is not a data set: did you mean groove'),
        ({"data__name": "aist"}, r'data\.path is not given; name where "aist" lies'),
        ({"data__name": "sound"}, r'data\.name = "sound" is for a codec alone.* holds no dances'),
        ({"data__train_split": "all"}, r'data: there is no split "all" of groove'),
        ({"data__seconds": 0.03}, r"data\.seconds = 0\.03 holds fewer than two tokens of \d+"),
        ({"data__seconds": 7.0}, r"data: no dance of groove.*a window of 7\.0 s.* has 6\.00 s"),
        ({"data__stride": 0.0}, r"data\.stride = 0\.0 must be above 0"),
        ({"data__video_steps": 0}, r"data\.video_steps = 0 must be at least 1"),
        ({"data__test_segments": "no.txt"}, r"data: no\.txt cannot be read: No such file"),
        ({"data__num_dances": 0}, r"data\.num_dances = 0 must be at least 1"),
        ({"data__intra": "wave"}, r'data\.intra = "wave" must be one of "tokens", "waveform"'),
        ({"data__intra": "waveform"}, r'data\.intra = "waveform" needs prepare\.shuffles of 1'),
        ({"prepare__views": 0}, r"prepare\.views = 0 must be at least 1"),
        ({"prepare__shard_size": 0}, r"prepare\.shard_size = 0 must be at least 1"),
        ({"prepare__shuffles": -1}, r"prepare\.shuffles = -1 must be at least 0"),
        ({"prepare__quietest": 0.0}, r"prepare\.quietest = 0\.0 must be in \(0, 1\]"),
        ({"codec__name": "vqgan"}, r'codec\.name = "vqgan" is not a codec of music'),
        ({"condition__encoder": "tower"}, r'condition\.encoder = "tower" must be one of'),
        ({"condition__group": 7}, r"condition\.group = 7 must divide the 120 frames"),
        ({"condition__num_heads": 5}, r"condition\.width = 24 must be a multiple of num_heads = 5"),
        (
            {"condition__video": True},
            r'condition\.video = True, but the dances of "groove" have no',
        ),
        ({"condition__motion": False}, r"condition: a dance needs its motion, its video or its"),
        ({"condition__dropout": 1.0}, r"condition\.dropout = 1\.0 must be in \[0, 1\)"),
        ({"condition__kind": "class"}, r'condition\.kind = "class" needs classes.*"dance"'),
        ({"condition__kind": "dancing"}, r'condition\.kind = "dancing" is not a condition'),
        ({"condition__kind": "text"}, r'condition\.kind = "text" needs captions.* take "dance"'),
        ({"eval__num_judged": 2}, r"eval\.num_judged = 2 of \d+ training examples are 2 of"),
        ({"eval__num_judged": 0}, r"eval\.num_judged = 0 must be at least 2"),
        (
            {"condition__dropout": 0.0, "sample__guidance": 2.0},
            r"sample\.guidance = 2\.0 needs a model that was trained without its condition",
        ),
    ],
)
def test_a_wrong_value_is_named_before_any_work(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        dry_build(load("groove_step_inter", "smoke", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "tiktok",
            {"condition__genre": True},
            r'condition\.genre = True.*of "tiktok" have no genre',
        ),
        ("aist", {"condition__video": True}, r'condition\.video = True.*"aist" have no video'),
        ("aist", {"data__negatives": "none.json"}, r"data\.negatives = none\.json is not a file"),
        ("tiktok", {"data__test_split": "val"}, r'data: there is no split "val" of TikTok'),
        ("aist", {"codec__level": 3}, r"codec\.level = 3 does not exist: the codec has 3, from 0"),
        ("aist", {"codec__strides": (2, 2)}, r"codec\.downs.*must have one entry for each level"),
        ("aist", {"data__motion": "poses"}, r"data\.motion must be one of smpl, keypoints, not"),
        ("aist", {"data__music": "nowhere"}, r"data: AIST\+\+, train lacks 2 of its 2 sound files"),
        ("aist", {"data__video": "nowhere"}, r"data: AIST\+\+, train lacks 2 of its 2 video files"),
        (
            "aist",
            {"data__seconds": 8.0},
            r"data: no dance of AIST\+\+, train is as long as .* 8\.0 s",
        ),
        ("aist", {"prepare__shuffles": 0}, r"data\.intra.*needs prepare\.shuffles"),
    ],
)
def test_a_wrong_value_is_named_of_dances_on_a_disk(name, changes, message, dances):
    changes = {"data__path": str(dances / name)} | changes
    with pytest.raises(ValueError, match=message) as caught:
        dry_build(load(f"{name}_step_intra", **changes))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for name, message in {
        "aist": r"data: .*nowhere has neither the folder splits of AIST\+\+ nor motion_s2",
        "tiktok": r"data: .*nowhere has no folder motion or motion_s2",
    }.items():
        with pytest.raises(ValueError, match=message):
            dry_build(load(f"{name}_vanilla", data__path=str(tmp_path / "nowhere")))


def test_the_video_can_be_the_only_condition(dances):
    config = load(
        "aist_vanilla", data__path=str(dances / "aist"), data__video=str(dances / "aist" / "video"),
        data__video_steps=2, condition__motion=False, condition__genre=False, condition__video=True,
        denoiser__num_layers=1,
    )  # fmt: skip
    batch = next(dry_build(config).training.make_batches())
    assert set(batch["cond"]) == {"video"}
    assert batch["cond"]["video"].shape == (8, 2, 2048)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"codec_train__seconds": 0.1},
            r"codec_train\.seconds = 0\.1 is too short for the spectra",
        ),
        ({"codec_train__start_from": "no.pt"}, r"codec_train\.start_from = no\.pt cannot be used"),
        ({"codec_optimizer__lr": 0.0}, r"codec_optimizer\.lr = 0\.0 must be above 0"),
        ({"codec_train__batch_size": 0}, r"codec_train\.batch_size = 0"),
        ({"codec__num_codes": 1}, r"codec\.num_codes = 1 must be at least 2"),
    ],
)
def test_a_wrong_value_of_a_codec_is_named_before_it_is_trained(changes, message, dances):
    config = load("aist_vanilla", data__path=str(dances / "aist"), **changes)
    with pytest.raises(ValueError, match=message) as caught:
        build_codec_run(config, Path("none"), mesh=make_mesh(jax.devices()[:1]))
    assert "\n" not in str(caught.value)


def test_a_codecs_step_gives_back_the_types_it_takes(dances):
    """Else it is compiled a second time, for what the first step gave back."""
    config = load("aist_vanilla", data__path=str(dances / "aist"), codec__depth=1)
    built = build_codec_run(config, Path("none"), mesh=make_mesh(jax.devices()[:1]))
    before = jax.eval_shape(built.training.init_state)
    shape = config.codec_train.batch_size, CODECS["jukebox"].samples(config)
    batch = {"audio": jax.ShapeDtypeStruct(shape, "f4")}
    after, _ = jax.eval_shape(built.training.train_step, before, batch)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type)
