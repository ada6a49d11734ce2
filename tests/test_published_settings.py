"""The paper-size configurations beside the published settings, key by key."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from cdcd_jax.data.dance.aist import GENRES
from cdcd_jax.models.options import DenoiserOptions
from cdcd_jax.tasks.music_codecs import find_window
from cdcd_jax.training.optimizer import make_optimizer

ROOT = Path(__file__).parent.parent
PUBLISHED = json.loads((Path(__file__).parent / "support" / "published_settings.json").read_text())
DATA_SETS = ("aist", "tiktok", "coco", "cub200", "imagenet")
IMAGES = ("coco", "cub200", "imagenet")

GPUS = {"aist": 4, "tiktok": 4, "coco": 8, "cub200": 4, "imagenet": 8}
"""Of the paper's training (its appendix C); the published batch is that of each."""

EXAMPLES = {"aist": 6632, "tiktok": 2384, "coco": 82_783, "cub200": 8855, "imagenet": 1_281_167}
"""Of an epoch: lines of the authors' lists of 2 s of training music, or training images."""

NO_SETTINGS = {"about", "evaluation.a_miss_is_not_a_bug", "genre_numbers.verified"}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def load(name, variant=""):
    return importlib.import_module(f"configs.{name}").get_config(variant)


def contrast(data_set, setting):
    """Say what contrast a configuration has, as in ``"step intra 5e-05"``."""
    loss = load(f"{data_set}_{setting.replace(' ', '_')}").loss
    assert (loss.num_negatives, loss.chains) == (10, "shared")
    return f"{loss.mechanism} {loss.negatives} {loss.contrast_weight:g}"


def codec_grid(config):
    side = config.codec.image_size // 2 ** (len(config.codec.multipliers) - 1)
    return [side, side]


def epochs(data_set, config):
    """Count the epochs of a run, rounded: the steps are rounded to hundreds."""
    return round(config.train.num_steps * config.train.batch_size / EXAMPLES[data_set])


OF_A_DATA_SET = {
    "T": lambda _, config: config.schedule.num_steps,
    "blocks": lambda _, config: config.denoiser.num_layers,
    "width": lambda _, config: config.denoiser.width,
    "heads": lambda _, config: config.denoiser.num_heads,
    "mlp": lambda _, config: config.denoiser.mlp,
    "mlp_ratio": lambda _, config: config.denoiser.mlp_ratio,
    "aux_weight": lambda _, config: config.loss.aux_weight,
    "peak_rate": lambda _, config: config.optimizer.lr,
    "warmup": lambda _, config: config.optimizer.warmup_steps,
    "patience": lambda _, config: config.optimizer.plateau_patience,
    "epochs": epochs,
    "batch": lambda data_set, config: config.train.batch_size / GPUS[data_set],
    "seconds": lambda _, config: config.data.seconds,
    "length": lambda data_set, config: (
        int(np.prod(codec_grid(config))) if data_set in IMAGES else find_window(config).length
    ),
    "K": lambda _, config: config.codec.num_codes,
    "position_grid": lambda _, config: list(config.denoiser.embedding_grid),
    "truncation": lambda _, config: config.sample.truncation,
    "headline": lambda data_set, _: [
        setting for setting in PUBLISHED[data_set]["paper"]["headline"]
        if contrast(data_set, setting).startswith(setting)
    ],
}  # fmt: skip
"""Our value of each key, from the configuration without contrast."""

OF_THE_OPTIMIZER = {
    "b1": "b1", "b2": "b2", "weight_decay": "weight_decay", "first_rate": "warmup_from",
    "smallest_rate": "end_lr", "plateau_factor": "plateau_factor",
    "plateau_threshold": "plateau_threshold", "clip_norm": "clip_norm",
    "clip_until_iteration": "clip_steps",
}  # fmt: skip


