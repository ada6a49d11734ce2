"""Every number of a configuration has a range; what exceeds the memory is refused with a figure."""

import importlib
import math
import re
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from cdcd_jax.experiment.check import check_settings
from cdcd_jax.experiment.experiment import build
from cdcd_jax.settings.kinds import KINDS, MAYBE_WHOLES, NUMBERS, WHOLES, find_kind
from cdcd_jax.tasks import token_data
from cdcd_jax.tasks.drawing import draw_rows
from cdcd_jax.tasks.memory import (
    Memory,
    check_needs,
    check_state,
    codec_needs,
    find_memory,
    preparation_needs,
    training_needs,
)

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
# Together these have every key that holds numbers, which a test checks.
ATTACKED = ("digits_sample_inter", "glyphs_vanilla", "coco_vanilla", "imagenet_vanilla",
            "groove_vanilla", "aist_vanilla")  # fmt: skip
NAN, INF = float("nan"), float("inf")
ATTACKS = (NAN, INF, -INF, -1, 0, 1.5, 10**9, 1e9, 10**30, True, "x", None, (), (0,), (1,) * 100)

ACCEPTED = {
    "0": "codec.level codec_loss.codebook_decay codec_loss.commitment_weight "
    "codec_loss.discriminator_start codec_loss.discriminator_weight "
    "codec_loss.log_spectral_weight codec_loss.perceptual_weight codec_loss.restart_below "
    "codec_loss.spectral_weight codec_loss.waveform_weight condition.dropout data.num_threads "
    "data.prefetch loss.aux_weight loss.contrast_weight prepare.shuffles sample.guidance "
    "schedule.final_uniform schedule.first_uniform train.ema_decay b1 b2 end_lr max_skipped "
    "plateau_patience sample_every seed dance_seed warmup_from warmup_steps weight_decay",
    "1.5": "codec_loss.commitment_weight codec_loss.discriminator_weight "
    "codec_loss.log_spectral_weight codec_loss.perceptual_weight codec_loss.spectral_weight "
    "codec_loss.waveform_weight data.dance_seconds data.stride data.test_rest data.test_stride "
    "loss.aux_weight loss.contrast_weight sample.guidance sample.temperature clip_norm end_lr lr "
    "power seconds warmup_from weight_decay",
    # Steps and limits; what takes memory is refused by its need.
    "1000000000": "codec_fit.num_pictures codec_fit.num_recordings codec_loss.discriminator_start "
    "train.num_steps codec_train.num_steps eval.num_judged loss.chains_per_pass "
    "loss.contrast_steps loss.positions_per_pass prepare.shard_size checkpoint_every clip_norm "
    "clip_steps cooldown_steps dance_seed decay_steps ema_every keep_checkpoints log_every "
    "max_skipped plateau_patience sample_every seed warmup_steps",
    "1000000000.0": "clip_norm",
    str(10**30): "clip_norm",
    "None": "data.test_rest loss.chains_per_pass loss.contrast_steps loss.positions_per_pass "
    "mesh.data sample.num_steps sample.top_k denoiser.embedding_grid clip_steps cooldown_steps "
    "decay_steps",
    "()": "codec.attention_resolutions",
}
"""Values that are sense, as Python writes them, and the keys that may have them."""


def load(name, variant=""):
    return importlib.import_module(f"configs.{name}").get_config(variant)


def shipped():
    for name in SHIPPED:
        for variant in ("", "smoke", "4s", "6s"):
            try:
                yield load(name, variant)
            except (ValueError, AttributeError):  # no such variant, or no configuration
                continue


def holds_numbers(section, key):
    """Whether a key is for numbers: the table says what a placeholder is for."""
    kind = find_kind(section, key)
    return kind is None or (not kind.holds("x") and not kind.holds(True) and not kind.holds(("x",)))


def numeric(config):
    return {(name, key) for name in config for key in config[name] if holds_numbers(name, key)}


def check(config):
    """Check what is checked before anything is built, on a machine of 24 GB."""
    check_settings(config, for_codec=True)
    memory = Memory(host=24 * 10**9, device=24 * 10**9)
    for needs in (training_needs, preparation_needs, codec_needs):
        check_needs(needs(config), memory)


def test_every_number_of_every_configuration_has_a_range():
    ranged = " ".join((*WHOLES.values(), *MAYBE_WHOLES.values(), *NUMBERS.values())).split()
    assert len(ranged) == len({*ranged})
    keys = {pair for config in shipped() for pair in numeric(config)}
    assert len(keys) > 140
    for section, key in keys:
        kind = find_kind(section, key)
        assert kind, f"{section}.{key} is in no table of kinds"
        for value in (-(10**40), 10**40):
            value = value if kind.holds(value) else (value, value)
            assert kind.fault(value), f"{section}.{key} has no range"


def test_the_attacked_configurations_have_every_key_of_all():
    attacked = {pair for name in ATTACKED for pair in numeric(load(name))}
    assert {pair for config in shipped() for pair in numeric(config)} == attacked


def test_no_range_is_left_over():
    keys = {pair for config in shipped() for pair in numeric(config)}
    known = {key for _, key in keys} | {f"{section}.{key}" for section, key in keys}
    left = {name for table in (WHOLES, MAYBE_WHOLES, NUMBERS) for names in table.values()
            for name in names.split()} - known  # fmt: skip
    # Of a schedule and denoisers that are published, and have defaults elsewhere.
    assert left == {"denominator", "eps", "unroll", "num_chunks"} - known
    assert set(KINDS) >= left


