"""Emulators, daemons of either kind, load, and the ledger of what was delivered."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import aws
import tools
from counting import CountingProxy

PROCESSOR = Path(__file__).with_name("processor.py")
# A virtual environment's or pyenv's stand-in for the interpreter costs a shell at every start of a child.
PYTHON = os.path.realpath(sys.executable)

LOGBACK = """<configuration><appender name="E" class="ch.qos.logback.core.ConsoleAppender"><target>System.err</target>
<encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} %msg%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="E"/></root></configuration>"""


class TooLate(Exception):
    """Something did not happen in the time allowed."""


def wait(what, seconds, condition, every=0.02):
    """Waits until `condition()` is true; its value."""
    start = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() - start > seconds:
            raise TooLate(f"{what}: not within {seconds} s")
        time.sleep(every)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ledger:
    """What the processors wrote; read again from where the last reading ended."""

    def __init__(self, path):
        self.path, self.offset, self.lines = path, 0, []
        path.touch()

    def read(self):
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                self.lines.append(json.loads(line))
        return self.lines

    def deliveries(self, since=0.0):
        """Batches of records since a moment."""
        return [line for line in self.read() if line["event"] == "records" and line["t"] >= since]

    def first(self, since):
        """When the first record came after a moment, or None."""
        times = [line["t"] for line in self.deliveries(since)]
        return min(times) if times else None

    def all_flow(self, shards, since):
        """When the last of `shards` got its first record after a moment; None while one has none."""
        seen = {}
        for line in self.deliveries(since):
            seen.setdefault(line["shard"], line["t"])
        return max((seen[shard] for shard in shards), default=since) if all(s in seen for s in shards) else None

    def longest_silence(self, since, until):
        """The longest time without a delivery in any shard, and that shard."""
        times = {}
        for line in self.deliveries(since):
            times.setdefault(line["shard"], []).append(line["t"])
        gaps = [
            (after - before, shard)
            for shard, moments in times.items()
            for before, after in zip([since, *moments], [*moments, until])
        ]
        return max(gaps, default=(0.0, "-"))

    def ids(self):
        return {payload for line in self.deliveries() for payload in line["ids"]}


class Load(threading.Thread):
    """Records at a steady rate, until `end`; `sent` is what the service took."""

    def __init__(self, kinesis, stream, per_second, size):
        super().__init__(daemon=True)
        self.kinesis, self.stream, self.per_second, self.size = kinesis, stream, per_second, size
        self.sent, self.ending, self.error = [], threading.Event(), None

    def run(self):
        every, number, due = 0.1, 0, time.monotonic()
        try:
            while not self.ending.is_set():
                ids = [f"r{number + i}" for i in range(int(self.per_second * every))]
                self.kinesis.put(self.stream, [f"{i} ".ljust(self.size, "x") for i in ids])
                self.sent += ids
                number += len(ids)
                due += every
                self.ending.wait(max(0.0, due - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - told to the row that started the load
            self.error = error

    def end(self):
        self.ending.set()
        self.join()
        if self.error:
            raise self.error
        return self.sent


class World:
    """Emulators of its own, a stream, a ledger; everything ends with it."""

    def __init__(self, shards=4, kinesis="ferrokinesis", counted=False):
        self.folder = Path(tempfile.mkdtemp(prefix="kcl-figures-"))
        self.processes, self.daemons = [], []
        kinesis_port, dynamodb = free_port(), free_port()
        if kinesis == "ferrokinesis":
            flags = ["--port", kinesis_port, "--shard-limit", max(500, shards), "--create-stream-ms", 0, "--log-level", "off"]
            self._serve(kinesis_port, [tools.crate("ferrokinesis"), *flags])
        else:
            program, certificate = tools.kinesis_local()
            variables = {
                "KINESIS_MOCK_PLAIN_PORT": kinesis_port, "KINESIS_MOCK_TLS_PORT": free_port(), "KINESIS_MOCK_CERT_PATH": certificate,
                "SHARD_LIMIT": 200, "LOG_LEVEL": "ERROR",
            }  # fmt: skip
            self._serve(kinesis_port, ["node", program], variables)
        self._serve(dynamodb, [tools.crate("dynoxide-rs"), "--port", dynamodb, "--log", "quiet"])
        self.kinesis, self.dynamodb = aws.Kinesis(kinesis_port), aws.DynamoDb(dynamodb)
        # Daemons go through it when calls are counted; the figures' own calls do not.
        self.proxy = CountingProxy(dynamodb) if counted else None
        self.dynamodb_port_of_daemons = self.proxy.port if counted else dynamodb
        self.stream, self.application = "figures", "figures-application"
        self.kinesis.create_stream(self.stream, shards)
        self.shards = [f"shardId-{number:012}" for number in range(shards)]
        self.ledger = Ledger(self.folder / "ledger.jsonl")
        self.loads = []

    def _serve(self, port, command, variables=None):
        name = Path(command[0]).name
        log = open(self.folder / f"{name}.log", "wb")
        environment = os.environ | {key: str(value) for key, value in (variables or {}).items()}
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, cwd=self.folder, env=environment)
        self.processes.append(process)

        def answers():
            if process.poll() is not None:
                raise TooLate(f"{name} ended with {process.returncode}; see {log.name}")
            # Some take connections before they can answer.
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.request("GET", "/")
                connection.getresponse()
                return True
            except (OSError, http.client.HTTPException):
                return False

        wait(f"{name} answers", 60, answers)

    def put_one_each(self, word):
        """One record into each shard, by hash key."""
        step = aws.TWO_128 // len(self.shards)
        count = len(self.shards)
        self.kinesis.put(self.stream, [f"{word}-{i}" for i in range(count)], [step * i + step // 2 for i in range(count)])

    def load(self, per_second=400, size=200):
        load = Load(self.kinesis, self.stream, per_second, size)
        self.loads.append(load)
        load.start()
        return load

    def daemon(self, kind, worker=None, **properties):
        daemon = kind(self, worker, properties)
        self.daemons.append(daemon)
        return daemon

    def calls(self):
        """Calls of the daemons to DynamoDB so far, by operation."""
        return self.proxy.counts()

    def held(self):
        """Owners of the leases that have one."""
        return {shard: owner for shard, owner in self.dynamodb.owners(self.application).items() if owner}

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        for load in self.loads:
            load.ending.set()
        for daemon in self.daemons:
            daemon.kill()
        if self.proxy:
            self.proxy.end()
        for process in self.processes:
            process.kill()
            process.wait()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"kept for looking: {self.folder}", file=sys.stderr)


class Daemon:
    """A running daemon; `started` is the moment before its process was made."""

    name: str
    # Whether its workers take leases from each other, instead of having them handed over.
    steals = False

    def __init__(self, world, worker, properties):
        self.world = world
        number = len(world.daemons)
        settings = {
            "executableName": f"{PYTHON} -S -E {PROCESSOR} {world.ledger.path}",
            "streamName": world.stream,
            "applicationName": world.application,
            "AWSCredentialsProvider": "DefaultCredentialsProvider",
            "regionName": "us-east-1",
            "kinesisEndpoint": f"http://127.0.0.1:{world.kinesis.port}",
            "dynamoDBEndpoint": f"http://127.0.0.1:{world.dynamodb_port_of_daemons}",
            "initialPositionInStream": "TRIM_HORIZON",
            "retrievalMode": "POLLING",
            "idleTimeBetweenReadsInMillis": "250",
            "metricsLevel": "NONE",
            "shutdownGraceMillis": "30000",
            **({"workerId": worker} if worker else {}),
            **properties,
        }
        file = world.folder / f"worker{number}.properties"
        file.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "AWS_ACCESS_KEY_ID": "figures",
            "AWS_SECRET_ACCESS_KEY": "figures",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # The locks of default worker ids: one host, unless workers are named.
            "XDG_RUNTIME_DIR": str(world.folder),
        }
        self.log = world.folder / f"worker{number}.log"
        with open(self.log, "wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                self.command(file), stdout=log, stderr=log, env=environment, cwd=world.folder, start_new_session=True
            )

    def command(self, properties):
        raise NotImplementedError

    def signal(self, number):
        self.process.send_signal(number)

    def ends(self, seconds=60):
        """Waits for the end; the exit code as a shell tells it."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TooLate(f"{self.name} goes on {seconds} s after the signal") from None
        return code if code >= 0 else 128 - code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def alive(self):
        if self.process.poll() is not None:
            # Java tells the cause first and then dozens of lines of where.
            said = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith(("\t", " "))]
            raise TooLate(f"{self.name} ended with {self.process.returncode}: {said[-1][:200] if said else 'no log'}")
        return True

    def memory(self, field="VmRSS"):
        """Resident bytes of the daemon's own process, in MB; its children are not counted."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
        raise TooLate("the daemon is gone")


def ours(binary, name="ours", steals=False, **always):
    """Our daemon, with properties that it gets beside those of the row."""

    class Ours(Daemon):
        def __init__(self, world, worker, properties):
            super().__init__(world, worker, always | properties)

        def command(self, properties):
            return [str(binary), "--properties", str(properties)]

    Ours.name, Ours.steals = name, steals
    return Ours


def java(version):
    class_path = tools.java_class_path(version)

    class Java(Daemon):
        name, steals = f"java-{version}", version.startswith("2.")

        def command(self, properties):
            logback = properties.with_name("logback.xml")
            logback.write_text(LOGBACK)
            # Emulators give wrong timestamps in CBOR, which Java would speak (`emulators.md`).
            return [
                "java", "-Daws.cborEnabled=false", f"-Dlogback.configurationFile={logback}", "-cp", class_path,
                "software.amazon.kinesis.multilang.MultiLangDaemon", "-p", str(properties),
            ]  # fmt: skip

    return Java
