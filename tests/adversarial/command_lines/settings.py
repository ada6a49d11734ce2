"""Each section of the configuration with keys and values that it cannot have."""

from collections.abc import Iterator

from tests.adversarial.cases import Case
from tests.adversarial.commands import ROOT, TINY, command

MISSPELT = {
    "train.batchsize=8": "batch_size",
    "train.num_stpes=8": "num_steps",
    "optimizer.learning_rate=1": "optimizer",
    "optimizer.b3=0.9": "b1",
    "loss.weight=1": "loss",
    "loss.chain=shared": "chains",
    "denoiser.layers=2": "num_layers",
    "denoiser.num_head=2": "num_heads",
    "schedule.T=50": "schedule",
    "schedule.final_uniformm=0.1": "final_uniform",
    "evla.seed=3": "eval",
    "mesh.fdsp=2": "fsdp",
    "sample.truncate=0.5": "truncation",
    "condition.drop_out=0.1": "dropout",
    "codec.vocab=9": "vocab_size",
    "data.threads=2": "num_threads",
    "data.=2": "data",
    ".train=2": "section",
    "train.batch_size.more=2": "batch_size",
    "train.BATCH_SIZE=8": "batch_size",
    "train.batch_size=": "train.batch_size",
}
"""An assignment -> what its sentence must name."""

NO_NUMBERS = {
    "a word": "many",
    "a list": "(1,2)",
    "NaN": "nan",
    "infinite": "inf",
    "empty": "",
    "a switch": "True",
    "a quoted number": "'8'",
    "code": "__import__('os').getpid()",
    "10**30": f"{10**30}",
    "5,000 digits": "9" * 5000,
}

WRONG = {
    "train.batch_size": ("0", "-1", "1000000000", "2.5", "None"),
    "train.num_steps": ("-1", "1.5", f"{10**19}", "None"),
    "train.num_microbatches": ("0", "-2", "3", "17", "1000000000"),
    "train.max_skipped": ("-1", "0.5"),
    "train.ema_decay": ("-0.1", "1.5", "nan", "1e9", "'high'"),
    "train.ema_every": ("0", "-1", "0.1"),
    "train.log_every": ("0", "-1"),
    "train.checkpoint_every": ("0", "-5"),
    "train.keep_checkpoints": ("0", "-1"),
    "train.sample_every": ("-1",),
    "train.seed": ("-1", f"{2**64}", f"{10**30}", "1.5", "None"),
    "train.importance_sampling": ("2", "yes", "None"),
    "optimizer.lr": ("-1", "nan", "inf", "1e39", "'fast'", "(1,)"),
    "optimizer.decay": ("linearr", "", "None", "3"),
    "optimizer.decay_steps": ("0", "-4", "1.5"),
    "optimizer.warmup_steps": ("-1", "1e3", "100000"),
    "optimizer.warmup_from": ("nan", "-1"),
    "optimizer.b1": ("1", "-0.1", "nan", "2"),
    "optimizer.b2": ("1", "1.5", "-1"),
    "optimizer.weight_decay": ("nan", "-1", "inf"),
    "optimizer.clip_norm": ("0", "-1", "nan"),
    "optimizer.clip_steps": ("-1", "0.5"),
    "optimizer.plateau_factor": ("0", "-1", "2"),
    "optimizer.plateau_patience": ("-1",),
    "schedule.num_steps": ("0", "-1", "1000000000", "1.5", "None"),
    "schedule.final_keep": ("-0.1", "1.1", "nan", "1"),
    "schedule.final_uniform": ("-0.1", "2", "nan", "1"),
    "schedule.first_keep": ("0", "1.5", "nan"),
    "schedule.first_uniform": ("-1", "1"),
    "schedule.name": ("cosine", "", "None"),
    "schedule.curve": ("cosin", "", "3"),
    "schedule.power": ("0", "-1", "nan"),
    "loss.stratified_timesteps": ("3", "yes"),
    "loss.mechanism": ("both", "", "None", "3"),
    "loss.negatives": ("others", "", "3"),
    "loss.num_negatives": ("0", "-1", "1000000000", "1.5"),
    "loss.contrast_weight": ("nan", "-1", "inf"),
    "loss.contrast_time_weight": ("flat", ""),
    "loss.contrast_steps": ("0", "-1", "1000"),
    "loss.chains": ("own", ""),
    "loss.chains_per_pass": ("0", "-1"),
    "loss.aux_weight": ("nan", "-1", "1e39"),
    "loss.mask_weight": ("(1.0,)", "(nan,1.0)", "1.0", "(-1.0,1.0)"),
    "loss.positions_per_pass": ("0", "-1"),
    "loss.patches": ("(0,2)", "(2,)", "2"),
    "denoiser.num_layers": ("0", "-1", "1000000000"),
    "denoiser.width": ("0", "-8", "7", "1000000000"),
    "denoiser.num_heads": ("0", "-1", "3"),
    "denoiser.mlp": ("cubic", ""),
    "denoiser.mlp_ratio": ("0", "-1", "1000000000"),
    "denoiser.compute_dtype": ("float8", "float64", "int32", ""),
    "denoiser.remat": ("some", ""),
    "denoiser.attention": ("flash9", ""),
    "condition.kind": ("klass", "", "text", "dance"),
    "condition.dropout": ("-0.1", "1.1", "nan"),
    "codec.name": ("pixel", "vqgan", ""),
    "codec.vocab_size": ("0", "-1", "16", "1", "1000000000"),
    "codec.grid": ("(4,4)", "(8,)", "(0,0)", "64", "(8,8,8)"),
    "data.name": ("digit", "imagenet", ""),
    "data.num_threads": ("-1", "1.5", "1000000"),
    "data.prefetch": ("-3", "0.5", "1000000000"),
    "mesh.data": ("0", "-1", "3", "1000000"),
    "mesh.fsdp": ("0", "-1", "2", "1000000000"),
    "mesh.tensor": ("0", "3", "-2"),
    "mesh.rules": ("5", "(('x',),)", "(('[',(None,)),)", "'fsdp'"),
    "eval.num_samples": ("0", "-1", "1000000000"),
    "eval.num_steps": ("()", "(0,)", "(99,)", "5", "(1.5,)"),
    "eval.truncations": ("()", "(0.0,)", "(1.5,)", "(nan,)"),
    "eval.batch_size": ("0", "-1", "1000000000"),
    "eval.num_real": ("0", "-1"),
    "eval.seed": ("-1", f"{2**64}", "1.5"),
    "sample.num_samples": ("0", "-1", "1000000000"),
    "sample.num_steps": ("0", "-1", "99"),
    "sample.truncation": ("0", "1.5", "nan"),
    "sample.top_k": ("0", "-1", "99"),
    "sample.temperature": ("0", "-1", "nan"),
    "sample.guidance": ("nan", "-1", "2.0"),
}
"""A key of the digits' configuration -> what it may not be."""