def published_and_paper(data_set):
    """Yield key, published value and the paper's of a data set, None where one says nothing."""
    yaml, paper = PUBLISHED[data_set]["yaml"], PUBLISHED[data_set]["paper"]
    common = PUBLISHED["common"]["paper"]
    yaml = {key.removeprefix("inference_"): value for key, value in yaml.items()}
    paper = {"T": common["T"], "truncation": common["truncation"]} | paper
    if data_set in ("aist", "tiktok"):
        paper = {"peak_rate": common["music_rate"]} | paper
    for key in sorted({*yaml, *paper}):
        yield key, yaml.get(key), paper.get(key)


def contrast_row(data_set, published):
    """Compare the configuration of the contrast that the documented command trains."""
    if published.startswith("absent"):
        assert load(f"{data_set}_vanilla").loss.mechanism == "none"
        return published, None, published
    setting, weight = published.rsplit(" ", 1)
    paper = PUBLISHED["common"]["paper"]["lambda"]
    return f"{setting} {float(weight):g}", f"{setting} {paper:g}", contrast(data_set, setting)


def common_rows():
    """Yield key, published value, the paper's and ours of what all data sets share."""
    configs = [load(f"{data_set}_vanilla") for data_set in DATA_SETS]

    def ours(find):
        (value,) = {json.dumps(find(config)) for config in configs}
        return json.loads(value)

    yaml, paper = PUBLISHED["common"]["yaml"], PUBLISHED["common"]["paper"]
    values = {
        key: ours(lambda config, name=name: config.optimizer[name])
        for key, name in OF_THE_OPTIMIZER.items()
    }
    values["clip_until_iteration"] = values["clip_until_iteration"] or "no end"
    params = {"w": np.zeros(1, np.float32)}
    state = make_optimizer(**MINIATURE).init(params)
    values["optimizer"] = "AdamW" if "adamw" in state else None
    for key, holds in {
        "plateau_threshold_mode": relative_to_the_best(),
        "plateau_counts": counts_from_the_end_of_the_warmup(),
    }.items():
        values[key] = yaml[key] if holds else None
    values["ema_decay"] = ours(lambda config: config.train.ema_decay)
    values["ema_every"] = ours(lambda config: config.train.ema_every)
    values["adaptive_aux"] = ours(lambda config: config.loss.aux_time_weight == "decreasing")
    values["mask_weight"] = ours(lambda config: config.loss.mask_weight)
    values["num_negatives"] = ours(lambda config: config.loss.num_negatives)
    fields = DenoiserOptions.__dataclass_fields__
    values["attention_dropout"] = None if any("dropout" in name for name in fields) else 0.0
    values["activation"] = fields["activation"].default.upper()
    table = fields["timestep"].default == "table"
    values["timestep"] = yaml["timestep"] if table else None
    shares = ours(lambda config: {k: v for k, v in config.schedule.items() if k != "num_steps"})
    alpha1 = {"name": "mask_replace", "final_keep": 9e-6, "final_uniform": 1e-6,
              "first_keep": 0.99999, "first_uniform": 1e-6, "curve": "linear",
              "power": 2.0}  # fmt: skip
    values["schedule"] = "alpha1" if shares == alpha1 else shares
    values["batch_is"] = "of all devices"  # tests/test_configs.py divides it over them
    for key, published in yaml.items():
        yield f"common.{key}", published, paper.get({"num_negatives": "N"}.get(key)), values[key]


MINIATURE = {
    "lr": 1.0, "num_steps": 1, "decay": "plateau", "warmup_steps": 3, "plateau_patience": 2,
}  # fmt: skip


def rates(losses):
    optimizer = make_optimizer(**MINIATURE)
    params = {"w": np.zeros(1, np.float32)}
    state, found = optimizer.init(params), []
    for loss in losses:
        found.append(float(optimizer.learning_rate(state)))
        state = optimizer.update(params, state, params, value=loss)[1]
    return [*found, float(optimizer.learning_rate(state))]


def relative_to_the_best():
    """A loss 11% below the best of 2.0 is an improvement, one 9% below is none."""
    improving, not_improving = (rates([9.0] * 3 + [2.0] + [x] * 3)[-1] for x in (1.78, 1.82))
    return (improving, not_improving) == (1.0, 0.5)


