"""Count how many batches of digits with inter negatives the input pipeline delivers.

    python -m benchmarks.input_pipeline --batch 64 --negatives 10

The consumer does nothing, so this is the most that training could be fed.
"""

import argparse
import time

from benchmarks.timing import describe_environment, write_json
from cdcd_jax.data.pipeline import make_train_iterator
from cdcd_jax.data.toy.digits import load_digits


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.input_pipeline",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=64, help="examples in a batch")
    parser.add_argument("--negatives", type=int, default=10, help="inter negatives per example")
    parser.add_argument("--batches", type=int, default=500, help="batches to read each time")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--json", help="file for the measurements")
    options = parser.parse_args()
    examples = load_digits("train")
    rows = []
    for num_threads in options.threads:
        iterator = make_train_iterator(
            examples,
            batch_size=options.batch,
            seed=0,
            num_negatives=options.negatives,
            num_threads=num_threads,
        )
        next(iterator)
        start = time.perf_counter()
        for _ in range(options.batches):
            next(iterator)
        rate = options.batches / (time.perf_counter() - start)
        rows.append({"num_threads": num_threads, "batches_per_second": rate})
        print(
            f"{num_threads} threads: {rate:7.0f} batches/s, {rate * options.batch:8.0f} examples/s"
        )
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)


if __name__ == "__main__":
    main()
