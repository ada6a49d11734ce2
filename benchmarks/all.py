"""Run the benchmarks one after another, at small sizes or at their own.

    python -m benchmarks.all --smoke --json-folder OUT

Each has a process of its own; one that fails is named at the end.
"""

import argparse
import subprocess
import sys
from pathlib import Path

TINY = "--layers 2 --width 32 --heads 2 --length 16 --vocab 32 --batch 2 --steps 4 --negatives 2"
TINY_IMAGES = (
    "--batch 4 --negatives 2 --images 20 --source-size 20 --image-size 16 --channels 8 "
    "--multipliers 1 --res-blocks 1 --codes 12 --shard-size 8 --rounds 1 --threads 1"
)
COMMANDS = {
    "train_step": (f"{TINY} --cond-length 3 --cond-dim 8 --rounds 2", ""),
    "correctness": (f"{TINY} --cond-length 3 --cond-dim 8 --updates 2", ""),
    "sampler": (f"{TINY} --cond-length 3 --cond-dim 8 --calls 2 --rounds 1", "--calls 20"),
    "input_pipeline": ("--batch 8 --batches 20 --threads 0 1", ""),
    "token_shards": (TINY_IMAGES, ""),
    "codec": ("--smoke --batches 1 --rounds 1", ""),
    "checkpoint": ("--megabytes 8 --rounds 1", "--devices 4"),
    "load_memory": ("--megabytes 20", ""),
    "compile_time": (f"{TINY} --cond-length 3 --cond-dim 8", ""),
    "eager_calls": (f"{TINY} --cond-length 3 --cond-dim 8", ""),
}
"""Arguments at small sizes and at full ones."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.all", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--smoke", action="store_true", help="sizes that take seconds")
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--json-folder", type=Path, help="folder for a file of each")
    options = parser.parse_args()
    failed = []
    for name in options.only:
        small, full = COMMANDS[name]
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            *(small if options.smoke else full).split(),
        ]
        if options.json_folder:
            command += ["--json", str(options.json_folder / f"{name}.json")]
        print("+", " ".join(["python", *command[1:]]), flush=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"Error: {', '.join(failed)} failed; see above")


if __name__ == "__main__":
    main()
