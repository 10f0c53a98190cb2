#!/usr/bin/env python3
"""End-to-end figures of kcl-daemon beside Java's MultiLangDaemon, on the same emulators.

    cargo build --release
    benches/figures/figures.py                                  # ours, every row
    benches/figures/figures.py --kind java-3.5.1 --row start idle-memory
    benches/figures/figures.py --fleets --kind ours ours-2x --times 3   # the rows about fleets, in both algorithms
    benches/figures/figures.py --table                          # what has been measured so far, as Markdown

Kinesis is ferrokinesis, for reshards kinesis-local, DynamoDB is dynoxide; all are servers that we did not
write. 4 shards and a cheap Python processor that checkpoints every batch; under load 400 records/s of 200
bytes. Needs cargo, for reshards node and npm, for Java also java and mvn; installs into target/test-tools.
Results are kept in target/figures/results.json. `ours` is a new application, so by the 3.x algorithm with a
leader; `ours-2x` has clientVersionConfig = CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1.
"""

import argparse
import json
import os
import sys
import time

import coordination
import rows
import tools
from fleet import TooLate, java, ours

RESULTS = tools.REPOSITORY / "target" / "figures" / "results.json"
TITLES = {
    "java-3.5.1": "Java 3.5.1 (daemon 3.1.3)",
    "java-2.7.2": "Java 2.7.2",
    "ours-2x": "ours, 2.x algorithm",
    "ours": "ours",
}
# What each kind of ours is told beside what all are told.
PROPERTIES = {"ours": {}, "ours-2x": {"steals": True, "clientVersionConfig": "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1"}}
# The rows about one worker or the other; those about fleets have a table of their own.
WORKERS = {name: row for name, row in rows.ROWS.items() if name not in coordination.FLEETS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    listing = "\n".join(f"  {name:16} {row.title}" for name, row in rows.ROWS.items())
    parser.add_argument("--row", nargs="+", choices=rows.ROWS, metavar="ROW", help=f"only these:\n{listing}")
    parser.add_argument("--fleets", action="store_true", help="the rows about fleets only")
    parser.add_argument("--kind", nargs="+", choices=TITLES, default=["ours"], help="whose figures [default: ours]")
    parser.add_argument(
        "--times", type=int, default=1, metavar="N", help="measure so often; keep the worst, of fleets the median [default: 1]"
    )
    parser.add_argument("--binary", default=tools.REPOSITORY / "target" / "release" / "kcl-daemon", help="our program")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    arguments = parser.parse_args()
    names = arguments.row or list(coordination.FLEETS if arguments.fleets else rows.ROWS)
    missed = False
    for kind in [] if arguments.table else arguments.kind:
        try:
            daemon = java(kind.removeprefix("java-")) if kind.startswith("java-") else ours(arguments.binary, kind, **PROPERTIES[kind])
        except tools.Missing as error:
            print(f"SKIPPED: {kind}: {error}", file=sys.stderr)
            continue
        if kind.startswith("ours") and not os.access(arguments.binary, os.X_OK):
            sys.exit(f"there is no {arguments.binary}: cargo build --release")
        for name in names:
            missed |= not measure(kind, daemon, name, arguments.times)
    for part in (WORKERS, coordination.FLEETS):
        print(table(load(), part))
        print()
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
        verdict = "" if kind.startswith("java-") else " (reached)" if run[2] else " (MISSED)"
        print(f"  {run[1]}{verdict}, measured in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        runs.append(run)
    # A run that missed for another reason than its figure counts as worse than any figure.
    runs.sort(key=lambda run: (not run[2], run[0]))
    _, text, good = runs[len(runs) // 2] if row.median else runs[-1]
    kept = f", {'median' if row.median else 'worst'} of {times}" if times > 1 else ""
    results = load()
    results.setdefault(name, {})[kind] = {"text": text + kept, "reached": good, "runs": [run[1] for run in runs]}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    return good or kind.startswith("java-")


def load():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def table(results, part):
    def cell(name, kind):
        result = results.get(name, {}).get(kind)
        if result is None:
            return "–"
        return result["text"] + (" **missed**" if kind.startswith("ours") and not result["reached"] else "")

    # Rows about one worker do not depend on the algorithm.
    kinds = [kind for kind in TITLES if part is coordination.FLEETS or kind != "ours-2x"]
    lines = [f"| | {' | '.join(TITLES[kind] for kind in kinds)} | must reach |", "|---" * (len(kinds) + 2) + "|"]
    for name, row in part.items():
        lines.append(f"| {row.title} | {' | '.join(cell(name, kind) for kind in kinds)} | {row.goal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