SECTIONS = (
    "data", "codec", "condition", "schedule", "loss", "denoiser", "optimizer", "train", "mesh",
    "eval", "sample",
)  # fmt: skip
CODEC_WRONG = {
    "codec.image_size": ("0", "31", "-32"),
    "codec.num_codes": ("0", "1", "-1"),
    "codec.channels": ("0", "-4"),
    "codec.multipliers": ("()", "(0,)"),
    "codec.batch_size": ("0", "-1"),
    "codec_train.batch_size": ("0", "-1"),
    "codec_train.crop": ("middle",),
    "codec_loss.discriminator_start": ("-1",),
    "codec_loss.codebook_decay": ("1.5", "nan"),
    "codec_optimizer.lr": ("nan", "-1"),
    "prepare.views": ("0", "-1", "1000000000"),
    "prepare.shard_size": ("0", "-1"),
    "prepare.crop": ("middle",),
    "prepare.on_bad": ("ignore",),
    "prepare.seed": ("-1", f"{2**64}"),
}
"""The same of the images' configuration."""


def cases() -> Iterator[Case]:
    """Yield the table."""
    for assignment, named in MISSPELT.items():
        yield command(f"misspelt: {assignment}", f"--config.{assignment}", says=named)
    for section in SECTIONS:
        yield command(f"no section {section}", f"--config.{section}=None", says=section)
    for key in ("train.batch_size", "optimizer.lr", "schedule.num_steps", "eval.truncations"):
        for name, value in NO_NUMBERS.items():
            yield command(f"{key} is {name}", f"--config.{key}={value}", says=key)
    for key, values in WRONG.items():
        for value in values:
            mode = ("--mode=sample",) if key.startswith("sample.") else ()
            yield command(
                f"{key} = {value}",
                *(flag for flag in TINY if f".{key}=" not in flag),
                *mode,
                f"--config.{key}={value}",
                says=key.partition(".")[2],
            )
    for key, values in CODEC_WRONG.items():
        for value in values:
            yield command(
                f"images: {key} = {value}",
                f"--config.{key}={value}",
                config=f"{ROOT}/configs/grocery_vanilla.py:smoke",
                says=key.partition(".")[2],
            )
    yield from _taken()


def _taken() -> Iterator[Case]:
    def steps(number):
        def check(folder):
            lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
            return "" if len(lines) == number else f"{len(lines)} lines of metrics, not {number}"

        return check

    for name, flag in {
        "a batch of one": "train.batch_size=1",
        "no steps of warm-up": "optimizer.warmup_steps=0",
        "no prefetch": "data.prefetch=0",
        "no threads": "data.num_threads=0",
        "one negative": "loss.num_negatives=1",
        "no contrast": "loss.mechanism=none",
        "the largest seed": f"train.seed={2**32 - 1}",
        "a mesh of one": "mesh.data=1",
        "two microbatches": "train.num_microbatches=2",
        "chains one by one": "loss.chains_per_pass=1",
        "one position at a time": "loss.positions_per_pass=1",
        "bfloat16": "denoiser.compute_dtype=bfloat16",
    }.items():
        yield command(
            name, *TINY, f"--config.{flag}", codes=0, limit=60, check=steps(4), says="Trained 4"
        )
