"""Count what one batch, one prompt and the start of the command pass through in the package.

    python -m benchmarks.code_walk                  # the digits; a minute
    python -m benchmarks.code_walk --list batch     # the functions of one walk, in their order

A stop is a function of ``cdcd_jax`` with a name that runs at least once: lambdas and comprehensions
belong to the function that they are in. The batch is followed through the tracing of the compiled
step; the prompt from ``cdcd.load`` to an image; the start from the imports of the command to where
``--mode=sample`` is ready to draw.
"""

import argparse
import ast
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

import cdcd_jax as cdcd
from benchmarks.timing import describe_environment, write_json
from cdcd_jax.codecs.codec_file import flatten, write_arrays
from cdcd_jax.experiment.experiment import Experiment, build
from cdcd_jax.experiment.model_folder import FOLDER, load_untrained, read_model, save_model
from cdcd_jax.settings.config_file import load_config
from cdcd_jax.training.exported import WEIGHTS, WEIGHTS_FORMAT
from cdcd_jax.training.step import TrainStep

PACKAGE = Path(cdcd.__file__).parent
CONFIG = "configs/digits_sample_inter.py:smoke"
WALKS = ("batch", "prompt", "start")


class Walk:
    """The functions of the package that ran.

    Attributes:
        stops: File and qualified name of each, in the order of their first calls.
    """

    def __init__(self):
        self.stops: dict[tuple[str, str], None] = {}

    def __call__(self, frame: Any, event: str, _: Any) -> None:
        """Note a call, as ``sys.setprofile`` has it."""
        code = frame.f_code
        ours = event == "call" and code.co_filename.startswith(str(PACKAGE))
        if ours and not code.co_name.startswith("<"):
            file = Path(code.co_filename).relative_to(PACKAGE)
            self.stops[str(file), code.co_qualname] = None

    @property
    def files(self) -> set[str]:
        """The files that the functions are in."""
        return {file for file, _ in self.stops}


@contextmanager
def walking() -> Iterator[Walk]:
    """Note the functions of the package that run in this thread."""
    walk = Walk()
    sys.setprofile(walk)
    try:
        yield walk
    finally:
        sys.setprofile(None)


def walk_batch(experiment: Experiment) -> Walk:
    """Follow one batch through the step, which is traced."""
    training = experiment.training
    batch = dict(next(training.make_batches()))
    state = jax.eval_shape(training.init_state)
    step: TrainStep = training.train_step
    with walking() as walk:
        jax.eval_shape(lambda *inputs: step(*inputs), state, batch)  # a function not traced before
    return walk


def walk_prompt(folder: Path) -> Walk:
    """Follow one request from the folder of a model to an image."""
    with walking() as walk:
        generator = cdcd.load(folder)
        generator.sample(3, num_steps=2, seed=0)
    return walk


def walk_start(folder: Path) -> tuple[Walk, float]:
    """Follow the command until it is ready to draw; without the imports' own seconds."""
    from cdcd_jax.cli import flags  # whose import defines the flags  # noqa: F401

    began = time.perf_counter()
    with walking() as walk:
        config = load_config(CONFIG)
        load_untrained(read_model(folder), config)
    return walk, time.perf_counter() - began


def count_sources() -> dict[str, Any]:
    """Measure the package's sources: lines, functions, and what is typed without a type."""
    lengths, lines, callables, anys = [], 0, 0, 0
    longest = (0, "")
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        lines += text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                lengths.append(length)
                longest = max(longest, (length, f"{file.relative_to(PACKAGE)}: {node.name}"))
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                anys += sum(_is(each.annotation, "Any") for each in arguments)
            if isinstance(node, ast.ClassDef):
                fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
                callables += sum(_is(field.annotation, "Callable[..., Any]") for field in fields)
    return {
        "files": len(list(PACKAGE.rglob("*.py"))),
        "lines": lines,
        "functions": len(lengths),
        "median_function": statistics.median(lengths),
        "longest_function": longest[0],
        "longest_function_name": longest[1],
        "fields_callable_any": callables,
        "parameters_any": anys,
    }


def _is(annotation: ast.expr | None, text: str) -> bool:
    return annotation is not None and ast.unparse(annotation) == text


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.code_walk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", choices=WALKS, help="print the functions of a walk")
    parser.add_argument("--json", help="file for the measurements")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        config = load_config(CONFIG)
        experiment = build(config, folder)
        save_model(experiment, config, folder)
        params = experiment.model.init(jax.random.key(0))
        write_arrays(folder / FOLDER / WEIGHTS, flatten(params), {"format": WEIGHTS_FORMAT})
        start, seconds = walk_start(folder)
        walks = {"batch": walk_batch(experiment), "prompt": walk_prompt(folder), "start": start}
    if options.list:
        for file, name in walks[options.list].stops:
            print(f"{file:<40} {name}")
    for name, walk in walks.items():
        print(f"{name:<7} {len(walk.stops):4} functions in {len(walk.files):3} files")
    sources = count_sources()
    for name, value in sources.items():
        print(f"{name:<22} {value}")
    print(f"ready to draw after {seconds:.2f} s, imports not counted")
    if options.json:
        rows: list[dict[str, Any]] = [
            {"name": name, "functions": len(walk.stops), "files": len(walk.files)}
            for name, walk in walks.items()
        ]
        report = {"environment": describe_environment(), "rows": rows, "sources": sources}
        write_json(options.json, report | {"ready_s": seconds})


if __name__ == "__main__":
    main()
