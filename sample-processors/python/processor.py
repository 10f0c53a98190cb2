#!/usr/bin/env python3
"""A record processor with nothing but Python's standard library: prints the records of its shard and
checkpoints each batch. The daemon starts one such process for each shard that it holds.

What is said on STDIN and STDOUT: protocol/PROTOCOL.md. STDOUT belongs to the protocol; what is meant
for people goes to STDERR, which the daemon copies into its log.
"""

import base64
import json
import signal
import sys
import time

TRIES = 5
# These pass; all other refusals stay as they are. With ShutdownException another worker has the shard.
WORTH_ANOTHER_TRY = {
    "ThrottlingException",
    "KinesisClientLibDependencyException",
    "RuntimeException",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def send(**message):
    # The empty line before it keeps the message apart from a print() that did not end its line.
    print("\n" + json.dumps(message), flush=True)


def receive():
    """The next message, or None when the daemon has closed STDIN."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


class Processor:
    def __init__(self):
        self.shard = "?"
        self.count = 0

    def run(self):
        while message := receive():
            action = message["action"]
            if action == "initialize":
                self.shard = message["shardId"]
                say(f"{self.shard}: starting at {message['sequenceNumber']}")
            elif action == "processRecords":
                self.process(message["records"])
            elif action == "shutdownRequested":
                say(f"{self.shard}: asked to stop after {self.count} records")
                self.checkpoint()
            elif action == "shardEnded":
                # Without this checkpoint the shards that came out of this one are held back.
                say(f"{self.shard}: the shard has ended after {self.count} records")
                self.checkpoint()
            elif action == "leaseLost":
                say(f"{self.shard}: another worker goes on from here")
            else:
                sys.exit(f"unknown action: {action}")
            # Only when the work is done: what is acknowledged is not delivered again. If the code
            # above fails, Python ends with a traceback, and the batch comes again in a new process.
            send(action="status", responseFor=action)

    def process(self, records):
        for record in records:
            data = base64.b64decode(record["data"]).decode("utf-8", "replace")
            say(f"{self.shard}: {record['partitionKey']}: {data}")
        self.count += len(records)
        if records:
            # The records of one KPL aggregate share their sequence number, so both numbers are needed.
            last = records[-1]
            self.checkpoint(last["sequenceNumber"], last["subSequenceNumber"])

    def checkpoint(self, sequence=None, sub_sequence=None):
        """Everything up to this record is done; with None: everything that was delivered."""
        for tried in range(1, TRIES + 1):
            send(action="checkpoint", sequenceNumber=sequence, subSequenceNumber=sub_sequence)
            reply = receive()
            if reply is None:
                sys.exit(f"{self.shard}: the daemon is gone")
            error = reply["error"]
            if error is None:
                return
            say(f"{self.shard}: checkpoint refused ({error}), try {tried} of {TRIES}")
            if error not in WORTH_ANOTHER_TRY:
                return
            time.sleep(tried)


if __name__ == "__main__":
    # Ctrl-C is the daemon's business: it tells with shutdownRequested, so that we can checkpoint.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.reconfigure(encoding="utf-8")
    Processor().run()
