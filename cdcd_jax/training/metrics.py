"""Numbers of a run as JSON lines, for programs, and as TensorBoard events, for eyes."""

import json
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from cdcd_jax.files import is_first_host, whole_file


class MetricsWriter:
    r"""Append one line per report to ``metrics.jsonl`` and the same to ``tensorboard/``.

    Of many hosts the first writes for all. A run that was killed may have written lines beyond its
    last checkpoint. Resuming drops them, so that each step is told once.

    Args:
        workdir: Existing folder of the run.
        step: The step the run goes on from; 0 starts anew.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with MetricsWriter(folder, step=0) as writer:
    ...     writer.write(10, {"loss": 2.5})
    >>> (folder / "metrics.jsonl").read_text()
    '{"step": 10, "loss": 2.5}\n'
    """

    def __init__(self, workdir: Path, *, step: int):
        self._writes = is_first_host()
        if not self._writes:
            return
        path = workdir / "metrics.jsonl"
        _drop_lines_after(path, step)
        # Line-buffered: a line is on its way to the disk when write returns.
        self._lines = path.open("a", buffering=1, encoding="utf-8")
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "MetricsWriter":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both files."""
        if self._writes:
            self._lines.close()
            self._events.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append values.

        Args:
            step: Number of updates they were seen after.
            values: Finite numbers by name.
        """
        if not self._writes:
            return
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, step)


def _drop_lines_after(path: Path, step: int) -> None:
    """Keep the lines up to a step, atomically; a torn last line goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    with whole_file(path) as part:
        part.write_text("".join(kept), encoding="utf-8")
