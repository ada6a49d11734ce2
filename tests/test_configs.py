"""Every configuration builds, and every wrong value is named before any long work."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import SECTIONS, build
from cdcd_jax.settings.sections import compatibility_values
from cdcd_jax.training.checkpoints.compatibility import check_compatible

ROOT = Path(__file__).parent.parent
DATA_SETS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if "_" not in path.stem)
DATA_SETS.append("sound_codec")
OLD_NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*_[vs]*.py"))
NAMES = [name for name in OLD_NAMES if name.startswith("digits_")]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def load(name, variant=""):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    return config.lock()


def built(config):
    return build(config, Path("none"), mesh=make_mesh(jax.devices()[:1]))


def test_the_five_settings_are_there():
    assert set(NAMES) >= {
        f"digits_{x}"
        for x in ("vanilla", "step_intra", "step_inter", "sample_intra", "sample_inter")
    }


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_builds_under_eval_shape(name, variant):
    config = load(name, variant)
    experiment = built(config)
    state = jax.eval_shape(experiment.training.init_state)
    batch = next(experiment.training.make_batches())
    assert ("negatives" in batch) == name.endswith("inter")
    after, metrics = jax.eval_shape(experiment.training.train_step, state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    expected = {"loss", "vb", "aux", "grad_norm", "lr"}
    expected |= {"skipped", "skipped_in_row", "diverged_at"}
    of_contrast = set() if name.endswith("vanilla") else {"contrast", "equal_negatives"}
    assert set(metrics) == expected | of_contrast
    labels = np.zeros(3, np.int32)
    key = jax.random.key(0)
    options = {"num_steps": 3, "truncation": 0.86, "top_k": None, "temperature": 1.0}
    tokens = jax.eval_shape(
        lambda params: experiment.sample_fn(params, key, labels, **options), state.ema_params
    )
    assert tokens.shape == (3, 64)


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_configuration_is_short_and_says_how_to_run_it(name):
    text = (ROOT / "configs" / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 100
    assert f"--config=configs/{name}.py" in text


@pytest.mark.parametrize("name", OLD_NAMES)
def test_an_old_name_is_a_variant_of_the_file_of_its_data_set(name):
    """Of a few lines, and equal key by key, in every size there is."""
    assert len((ROOT / "configs" / f"{name}.py").read_text().splitlines()) <= 6
    data_set, _, contrast = name.partition("_")
    assert data_set in DATA_SETS
    sizes = ("", "smoke", "4s", "6s") if data_set in ("aist", "tiktok") else ("", "smoke")
    for size in sizes:
        for arg in (f"{contrast},{size}", f"{size},{contrast}"):
            assert load(name, size) == load(data_set, arg)
    loss = load(name).loss
    wanted = ("none", "inter") if contrast == "vanilla" else tuple(contrast.split("_"))
    assert (loss.mechanism, loss.negatives) == wanted
    with pytest.raises(ValueError, match="exclude each other"):
        load(name, "smoke,vanilla,sample_inter")


@pytest.mark.parametrize("name", sorted({name.partition("_")[0] for name in OLD_NAMES}))
def test_the_default_is_the_baseline_and_an_unknown_variant_is_named(name):
    assert load(name) == load(name, "vanilla")
    with pytest.raises(ValueError, match=r'no variant ":big" .* only ":vanilla", .*":smoke"'):
        load(name, "big,smoke")


def test_the_contrastive_settings_differ_from_vanilla_in_the_loss_alone():
    base = load("digits_vanilla").to_dict()
    for name in NAMES:
        other = load(name).to_dict()
        differing = {section for section in base if base[section] != other[section]}
        assert differing <= {"loss"}


def test_both_kinds_of_negatives_at_once():
    config = load("digits_step_inter", "smoke")
    config.loss.negatives = "both"
    experiment = built(config)
    assert next(experiment.training.make_batches())["negatives"].shape == (16, 2, 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"condition.kind": "none"},
        {"schedule.name": "absorbing"},
        {"denoiser.mlp": "conv"},
        {"loss.chains": "parallel", "loss.chains_per_pass": 2},
        {"loss.contrast_steps": 3},
        {"optimizer.decay": "plateau"},
        {"optimizer.decay": "wsd", "optimizer.clip_steps": 5},
        {"train.num_microbatches": 4},
        {"train.importance_sampling": False},
    ],
)
def test_the_other_choices_build(changes):
    config = load("digits_step_intra", "smoke")
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    built(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("codec.name", "vqgan", r'codec\.name = "vqgan" is not a codec of the digits'),
        ("codec.vocab_size", 16, r"codec\.vocab_size = 16 must be in 0\.\.15"),
        ("codec.grid", (4, 16), r"codec\.grid = \(4, 16\)"),
        ("data.name", "mnist", r'data\.name = "mnist"'),
        ("condition.kind", "text", r'condition\.kind = "text"'),
        ("schedule.name", "cosine", r'schedule\.name = "cosine"'),
        ("schedule.num_steps", 0, r"schedule.*num_steps"),
        ("schedule.final_uniform", 1.5, r"schedule.*final_uniform = 1\.5"),
        ("loss.mechanism", "both", r'loss\.mechanism = "both" must be one of'),
        ("loss.negatives", "other", r'loss\.negatives = "other" must be one of'),
        ("loss.num_negatives", 0, r"loss\.num_negatives = 0 must be at least 1"),
        ("loss.contrast_weight", -1.0, r"loss\.contrast_weight = -1\.0 must be at least 0"),
        ("loss.contrast_steps", 11, r"loss\.contrast_steps = 11 must be at most 10"),
        ("loss.contrast_time_weight", "up", r'loss\.contrast_time_weight = "up" must be one of'),
        ("loss.patches", (3, 3), r"loss\.patches 3 x 3 must divide"),
        ("loss.aux_weight", -1.0, r"loss\.aux_weight = -1"),
        ("denoiser.num_heads", 3, r"denoiser\.width = 16 must be a multiple of num_heads = 3"),
        ("denoiser.num_layers", 0, r"denoiser\.num_layers = 0 must be at least 1"),
        ("optimizer.lr", -1.0, r"optimizer\.lr = -1\.0 must be above 0"),
        ("optimizer.warmup_steps", 20, r"optimizer\.warmup_steps = 20 leaves nothing"),
        ("optimizer.decay", "linear", r'optimizer\.decay = "linear"'),
        ("train.batch_size", 0, r"train\.batch_size = 0"),
        (
            "train.num_microbatches",
            3,
            r"train\.num_microbatches = 3 must divide .* take a batch_size of 18",
        ),
        ("train.num_steps", 0, r"num_steps = 0"),
        ("train.ema_decay", 1.1, r"train\.ema_decay = 1\.1"),
        ("train.log_every", 0, r"train\.log_every = 0"),
        ("train.seed", -1, r"train\.seed = -1"),
        ("train.keep_checkpoints", 0, r"train\.keep_checkpoints = 0"),
        ("eval.num_steps", (11,), r"eval\.num_steps = 11 must be in 1\.\.T = 1\.\.10"),
        (
            "eval.truncations",
            (1.2,),
            r"eval\.truncations = \(1\.2,\) has 1\.2, which must be in \(0, 1\]",
        ),
        ("eval.num_samples", 1, r"eval\.num_samples = 1"),
        ("sample.truncation", 0.0, r"sample\.truncation = 0\.0"),
        ("sample.top_k", 18, r"sample\.top_k = 18 must be in 1\.\.K = 1\.\.17"),
        ("sample.num_steps", 11, r"sample\.num_steps = 11"),
        ("sample.temperature", 0.0, r"sample\.temperature = 0\.0"),
    ],
)
def test_a_wrong_value_is_named(key, value, message):
    config = load("digits_step_intra", "smoke")
    with config.unlocked():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message) as caught:
        built(config)
    assert "\n" not in str(caught.value)


def test_a_batch_must_divide_over_the_devices():
    config = load("digits_vanilla", "smoke")
    config.train.batch_size = 12
    with pytest.raises(ValueError, match=r"train\.batch_size = 12 .* take 8 or 16"):
        build(config, Path("none"), mesh=make_mesh(jax.devices()[:8]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh.fsdp": 3}, r"mesh\.fsdp = 3 .* does not divide the 8 devices"),
        ({"mesh.data": 4}, r"mesh\.data = 4 .* there are 8 devices"),
        ({"mesh.tensor": 4}, r"mesh\.tensor = 4 does not divide denoiser\.num_heads = 2"),
        ({"mesh.rules": (("nothing", ()),)}, r'mesh\.rules: "nothing" matches no parameter'),
        ({"mesh.rules": ("to_logits",)}, r"mesh\.rules: 'to_logits' must be a regular expression"),
        ({"mesh.rules": (("to_logits", 3),)}, r"mesh\.rules: .* must be a regular expression"),
    ],
)
def test_a_mesh_that_cannot_be_is_named(changes, message):
    config = load("digits_vanilla", "smoke")
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build(config, Path("none"))


def test_an_unknown_key_is_answered_with_the_one_meant():
    config = load("digits_vanilla")
    with pytest.raises(AttributeError, match='Did you mean "batch_size"'):
        config.train.batchsize = 32


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match='no variant ":large"'):
        load("digits_vanilla", "large")


def test_mutable_keys_may_change_between_two_parts_of_a_run_and_the_model_not():
    base = built(load("digits_vanilla", "smoke")).training.compatibility

    def changed(**values):
        config = load("digits_vanilla", "smoke")
        with config.unlocked():
            config.update_from_flattened_dict({k.replace("__", "."): v for k, v in values.items()})
        compatibility = built(config).training.compatibility
        return {key for key in base | compatibility if base.get(key) != compatibility.get(key)}

    places_and_pace = {"train__log_every": 7, "train__checkpoint_every": 3, "data__num_threads": 0}
    other_sections = {"eval__num_samples": 9, "sample__truncation": 0.5, "mesh__fsdp": 2}
    memory = {"denoiser__remat": "dots", "denoiser__attention": "plain"}
    memory |= {"loss__positions_per_pass": 5, "loss__chains_per_pass": 2}
    memory |= {"train__num_microbatches": 2}
    assert changed(**places_and_pace, **other_sections, **memory) == set()
    assert changed(denoiser__width=32) == {"denoiser.width"}
    # A cosine that ends with the run is another one if the run is longer; a constant rate is not.
    assert changed(train__num_steps=40) == {"optimizer.decay_steps"}
    assert "optimizer.decay_steps" not in changed(train__num_steps=40, optimizer__decay_steps=20)


def test_a_longer_run_says_how_to_go_on_and_a_stable_rate_goes_on():
    def compatibility(**changes):
        config = load("digits_vanilla", "smoke")
        with config.unlocked():
            config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
        return compatibility_values(config, SECTIONS, train="train", optimizer="optimizer")

    short = compatibility()
    with pytest.raises(ValueError, match=r"resume it with --config\.optimizer\.decay_steps=20,"):
        check_compatible(Path("run"), short, compatibility(train__num_steps=30))
    as_named = compatibility(train__num_steps=30, optimizer__decay_steps=20)
    check_compatible(Path("run"), short, as_named)
    stable = [compatibility(train__num_steps=n, optimizer__decay="wsd") for n in (20, 30)]
    check_compatible(Path("run"), *stable)
    longer_fall = compatibility(optimizer__decay="wsd", optimizer__cooldown_steps=10)
    check_compatible(Path("run"), stable[0], longer_fall)


def test_a_classifier_needs_more_examples_than_classes():
    config = load("digits_vanilla", "smoke")
    config.eval.num_real = 5
    with pytest.raises(ValueError, match=r"^eval\.num_real = 5 of 1415 training examples are 5 of"):
        built(config)
