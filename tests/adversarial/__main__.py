"""Run whole tables: ``python -m tests.adversarial [command_lines|files|calls ...]``."""

import argparse
import importlib
import sys

from tests.adversarial.cases import KINDS, run_cases

TABLES = ("command_lines", "files", "calls")


def main() -> int:
    """Print every failure and the counts; return 1 if there was a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.adversarial", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument("--only", default="", help="part of the names of the cases to run")
    parser.add_argument("--verbose", action="store_true", help="print what passes, too")
    options = parser.parse_args()
    if unknown := set(options.tables) - set(TABLES):
        parser.error(f"there is no table {', '.join(unknown)}, only {', '.join(TABLES)}")
    failed = False
    for table in options.tables or TABLES:
        cases = importlib.import_module(f"tests.adversarial.{table}").cases()
        counts = dict.fromkeys(KINDS, 0)
        # Calls and files are examined in this process.
        jobs = options.jobs if table == "command_lines" else 1
        for verdict in run_cases([c for c in cases if options.only in c.name], jobs):
            counts[verdict.kind] += 1
            if verdict.kind != "passed" or options.verbose:
                print(f"{verdict.kind}: {table}: {verdict.case.name}: {verdict.reason}")
                print(
                    *(f"    {line[:300]}" for line in verdict.outcome.output.splitlines()[-12:]),
                    sep="\n",
                )
                sys.stdout.flush()
        total = sum(counts.values())
        if table == "files":
            report = importlib.import_module("tests.adversarial.files.forked").REPORT
            peak, name = max(report, default=(0, "none"))
            print(f"files: at most {peak / 1e6:.0f} MB while refusing ({name})")
        print(f"{table}: {total} cases,", ", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
        failed |= total != counts["passed"]
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
