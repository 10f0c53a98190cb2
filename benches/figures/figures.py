#!/usr/bin/env python3
"""End-to-end figures of kcl-daemon beside Java's MultiLangDaemon, on the same emulators.

    cargo build --release
    benches/figures/figures.py                                  # ours, every row
    benches/figures/figures.py --kind java-3.5.1 --row start idle-memory
    benches/figures/figures.py --table                          # what has been measured so far, as Markdown

Kinesis is ferrokinesis, DynamoDB is dynoxide; both are servers that we did not write. 4 shards and a cheap
Python processor that checkpoints every batch; under load 400 records/s of 200 bytes. Needs cargo, for Java
also java and mvn; installs into target/test-tools. Results are kept in target/figures/results.json.
"""

import argparse
import json
import os
import sys
import time

import rows
import tools
from fleet import TooLate, java, ours

RESULTS = tools.REPOSITORY / "target" / "figures" / "results.json"
KINDS = ["ours", "java-3.5.1", "java-2.7.2"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    listing = "\n".join(f"  {name:16} {row.title}" for name, row in rows.ROWS.items())
    parser.add_argument("--row", nargs="+", choices=rows.ROWS, default=list(rows.ROWS), metavar="ROW", help=f"only these:\n{listing}")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=["ours"], help="whose figures [default: ours]")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="measure so often, keep the worst [default: 1]")
    parser.add_argument("--binary", default=tools.REPOSITORY / "target" / "release" / "kcl-daemon", help="our program")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    arguments = parser.parse_args()
    missed = False
    for kind in [] if arguments.table else arguments.kind:
        try:
            daemon = ours(arguments.binary) if kind == "ours" else java(kind.removeprefix("java-"))
        except tools.Missing as error:
            print(f"SKIPPED: {kind}: {error}", file=sys.stderr)
            continue
        if kind == "ours" and not os.access(arguments.binary, os.X_OK):
            sys.exit(f"there is no {arguments.binary}: cargo build --release")
        for name in arguments.row:
            missed |= not measure(kind, daemon, name, arguments.times)
    print(table(load()))
    return 1 if missed else 0


def measure(kind, daemon, name, times):
    """Measures one figure; false if ours misses its goal."""
    row = rows.ROWS[name]
    runs = []
    for _ in range(times):
        print(f"{kind}: {row.title} …", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            run = row.measure(daemon)
        except TooLate as error:
            run = (float("inf"), f"failed: {error}", False)
        except tools.Missing as error:
            print(f"SKIPPED: {name} of {kind}: {error}", file=sys.stderr)
            return True
        verdict = "" if kind != "ours" else " (reached)" if run[2] else " (MISSED)"
        print(f"  {run[1]}{verdict}, measured in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        runs.append(run)
    # A run that missed for another reason than its figure counts as worse than any figure.
    _, text, good = max(runs, key=lambda run: (not run[2], run[0]))
    results = load()
    results.setdefault(name, {})[kind] = {"text": text + (f", worst of {times}" if times > 1 else ""), "reached": good}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    return good or kind != "ours"


def load():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def table(results):
    def cell(name, kind):
        result = results.get(name, {}).get(kind)
        if result is None:
            return "–"
        return result["text"] + (" **missed**" if kind == "ours" and not result["reached"] else "")

    lines = ["| | Java 3.5.1 (daemon 3.1.3) | Java 2.7.2 | ours | must reach |", "|---|---|---|---|---|"]
    for name, row in rows.ROWS.items():
        lines.append(f"| {row.title} | {cell(name, 'java-3.5.1')} | {cell(name, 'java-2.7.2')} | {cell(name, 'ours')} | {row.goal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
