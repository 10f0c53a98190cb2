"""A processor that writes down everything it is told, one JSON line per event.

Standard library only. Options are NAME=VALUE arguments, see recorder.rs.
"""
import base64
import json
import os
import signal
import subprocess
import sys
import time

OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[1:])
SHARD = None
LEDGER = os.open(OPTIONS["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def number(name, default=0):
    return float(OPTIONS.get(name, default))


def log(event, **fields):
    fields.update(
        event=event,
        t=time.time_ns() // 1000,
        pid=os.getpid(),
        daemon=os.getppid(),
        shard=SHARD,
        worker=os.environ.get("KCL_WORKER_ID"),
    )
    os.write(LEDGER, (json.dumps(fields) + "\n").encode())


def send(message):
    sys.stdout.write("\n" + json.dumps(message) + "\n")
    sys.stdout.flush()


def read():
    line = sys.stdin.readline()
    if not line:
        log("end")
        sys.exit(0)
    return json.loads(line)


def checkpoint(sequence=None, sub=None):
    send({"action": "checkpoint", "sequenceNumber": sequence, "subSequenceNumber": sub})
    reply = read()
    if reply.get("action") != "checkpoint":
        log("badReply", reply=str(reply)[:200])
        sys.exit(3)
    log("checkpoint", sequence=sequence, sub=sub, error=reply["error"])
    return reply["error"]


def applies(option):
    """An option may be limited to shards and to the first lives of a process: option.shard, option.lives."""
    if option not in OPTIONS:
        return False
    shard = OPTIONS.get(option + ".shard")
    if shard is not None and not SHARD.endswith(shard):
        return False
    lives = OPTIONS.get(option + ".lives")
    return lives is None or LIFE <= int(lives)


def life():
    """How many processes, this one included, were started for this shard."""
    path = "%s.%s.lives" % (OPTIONS["ledger"], SHARD)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, b".")
    count = os.fstat(handle).st_size
    os.close(handle)
    return count


def identity(record):
    """The id of a test record is what comes before the first bar."""
    data = base64.b64decode(record["data"])
    return data.split(b"|", 1)[0][:80].decode("latin-1")


def die(code):
    log("crash")
    os._exit(code)


def hang(action):
    log("hang", during=action)
    while True:
        time.sleep(3600)


if "ignore-sigterm" in OPTIONS:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

RECORDS = 0
BATCHES = 0
LIFE = 0

while True:
    message = read()
    action = message["action"]
    if action == "initialize":
        SHARD = message["shardId"]
        LIFE = life()
        log("initialize", sequence=message["sequenceNumber"], sub=message["subSequenceNumber"], life=LIFE)
        if applies("exit-at-start"):
            die(4)
        if applies("grandchild"):
            # It holds our STDOUT and STDERR, and cares for no signal that can be ignored.
            helper = subprocess.Popen(
                [sys.executable, "-c", "import signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(3600)"]
            )
            log("grandchild", child=helper.pid)
        if applies("noise"):
            sys.stdout.write("x" * int(number("noise")) + "\n{}\n[]\nnull\n{\"action\":\"nonsense\"}\n")
            sys.stdout.flush()
        if applies("stderr"):
            sys.stderr.write(OPTIONS["stderr"] + "\n")
            sys.stderr.flush()
    elif action == "processRecords":
        records = message["records"]
        BATCHES += 1
        if applies("crash-at-batch") and BATCHES == number("crash-at-batch"):
            log("processRecords", records=[[r["sequenceNumber"], r["subSequenceNumber"], identity(r)] for r in records],
                behind=message["millisBehindLatest"])
            die(5)
        log("processRecords", records=[[r["sequenceNumber"], r["subSequenceNumber"], identity(r)] for r in records],
            behind=message["millisBehindLatest"])
        if applies("hang-at-batch") and BATCHES == number("hang-at-batch"):
            hang(action)
        if applies("wrong-status-at-batch") and BATCHES == number("wrong-status-at-batch"):
            send({"action": "status", "responseFor": "initialize"})
            time.sleep(60)
        if applies("checkpoint-then-crash"):
            # After so many records of this life: checkpoint exactly there, then die.
            at = int(number("checkpoint-then-crash"))
            if RECORDS < at <= RECORDS + len(records):
                last = records[at - RECORDS - 1]
                checkpoint(last["sequenceNumber"], last["subSequenceNumber"])
                die(6)
        RECORDS += len(records)
        if applies("crash-after-records") and RECORDS >= number("crash-after-records"):
            die(7)
        if applies("sleep"):
            time.sleep(number("sleep"))
        if applies("line"):
            # A message as long as can be: unknown members are allowed.
            send({"action": "status", "responseFor": action, "note": "n" * int(number("line"))})
            log("done", last=records[-1]["sequenceNumber"] if records else None)
            continue
        if OPTIONS.get("checkpoint", "batch") == "batch":
            checkpoint()
        elif OPTIONS["checkpoint"] == "last" and records:
            checkpoint(records[-1]["sequenceNumber"], records[-1]["subSequenceNumber"])
        elif OPTIONS["checkpoint"].isdigit() and BATCHES % int(OPTIONS["checkpoint"]) == 0:
            checkpoint()
    elif action == "shardEnded":
        log("shardEnded")
        if not applies("no-checkpoint-at-shard-end"):
            checkpoint()
    elif action == "shutdownRequested":
        log("shutdownRequested")
        if OPTIONS.get("checkpoint", "batch") != "never":
            checkpoint()
    else:
        log(action)
    if applies("ignore-" + action):
        hang(action)
    send({"action": "status", "responseFor": action})
    if action == "processRecords":
        log("done", last=records[-1]["sequenceNumber"] if records else None)
    elif action == "initialize":
        log("ready")
