"""The output of ``--help``: the flags of this package in groups, with examples."""

from textwrap import fill

from absl import flags

from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.settings.config_file import EXAMPLE

GROUPS = {
    "What is run": ("config", "mode", "workdir"),
    "Sampling": (
        *("num_samples", "label", "prompt", "negative_prompt", "prompt_file", "num_steps"),
        *("truncation", "top_k", "temperature", "guidance", "sampler", "corrector", "times"),
        *("seed", "trajectory", "gif", "export"),
    ),
    "Editing": ("image", "mask", "box", "music", "span", "strength"),
    "Music for a dance": (
        *("motion", "seconds", "genre", "video", "audio_out", "video_out", "denoise"),
    ),
    "Published checkpoints": ("reference_checkpoint", "start_from", "bpe_merges"),
    "Many hosts": (
        *("coordinator", "num_hosts", "host_index", "host_timeout", "host_stuck_timeout"),
    ),
    "Planning": ("plan", "devices", "hardware", "topology"),
    "Debugging": ("debug", "profile"),
}
"""Names of flags, each in one group."""

EXAMPLES = {
    f"cdcd --config={EXAMPLE}": "train, evaluate, summarise",
    f"cdcd --config={EXAMPLE} --config.train.seed=1 --workdir=runs/other": "with another value",
    f"cdcd --config={EXAMPLE} --mode=sample --label=3 --num_samples=20": "draw from the newest",
    "cdcd --workdir=runs/digits --mode=edit --image=eight.png --box=0,0,4,8 --label=3": (
        "generate the upper half anew"
    ),
}

WIDTH = 100
INDENT = 24
KINDS = {"int": "N", "float": "X"}


def describe_flags() -> str:
    """Return the help of the command line.

    >>> print(describe_flags().splitlines()[0])
    Usage: cdcd --config=FILE[:VARIANT] [--mode=MODE] [--config.SECTION.KEY=VALUE ...] [FLAGS]
    """
    usage = "cdcd --config=FILE[:VARIANT] [--mode=MODE] [--config.SECTION.KEY=VALUE ...] [FLAGS]"
    lines = [f"Usage: {usage}", "       (or python -m cdcd_jax.main)", "", "Examples:"]
    for example, what in EXAMPLES.items():
        lines += [f"  {example}", f"      {what}"]
    for group, names in GROUPS.items():
        lines += ["", f"{group}:", *(_describe(FLAGS[name]) for name in names)]
    end = "A flag that the mode does not read is refused. docs/configuration.md explains the keys."
    return "\n".join([*lines, "", end])


def _describe(flag: flags.Flag) -> str:
    kind = flag.flag_type()
    value = "" if kind == "bool" else f"={KINDS.get(kind, 'TEXT')}"
    what = flag.help.partition(";\n")[0]  # what absl adds to a flag that may be repeated
    if isinstance(flag, flags.EnumFlag):
        value = f"={flag.name.upper()}"
    if flag.name == "config":
        value = "=FILE"
    if flag.default not in (None, False, []) and flag.name != "config":
        what += f" Default: {flag.default}."
    name = f"  --{flag.name}{value}"
    gap = " " * (INDENT - len(name)) if len(name) < INDENT - 1 else "\n" + " " * INDENT
    text = fill(what, WIDTH, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT)
    return name + gap + text.lstrip()
