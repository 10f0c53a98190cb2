"""amazon_kclpy 2.x and 3.x: the processor interface of version 3."""
import sys

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor
from book import Book, identity

BOOK = Book(sys.argv[1])


def checkpoint(checkpointer, sequence=None, sub=None):
    BOOK.checkpoint(kcl.CheckpointError, lambda: checkpointer.checkpoint(sequence, sub), sequence, sub)


class Processor(processor.RecordProcessorBase):
    checkpointer = None

    def initialize(self, initialize_input):
        BOOK.shard = initialize_input.shard_id
        BOOK.write(
            "initialize",
            sequence=initialize_input.sequence_number,
            sub=initialize_input.sub_sequence_number,
        )

    def process_records(self, process_records_input):
        records = process_records_input.records
        for record in records:
            # As integer and as datetime: the library has computed both from our number.
            assert record.timestamp_millis > 1_500_000_000_000
            assert record.approximate_arrival_timestamp.year >= 2024
        BOOK.write(
            "processRecords",
            records=[[r.sequence_number, r.sub_sequence_number, identity(r.binary_data)] for r in records],
            behind=process_records_input.millis_behind_latest,
        )
        last = records[-1]
        self.checkpointer = process_records_input.checkpointer
        checkpoint(self.checkpointer, last.sequence_number, last.sub_sequence_number)
        BOOK.write("done")

    def shutdown_requested(self, shutdown_requested_input):
        BOOK.write("shutdownRequested")
        checkpoint(shutdown_requested_input.checkpointer)

    def shard_ended(self, shard_ended_input):
        BOOK.write("shardEnded")
        checkpoint(shard_ended_input.checkpointer)

    def lease_lost(self, lease_lost_input):
        BOOK.write("leaseLost")
        if self.checkpointer is not None:
            # Useless, and refused: what users do who keep it.
            checkpoint(self.checkpointer)


kcl.KCLProcess(Processor()).run()
