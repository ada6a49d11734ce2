"""Each flag with values that it cannot have, and with some that it can."""

from collections.abc import Iterator

from tests.adversarial.cases import Case
from tests.adversarial.commands import TINY, command, trained_run

LONG = "x" * 100_000
SAMPLE = ("--mode=sample", *TINY)

WHOLE = {
    "empty": "",
    "a word": "many",
    "a fraction": "2.5",
    "NaN": "nan",
    "infinite": "inf",
    "a list": "(1,2)",
    "of Arabic digits with a sign": "-٣",
    "5,000 digits": "9" * 5000,
}
"""What no whole number is written like, or none that could be meant."""

REFUSED = {
    "mode": {"empty": "", "misspelt": "sampel", "upper case": "SAMPLE", "two": "train,sample"},
    "num_samples": WHOLE
    | {"zero": "0", "negative": "-1", "a thousand million": "1000000000", "huge": f"{10**30}"},
    "label": WHOLE | {"negative": "-1", "one too many": "10", "huge": f"{10**30}"},
    "num_steps": WHOLE
    | {"zero": "0", "negative": "-1", "beyond T": "5", "a thousand million": "1000000000"},
    "truncation": {
        "empty": "",
        "a word": "most",
        "NaN": "nan",
        "infinite": "inf",
        "zero": "0",
        "negative": "-0.5",
        "above one": "1.01",
        "a percentage": "86%",
    },
    "top_k": WHOLE | {"zero": "0", "negative": "-3", "beyond the vocabulary": "18"},
    "temperature": {
        "empty": "",
        "NaN": "nan",
        "infinite": "inf",
        "negative": "-1",
        "zero": "0",
        "a word": "warm",
        "beyond float32": "1e39",
    },
    "guidance": {
        "empty": "",
        "NaN": "nan",
        "infinite": "inf",
        "negative": "-1",
        "a word": "strong",
        "of a model without a null": "2",
    },
    "seed": WHOLE | {"negative": "-1", "beyond 64 bits": f"{2**64}", "huge": f"{10**30}"},
}
"""Flags of samples (but for mode) -> what each may not be."""


def cases() -> Iterator[Case]:
    """Yield the table."""
    for flag, values in REFUSED.items():
        for name, value in values.items():
            yield command(
                f"{flag} is {name}",
                *(() if flag == "mode" else SAMPLE),
                f"--{flag}={value}",
                says=flag,
                prepare=trained_run,
                leaves=("run/error*",),
            )
    for flag in REFUSED:
        yield command(f"{flag} without its value", f"--{flag}", says=flag)
        yield command(
            f"{flag} of 100,000 letters",
            *(() if flag == "mode" else SAMPLE),
            f"--{flag}={LONG}",
            says=flag,
        )
    yield from _refused()
    yield from _taken()


