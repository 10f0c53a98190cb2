"""A cheap record processor for the figures: notes what it gets in a ledger, checkpoints every batch.

Speaks the multilang protocol on STDIN and STDOUT with the standard library only, and starts quickly:
150 of these run beside one daemon. The ledger is the first argument; one line of JSON per event:
    {"t": seconds on the monotonic clock, "pid", "shard", "event", "ids": [payloads of this batch]}
"""

import base64
import json
import os
import sys
import time

LEDGER = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(shard, event, ids=()):
    line = {"t": time.monotonic(), "pid": os.getpid(), "shard": shard, "event": event, "ids": list(ids)}
    os.write(LEDGER, (json.dumps(line) + "\n").encode())


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear():
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def checkpoint(shard, number, sub):
    say({"action": "checkpoint", "sequenceNumber": number, "subSequenceNumber": sub})
    answer = hear()
    if answer is not None and answer.get("error"):
        note(shard, "checkpoint-" + answer["error"])


def main():
    shard = "?"
    while True:
        message = hear()
        if message is None:
            return
        action = message["action"]
        if action == "initialize":
            shard = message["shardId"]
            note(shard, "initialize")
        elif action == "processRecords":
            records = message["records"]
            if records:
                note(shard, "records", (base64.b64decode(r["data"]).split(b" ", 1)[0].decode() for r in records))
                checkpoint(shard, records[-1]["sequenceNumber"], records[-1].get("subSequenceNumber", 0))
        elif action in ("shardEnded", "shutdownRequested"):
            note(shard, action)
            checkpoint(shard, None, None)
        else:
            note(shard, action)
        say({"action": "status", "responseFor": action})


main()