@pytest.mark.parametrize("name", ATTACKED)
def test_every_number_refuses_what_is_no_sense(name):
    """Each value is on the list of what is sense, or its key is named in one sentence."""
    values = load(name).to_dict()
    earlier = {pair for other in ATTACKED[: ATTACKED.index(name)] for pair in numeric(load(other))}
    for section, key in sorted(numeric(values) - earlier):
        right = values[section][key]
        for value in ATTACKS:
            if value == right and type(value) is type(right):
                continue
            values[section][key] = value
            config = ConfigDict(values)
            accepted = ACCEPTED.get(repr(value), "").split()
            try:
                check(config)
            except ValueError as error:
                sentence = str(error)
                assert f"{section}.{key}" in sentence, sentence
                assert "\n" not in sentence
                assert not {key, f"{section}.{key}"} & {*accepted}, sentence
            else:
                assert {key, f"{section}.{key}"} & {*accepted}, f"{section}.{key} = {value!r}"
        values[section][key] = right


@pytest.mark.parametrize(
    ("base", "name", "value", "message"),
    [
        ("digits_sample_inter", "train.batch_size", 10**9,
         r"^train\.batch_size = 1000000000, loss\.num_negatives = 10: a batch of tokens takes "
         r"2\.8 TB of host memory, and this machine has 24 GB; take less$"),
        ("digits_vanilla", "data.prefetch", 10**9, r"data\.prefetch = 1000000000: reading batches"),
        ("digits_vanilla", "schedule.num_steps", 10**9, r"must be at most 1000000$"),
        ("digits_vanilla", "eval.num_samples", 10**9, r"must be at most 10000000$"),
        ("digits_vanilla", "sample.num_samples", 10**9, r"a batch of samples takes 256 GB of host"),
        ("digits_vanilla", "denoiser.width", 10**6, r"the network with its .* takes \d+ TB of dev"),
        ("digits_step_intra", "loss.num_negatives", 10**9, r"the negatives of a batch takes"),
        ("coco_vanilla", "codec_train.batch_size", 10**9, r"a batch of the codec takes 197 TB"),
        ("aist_vanilla", "codec_train.batch_size", 10**9, r"a batch of the codec takes 132 TB"),
        ("coco_vanilla", "prepare.batch_size", 10**9, r"a batch to encode takes 197 TB of host"),
        ("coco_vanilla", "codec.channels", 10**6, r"the codec with its optimizer takes"),
        ("digits_vanilla", "train.seed", 2**64, r"train\.seed = \d+ must be in 0\.\.2\*\*32-1"),
        ("digits_vanilla", "data.prefetch", -3, r"data\.prefetch = -3 must be at least 0"),
    ],
)  # fmt: skip
def test_what_is_too_much_is_refused_with_what_it_takes(base, name, value, message):
    config = load(base)
    section, key = name.split(".")
    config[section][key] = value
    with pytest.raises(ValueError, match=message) as caught:
        check(config)
    assert name in str(caught.value)


def test_building_refuses_what_the_machine_cannot_hold(tmp_path):
    config = load("digits_vanilla", "smoke")
    config.train.batch_size = 2**31 - 2
    with pytest.raises(ValueError, match=r"train\.batch_size = 2147483646: .* this machine has"):
        build(config, tmp_path)


def test_a_need_is_a_lower_bound_of_the_state():
    config = load("digits_vanilla", "smoke")
    experiment = build(config, Path("unused"))
    state = jax.eval_shape(experiment.training.init_state)
    exact = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    estimates = [need.size for need in training_needs(config) if "average" in need.what]
    assert 0.3 * exact < estimates[0] <= exact
    check_state(config, state, Memory(host=exact, device=exact))
    with pytest.raises(ValueError, match=r"denoiser\.width = 16, .*: the state of the run takes"):
        check_state(config, state, Memory(host=exact, device=exact - 1))


def test_samples_that_exceed_the_memory_are_refused_before_they_are_drawn(tmp_path):
    experiment = build(load("digits_vanilla", "smoke"), tmp_path)
    with pytest.raises(ValueError, match=r"^num_samples = 1000000000: a batch of samples takes"):
        draw_rows(experiment.generator({}), 0, None, num_samples=10**9)


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"a": 3}', "7", '{"a": ["b"'])
def test_a_list_of_negatives_is_read_before_there_are_tokens(tmp_path, content):
    path = tmp_path / "negatives.json"
    path.write_text(content)
    config = load("imagenet_vanilla")
    config.data.negatives = str(path)
    with pytest.raises(ValueError, match=rf"^data: .*{path.name}"):
        token_data.check_listed(config)
    path.write_text('{"a": ["b"]}')
    token_data.check_listed(config)


def test_a_machine_has_some_memory():
    memory = find_memory()
    assert 10**9 < memory.host < 10**15
    assert memory.device > 10**8


def test_shipped_configurations_fit_a_small_machine():
    for config in shipped():
        if config.data.name != "sound":
            check(config)


def test_a_limit_of_a_container_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limit.write_text("1000000\n")
    monkeypatch.setattr("cdcd_jax.tasks.memory.LIMITS", (str(limit), str(tmp_path / "none")))
    assert find_memory().host == 1000000
    limit.write_text("max\n")
    assert find_memory().host > 10**9
    assert re.fullmatch(r"\d+", str(find_memory().device))
