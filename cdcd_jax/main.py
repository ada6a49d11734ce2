"""The command line: ``cdcd --config=configs/digits_sample_inter.py``.

``python -m cdcd_jax.main`` is the same.

Exit codes: 0 when done, or when SIGTERM or SIGHUP came and the state is saved; 2 for what must be
changed before it can work, a flag, the configuration or an input; 1 for what may work the next
time, such as a full disk, a checkpoint that cannot be read, a lost host, a loss that is not finite,
and for whatever is not expected. 130 after SIGINT, 143 and 129 where SIGTERM and SIGHUP found
nothing to save, 141 where the reader of the output has gone.
"""

import sys
from collections.abc import Sequence

from absl import app

from cdcd_jax.cli.streams import guard_output
from cdcd_jax.training.stopping import Stopper

HELP = {"--help", "-help", "--helpshort", "-h", "-?"}
FULL_HELP = {"--helpfull", "--helpxml"}
"""Absl's own, with the flags of every library."""


def main(argv: Sequence[str], stopper: Stopper) -> None:
    """Run one command; whatever fails ends with one sentence, here and nowhere else.

    Args:
        argv: The command line.
        stopper: Handles signals.
    """
    # Imports of seconds, before which signals have their answers.
    from cdcd_jax.cli.failures import fail, watch_threads

    watch_threads()
    try:
        if not HELP.isdisjoint(argv[1:]):
            from cdcd_jax.cli.flag_help import describe_flags

            print(describe_flags())
            return
        from cdcd_jax.cli.commands import run
        from cdcd_jax.cli.flag_checks import parse_flags

        app.run(lambda _: run(stopper), argv=[*argv], flags_parser=parse_flags)
    except SystemExit as ended:
        # Absl fails after its help.
        sys.exit(ended.code if FULL_HELP.isdisjoint(argv) else 0)
    except Exception as error:
        fail(error)


def run_command() -> None:
    """Run the command of this process, as ``cdcd`` and ``python -m cdcd_jax.main`` do."""
    stopper = Stopper()
    guard_output(stopper.lose_output)
    main(sys.argv, stopper)


if __name__ == "__main__":
    run_command()
