#!/usr/bin/env python3
"""CPU, throughput, memory and latency of kcl-daemon beside Java's MultiLangDaemon and kcl-rs: see benches/README.md.

    cargo build --release --bins --examples
    benches/compare/compare.py                                      # everything, three times
    benches/compare/compare.py --row 1k --kind ours floor --times 1
    benches/compare/compare.py --table                              # what has been measured so far

All run on the same emulators (ferrokinesis, dynoxide), the same stream and the cheapest child, one after the other.
Results are kept in target/compare/results.json; a new measurement of a row and kind replaces the old one.
"""

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "figures"))

import fleet  # noqa: E402
import tools  # noqa: E402
from aws import TWO_128  # noqa: E402
from fleet import TooLate, wait  # noqa: E402

RELEASE = tools.REPOSITORY / "target" / "release"
RESULTS = tools.REPOSITORY / "target" / "compare" / "results.json"
KCL_RS = "0.1.4"
KINDS = ["ours", "java-2.7.2", "java-3.1.3", "java-3.5.1", "kcl-rs", "floor"]
MAX_RECORDS = 10_000
TICKS = os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------------------- what is run


class Notes:
    """What the children noted: lines of moment, shard, records, bytes, last sequence number."""

    def __init__(self, path):
        self.path, self.offset, self.records, self.shards, self.last = path, 0, 0, set(), 0.0
        self.lines = []
        path.touch()

    def read(self, keep=False):
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                moment, shard, records, _bytes, number = line.decode().split(" ")
                self.records += int(records)
                self.shards.add(shard)
                self.last = max(self.last, int(moment) / 1e9)
                if keep:
                    self.lines.append((int(moment), number.strip()))
        return self.records


def start(world, kind, run, notes, idle=200, kinesis_port=None):
    """Starts one of the programs on the world's stream; an application of its own each time."""
    world.application = f"compare-{run}"
    properties = {
        "executableName": f"{RELEASE / 'examples' / 'compare-child'} {notes.path}",
        "maxRecords": str(MAX_RECORDS),
        "idleTimeBetweenReadsInMillis": str(idle),
        "shutdownGraceMillis": "0",
        **({"kinesisEndpoint": f"http://127.0.0.1:{kinesis_port}"} if kinesis_port else {}),
        # So long Java sleeps after it has made leases; its start is not what is measured.
        **({"shardSyncIntervalMillis": "1000"} if kind.startswith("java") else {}),
    }
    maker = {"ours": lambda: fleet.ours(RELEASE / "kcl-daemon"), "kcl-rs": lambda: kcl_rs(notes, idle)}.get(kind)
    return world.daemon(maker() if maker else fleet.java(kind.removeprefix("java-")), **properties)


def kcl_rs(notes, idle):
    root = tools.TOOLS / f"kcl-rs-{KCL_RS}"

    def install():
        tools.run(sys.executable, "-m", "venv", root)
        tools.run(root / "bin" / "pip", "install", "-q", f"kcl-rs=={KCL_RS}")

    tools.once(root, install)

    class KclRs(fleet.Daemon):
        name = "kcl-rs"

        def command(self, _properties):
            world = self.world
            # The environment goes by env(1), as the base class gives every program the same one.
            return [
                "env", f"AWS_ENDPOINT_URL_KINESIS=http://127.0.0.1:{world.kinesis.port}",
                f"AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:{world.dynamodb.port}", "RUST_LOG=error",
                str(root / "bin" / "python"), str(HERE / "reader.py"), str(notes.path), world.application, world.stream,
                str(MAX_RECORDS), str(idle),
            ]  # fmt: skip

    return KclRs


