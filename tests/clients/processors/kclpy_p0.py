"""kclpy 0.2.0 (P0): its own base class, which calls process_record and checkpoints by itself."""
import logging
import sys

import kclpy
from kclpy.kcl import CheckpointError

from book import Book, decoded, identity

logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
BOOK = Book(sys.argv[1])


class Watched:
    """Passes checkpoints on and writes down what came of them."""

    def __init__(self, checkpointer):
        self.checkpointer = checkpointer

    def checkpoint(self, sequence=None):
        error = None
        try:
            self.checkpointer.checkpoint(sequence)
        except CheckpointError as refused:
            error = refused.value
            raise
        finally:
            BOOK.write("checkpoint", sequence=sequence, error=error)


class Processor(kclpy.RecordProcessor):
    def initialize(self, shard_id):
        BOOK.shard = shard_id
        # Its daemons did not tell where a shard starts.
        BOOK.write("initialize")

    def process_records(self, records, checkpointer):
        self.handled = 0
        BOOK.write(
            "processRecords", records=[[r["sequenceNumber"], 0, decoded(r["data"])] for r in records]
        )
        super().process_records(records, Watched(checkpointer))
        if self.handled == len(records):
            BOOK.write("done")

    def process_record(self, data, partition_key, sequence_number):
        # The id is the partition key of test records too.
        self.handled += identity(data) == partition_key

    def shutdown(self, checkpointer, reason):
        BOOK.write("shardEnded" if reason == "TERMINATE" else "leaseLost")
        super().shutdown(Watched(checkpointer), reason)


# So short a time that every batch is checkpointed.
kclpy.start(Processor(checkpoint_freq_seconds=0.000001))