def _refused() -> Iterator[Case]:
    yield command("no configuration", config=None, says="--config=configs/")
    yield command("an empty configuration", config="", says="config")
    yield command("a configuration twice, the last missing", "--config=none.py", says="none.py")
    yield command("an argument that is not a flag", "train", says="'train'")
    yield command("an argument of one dash", "-mode=train", "-x", says="x")
    yield command("an empty argument", "", says="''")
    yield command("an unknown flag", "--worker=3", says="worker")
    yield command("a flag of another case", "--Mode=train", says="Mode")
    yield command("a flag with a space", "--mode =train", says="mode ")
    yield command("a flag of letters beyond ASCII", "--möde=train", says="möde")
    yield command("nothing but dashes before an argument", "--", "mode=train", says="mode=train")
    yield command("no workdir", "--workdir=", says="workdir")
    yield command("no workdir but spaces", "--workdir=  ", says="workdir")
    yield command("trajectory is not a switch", *SAMPLE, "--trajectory=maybe", says="trajectory")
    yield command("gif is a number", *SAMPLE, "--gif=2", says="gif")
    yield command("a negation with a value", *SAMPLE, "--notrajectory=true", says="trajectory")
    yield command("a flag file that is not there", "--flagfile=none.txt", says="none.txt")
    yield command("a flag file that is a folder", "--flagfile=.", says="flagfile")
    yield command("a flag file that names itself", "--flagfile=flags.txt", says="flag",
                  files={"flags.txt": "--flagfile=flags.txt\n--mode=sampel\n"})  # fmt: skip
    yield command("a flag file with a wrong flag", "--flagfile=flags.txt", says="worker",
                  files={"flags.txt": "--worker=3\n"})  # fmt: skip
    yield command("a flag file of bytes", "--flagfile=flags.txt", says="flags.txt",
                  files={"flags.txt": b"\xff\xfe\x00--mode"})  # fmt: skip
    for name, value in {
        "backwards": "3:2",
        "from zero": "0:2",
        "beyond the last step": "2:99",
        "one number": "3",
        "three numbers": "1:2:3",
        "empty": "",
        "negative": "-1:2",
        "words": "first:last",
        "fractions": "1.0:2.0",
        "superscripts": "¹:²",
        "5,000 digits": f"1:{'9' * 5000}",
        "spaces": " 1 : 2 ",
    }.items():
        yield command(f"profile is {name}", *TINY, f"--profile={value}", says="profile")
    for name, value in WHOLE.items() | {
        ("zero", "0"), ("negative", "-8"), ("a million", "1000000"), ("huge", f"{10**30}"),
    }:  # fmt: skip
        yield command(f"devices is {name}", "--mode=plan", f"--devices={value}", says="devices")
    for name, value in {
        "empty": "",
        "unknown": "abacus",
        "two": "h200,a100",
        "a path": "../h200",
    }.items():
        yield command(f"hardware is {name}", "--mode=plan", f"--hardware={value}", says="hardware")
    yield command("samples of no configuration", "--mode=sample", config=None, workdir=None,
                  says="--config=")  # fmt: skip
    yield command("samples of a run that is not there", "--mode=sample", config=None, codes=1,
                  says="there is no checkpoint in run")  # fmt: skip
    yield command("samples of a run as it describes itself", "--mode=sample", "--num_samples=2",
                  config=None, prepare=trained_run, codes=0)  # fmt: skip
    yield command("samples of another run", *SAMPLE, "--config.denoiser.width=24",
                  prepare=trained_run, says="denoiser.width")  # fmt: skip


def _taken() -> Iterator[Case]:
    def has(pattern):
        def check(folder):
            return "" if list(folder.glob(pattern)) else f"there is no {pattern}"

        return check

    yield command("help", "--help", codes=0, says="--workdir", config=None)
    yield command("a full help", "--helpfull", codes=0, says="--workdir", config=None)
    for name, flag, pattern in (
        ("one sample", "--num_samples=1", "run/samples/*num_samples1-*.png"),
        ("one step", "--num_steps=1", "run/samples/*num_steps1-*.png"),
        ("the last label", "--label=9", "run/samples/*label9*.png"),
        ("the first label", "--label=0", "run/samples/*label0*.png"),
        ("one likely token", "--top_k=1", "run/samples/*top_k1*.png"),
        ("all tokens", "--top_k=17", "run/samples/*top_k17*.png"),
        ("a small truncation", "--truncation=1e-9", "run/samples/*truncation1e-09*.png"),
        ("no truncation", "--truncation=1", "run/samples/*truncation1*.png"),
        ("the largest seed", f"--seed={2**32 - 1}", f"run/samples/*seed{2**32 - 1}-*.png"),
        ("a seed of more than 32 bits", f"--seed={2**32}", f"run/samples/*seed{2**32}-*.png"),
        ("no guidance", "--guidance=1", "run/samples/*.png"),
        ("a trajectory", "--trajectory", "run/samples/*-trajectory.png"),
        ("an animation", "--gif", "run/samples/*.gif"),
    ):
        yield command(name, *SAMPLE, "--num_samples=2" if "num_samples" not in flag else flag,
                      flag, codes=0, prepare=trained_run, check=has(pattern))  # fmt: skip
    yield command("a flag file", "--flagfile=flags.txt", codes=0, prepare=trained_run,
                  files={"flags.txt": "# samples\n--mode=sample\n" + "\n".join(TINY)},
                  check=has("run/samples/*.png"))  # fmt: skip
    yield command("the last of two values counts", *SAMPLE, "--label=99", "--label=3", codes=0,
                  prepare=trained_run, check=has("run/samples/*label3*.png"))  # fmt: skip
