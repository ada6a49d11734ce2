"""The command line within this process, so that JAX starts once and compiles each function once."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from absl.testing import flagsaver
from jax.experimental.compilation_cache import compilation_cache

from cdcd_jax import main
from cdcd_jax.cli import commands, failures
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment import experiment
from cdcd_jax.training.stopping import Stopper

ROOT = Path(__file__).parents[2]


@contextmanager
def compiled_in(folder: Path) -> Iterator[None]:
    """Keep what is compiled in a folder."""
    options = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: jax.config.values[name] for name in options}
    for settings in (options, before):
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # which else keeps to the folder it knows
        if settings is options:
            yield


class CommandHere:
    """Run the command in this process on one device, as often as one likes.

    Attributes:
        built: The experiments it has built, in their order.
    """

    def __init__(self, monkeypatch, capsys):
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.built = []
        monkeypatch.chdir(ROOT)
        for module in ("experiment.experiment", "tasks.codec_run", "cli.commands"):
            name = f"cdcd_jax.{module}.find_mesh"
            monkeypatch.setattr(name, lambda *_: make_mesh(jax.devices()[:1]))
        monkeypatch.setattr(failures.os, "_exit", sys.exit)  # which would end the tests, too
        monkeypatch.setattr(commands, "build", _kept(self.built, experiment.build))

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        code, stopper = 0, Stopper()
        # The configuration's flags look here for theirs.
        self._monkeypatch.setattr(sys, "argv", ["main", *arguments])
        with flagsaver.flagsaver():
            try:
                main.main(sys.argv, stopper)
            except SystemExit as stopped:
                code = stopped.code or 0
            finally:
                stopper.uninstall()
        said = self._capsys.readouterr()
        return code, said.out + said.err


def _kept(kept: list, make: Callable) -> Callable:
    def make_and_keep(*arguments, **options):
        kept.append(make(*arguments, **options))
        return kept[-1]

    return make_and_keep