class Wire:
    """The proxy of wire.rs on `port`; `sent()` is {sequence number: nanoseconds}, of each answer's last record."""

    def __init__(self, world, path):
        self.path = path
        command = [str(RELEASE / "examples" / "compare-wire"), str(world.kinesis.port), str(path)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        world.processes.append(self.process)
        self.port = int(self.process.stdout.readline())

    def sent(self):
        lines = self.path.read_text().splitlines()
        return {number: int(moment) for moment, number in (line.split(" ") for line in lines)}


def cpu(daemon):
    """CPU seconds of the process so far, its children not counted."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def stop(world, daemon):
    daemon.kill()
    # The children end with their STDIN.
    time.sleep(0.5)


def fill(world, size, total):
    """The same number of records of `size` random bytes into every shard."""
    shards = len(world.shards)
    per_shard = total // (size * shards)
    step = TWO_128 // shards
    noise = os.urandom(1 << 20)

    def into(shard):
        key = str(step * shard + step // 2)
        for begin in range(0, per_shard, 500):
            records = [
                {
                    "Data": base64.b64encode(noise[(n * 61) % (len(noise) - size) :][:size]).decode(),
                    "PartitionKey": f"key-{n}",
                    "ExplicitHashKey": key,
                }
                for n in range(begin, min(begin + 500, per_shard))
            ]
            world.kinesis.call("PutRecords", StreamName=world.stream, Records=records)

    threads = [threading.Thread(target=into, args=(shard,)) for shard in range(shards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return per_shard * shards


# ---------------------------------------------------------------------------------------------- the rows


def bulk(size, megabytes):
    """CPU per GB, records a second and peak memory while a backlog is read."""

    def row(kinds, times, scale):
        total = int(megabytes * 1e6 * scale)
        with fleet.World() as world:
            count = fill(world, size, total)
            for time_ in range(times):
                for kind in kinds:
                    notes = Notes(world.folder / f"notes-{kind}-{time_}")
                    if kind == "floor":
                        yield kind, floor(world, notes, count, size)
                        continue
                    daemon = start(world, kind, f"{kind}-{time_}", notes)
                    wait("the first batch", 180, lambda: daemon.alive() and notes.read(), every=0.01)
                    cpu_before, before = cpu(daemon), notes.records
                    began = time.monotonic()
                    wait("the last batch", 600, lambda: daemon.alive() and notes.read() >= count, every=0.02)
                    used, gigabytes = cpu(daemon) - cpu_before, (count - before) * size / 1e9
                    result = {
                        "CPU s/GB": used / gigabytes,
                        "records/s": (count - before) / (notes.last - began),
                        "peak MB": daemon.memory("VmHWM"),
                    }
                    stop(world, daemon)
                    yield kind, result

    return row


def floor(world, notes, count, size):
    program, child = (RELEASE / "examples" / name for name in ("compare-floor", "compare-child"))
    command = [program, world.kinesis.port, world.stream, len(world.shards), count, MAX_RECORDS, child, notes.path]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True, text=True)
    used, _bytes, seconds = map(float, done.stdout.split())
    return {"CPU s/GB": used / (count * size / 1e9), "records/s": count / seconds}


def idle(kinds, times, scale):
    """CPU while 100 shards are read once a second and nothing is there."""
    seconds = 30 * scale
    with fleet.World(shards=100) as world:
        for time_ in range(times):
            for kind in [kind for kind in kinds if kind != "floor"]:
                # One record each, so that it can be seen that all shards are read.
                world.put_one_each(f"{kind}-{time_}")
                notes = Notes(world.folder / f"notes-{kind}-{time_}")
                daemon = start(world, kind, f"{kind}-{time_}", notes, idle=1000)
                wait("all shards are read", 300, lambda: daemon.alive() and notes.read() >= 0 and len(notes.shards) == 100)
                # Java compiles what it runs for a while.
                time.sleep(15)
                before, began = cpu(daemon), time.monotonic()
                time.sleep(seconds)
                used = (cpu(daemon) - before) / (time.monotonic() - began)
                result = {"CPU ms/s": used * 1000, "RSS MB": daemon.memory()}
                stop(world, daemon)
                yield kind, result


def latency(kinds, times, scale):
    """From the moment before an answer leaves for the daemon until the child has its line.

    The floor is what the machine takes from one process to another by a pipe, beside the same load."""
    with fleet.World() as world:
        for time_ in range(times):
            for kind in [kind for kind in kinds if kind != "kcl-rs"]:
                if kind == "floor":
                    load = world.load(per_second=200, size=200)
                    hop = [str(RELEASE / "examples" / "compare-hop"), str(max(1, int(60 * scale)))]
                    done = subprocess.run(hop, stdout=subprocess.PIPE, check=True, text=True)
                    load.end()
                    world.loads.remove(load)
                    p50, p99, most, hops = map(float, done.stdout.split())
                    yield kind, {"p50 ms": p50, "p99 ms": p99, "max ms": most, "batches": hops}
                    continue
                notes = Notes(world.folder / f"notes-{kind}-{time_}")
                wire = Wire(world, world.folder / f"wire-{kind}-{time_}")
                daemon = start(world, kind, f"{kind}-{time_}", notes, kinesis_port=wire.port)
                world.put_one_each("first")
                wait("all shards are read", 180, lambda: daemon.alive() and notes.read() >= 0 and len(notes.shards) == 4)
                time.sleep(3)
                notes.lines.clear()
                began = time.monotonic_ns()
                load = world.load(per_second=200, size=200)
                time.sleep(60 * scale)
                load.end()
                world.loads.remove(load)
                time.sleep(1)
                notes.offset = 0
                notes.read(keep=True)
                sent = wire.sent()
                delays = sorted(
                    (moment - sent[number]) / 1e6 for moment, number in notes.lines if sent.get(number, 0) > began
                )
                if len(delays) < 100:
                    raise TooLate(f"only {len(delays)} batches were timed")
                stop(world, daemon)
                yield kind, {
                    "p50 ms": statistics.median(delays),
                    "p99 ms": delays[len(delays) * 99 // 100],
                    "max ms": delays[-1],
                    "batches": len(delays),
                }


def many(kinds, times, _scale):
    """1,000 shards in one process, read once a second each; memory without the children."""
    for time_ in range(times):
        if "ours" not in kinds:
            return
        with fleet.World(shards=1000) as world:
            notes = Notes(world.folder / f"notes-{time_}")
            daemon = start(world, "ours", f"many-{time_}", notes, idle=1000)
            yield "ours", of_many(world, daemon, notes)


def local(kinds, times, _scale):
    """The same with `--local`: Kinesis, its records and DynamoDB are in the daemon's process."""
    for time_ in range(times):
        if "ours" not in kinds:
            return
        with fleet.World(shards=1) as world:
            notes = Notes(world.folder / f"notes-{time_}")

            class Local(fleet.Daemon):
                name = "ours"

                def command(self, properties):
                    options = ["--local", "--local-shards", "1000", "--local-generate", "2000"]
                    return [str(RELEASE / "kcl-daemon"), "--properties", str(properties), *options]

            child = f"{RELEASE / 'examples' / 'compare-child'} {notes.path}"
            daemon = world.daemon(Local, executableName=child, idleTimeBetweenReadsInMillis="1000", shutdownGraceMillis="0")
            yield "ours", of_many(world, daemon, notes, put=False)


def of_many(world, daemon, notes, put=True):
    if put:
        world.put_one_each("many")
    began = time.monotonic()
    # What `--local` makes up has a thousand keys: two thirds of the shards get some.
    read = 1000 if put else 600
    wait("all shards are read", 300, lambda: daemon.alive() and notes.read() >= 0 and len(notes.shards) >= read)
    all_read = time.monotonic() - began
    before, began = cpu(daemon), time.monotonic()
    time.sleep(20)
    used = (cpu(daemon) - before) / (time.monotonic() - began)
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    threads = int(status.split("Threads:")[1].split()[0])
    result = {"peak MB": daemon.memory("VmHWM"), "CPU ms/s": used * 1000, "threads": threads, "s until all are read": all_read}
    stop(world, daemon)
    return result


ROWS = {
    "1k": ("400 MB of 1,000-byte records, 4 shards", bulk(1000, 400)),
    "100": ("100 MB of 100-byte records, 4 shards", bulk(100, 100)),
    "idle": ("100 shards, nothing to read, one read a second each", idle),
    "latency": ("wire → child's line, 200 records/s on 4 shards", latency),
    "many": ("1,000 shards in one process, one read a second each", many),
    "local": ("1,000 shards with `--local`, the services in the same process", local),
}


# ------------------------------------------------------------------------------------------------- output


def load_results():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(name, kind, runs):
    results = load_results()
    results.setdefault(name, {})[kind] = {"runs": runs, "load": os.getloadavg()[0]}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))


