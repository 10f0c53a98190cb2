"""The ledger that the processors of this folder write, in the format of tests/support/recorder.py."""
import base64
import json
import os
import time


class Book:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.shard = None

    def write(self, event, **fields):
        fields.update(
            event=event,
            t=time.time_ns() // 1000,
            pid=os.getpid(),
            daemon=os.getppid(),
            shard=self.shard,
            worker=os.environ.get("KCL_WORKER_ID"),
        )
        os.write(self.file, (json.dumps(fields) + "\n").encode())

    def checkpoint(self, error_type, checkpoint, sequence=None, sub=None):
        """Runs a checkpoint of a library and writes down what came of it."""
        error = None
        try:
            checkpoint()
        except error_type as refused:
            error = refused.value
        self.write("checkpoint", sequence=sequence, sub=sub, error=error)


def identity(data):
    """The id of a test record is what comes before the first bar."""
    return data.split(b"|", 1)[0].decode("latin-1")


def decoded(data):
    return identity(base64.b64decode(data))