def counts_from_the_end_of_the_warmup():
    return rates([0.1] * 3 + [1.0] * 4)[-2:] == [1.0, 0.5]


def other_rows():
    """Yield what is said of training images and of evaluation, beside what we do."""
    configs = {data_set: load(f"{data_set}_vanilla") for data_set in DATA_SETS}
    crops = {(configs[name].prepare.crop, configs[name].prepare.flip) for name in IMAGES}
    published = PUBLISHED["training_crop"]
    yield "training_crop", published, None, published if crops == {("dalle", False)} else crops
    of_cub, of_imagenet = configs["cub200"].eval, configs["imagenet"].eval
    evaluation = PUBLISHED["evaluation"]
    yield (
        "evaluation.cub_generation", evaluation["cub_generation"], None,
        evaluation["cub_generation"] if of_cub.all_captions else of_cub.num_samples,
    )  # fmt: skip
    yield (
        "evaluation.cub_fid", evaluation["cub_fid"], None,
        f"{of_cub.num_real // 1000}k real images, oversampled, against "
        f"{of_cub.num_samples // 1000}k generated",
    )  # fmt: skip
    yield (
        "evaluation.imagenet_fid", evaluation["imagenet_fid"], None,
        f"{of_imagenet.num_samples // 1000}k generated against {of_imagenet.num_real // 1000}k "
        f"of the training images; truncation {of_imagenet.truncations[0]}",
    )  # fmt: skip
    yield "genre_numbers.codes", PUBLISHED["genre_numbers"]["codes"], None, list(GENRES)
    names = [name.replace("LA-style", "LA") for name in GENRES.values()]
    yield "genre_numbers.order", PUBLISHED["genre_numbers"]["order"], None, names


def all_rows():
    yield from common_rows()
    for data_set in DATA_SETS:
        config = load(f"{data_set}_vanilla")
        for key, published, paper in published_and_paper(data_set):
            name = f"{data_set}.{key}"
            if key == "contrast":
                yield name, *contrast_row(data_set, published)
            else:
                yield name, published, paper, OF_A_DATA_SET[key](data_set, config)
    yield from other_rows()


def show(value):
    """Write a value as the table does."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_table():
    """Read the departures of the docs: key, published value, the paper's, ours, why."""
    page = (ROOT / "docs" / "results" / "settings.md").read_text()
    text = page.split("## Departures")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert len(rows) == len({key for key, *_ in rows})
    return {key: (published, paper, ours) for key, published, paper, ours, _ in rows}


def test_every_departure_is_in_the_table_and_every_row_is_one():
    departures = {
        key: (show(published), show(paper), show(ours))
        for key, published, paper, ours in all_rows()
        if any(value is not None and value != ours for value in (published, paper))
    }
    assert read_table() == departures


def test_every_published_key_is_compared():
    def keys(tree, prefix=""):
        for key, value in tree.items():
            yield from keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]

    used = {key for key, *_ in all_rows()} | NO_SETTINGS
    used |= {f"common.{key}" for key in ("T", "truncation", "music_rate", "lambda", "N")}
    for key in keys(PUBLISHED):
        plain = key.replace(".yaml.", ".").replace(".paper.", ".").replace("inference_", "")
        assert plain in used, key


def test_six_seconds_of_music_are_those_of_the_configuration_file():
    config, yaml = load("aist_vanilla", "6s"), PUBLISHED["aist"]["yaml"]
    assert config.data.seconds == yaml["seconds"]
    assert find_window(config).length == yaml["length"]
    assert round(config.train.num_steps * config.train.batch_size / 2581) == yaml["epochs"]


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_the_settings_follow_each_other(data_set):
    config = load(f"{data_set}_vanilla")
    assert config.optimizer.decay == "plateau"
    assert tuple(config.eval.num_steps) == (config.schedule.num_steps,)
    assert tuple(config.eval.truncations) == (config.sample.truncation,)