def table(results):
    def cell(values):
        middle = statistics.median(values)
        digits = 0 if middle >= 1000 else 1 if middle >= 100 else 2
        text = f"{middle:,.{digits}f}"
        return text if len(values) == 1 else f"{text} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"

    lines = []
    for name, (title, _) in ROWS.items():
        of_row = results.get(name, {})
        if not of_row:
            continue
        kinds = [kind for kind in KINDS if kind in of_row]
        figures = list(dict.fromkeys(figure for kind in kinds for figure in of_row[kind]["runs"][0]))
        lines += [f"**{title}** (median, spread)", "", "| | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
        for figure in figures:
            cells = []
            for kind in kinds:
                values = [run[figure] for run in of_row[kind]["runs"] if figure in run]
                cells.append(cell(values) if values else "–")
            lines.append(f"| {figure} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    listing = "\n".join(f"  {name:8} {title}" for name, (title, _) in ROWS.items())
    parser.add_argument("--row", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"only these:\n{listing}")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS, help="only these")
    parser.add_argument("--times", type=int, default=3, metavar="N", help="each so often, in turn [default: 3]")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="of the bytes and times [default: 1]")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    arguments = parser.parse_args()
    programs = ["kcl-daemon", *(f"examples/compare-{name}" for name in ("child", "floor", "hop", "wire"))]
    for program in [] if arguments.table else programs:
        if not (RELEASE / program).exists():
            sys.exit(f"there is no {RELEASE / program}: cargo build --release --bins --examples")
    failed = False
    for name in [] if arguments.table else arguments.row:
        runs = {}
        try:
            for kind, result in ROWS[name][1](arguments.kind, arguments.times, arguments.scale):
                print(name, kind, {figure: round(value, 3) for figure, value in result.items()}, file=sys.stderr, flush=True)
                runs.setdefault(kind, []).append(result)
        except (TooLate, tools.Missing) as error:
            print(f"FAILED: {name}: {error}", file=sys.stderr)
            failed = True
        for kind, of_kind in runs.items():
            keep(name, kind, of_kind)
    print(table(load_results()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
