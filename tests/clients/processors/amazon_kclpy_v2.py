"""amazon_kclpy 1.4 to 1.5 (KCL 1.x, P1): the processor interface of version 2."""
import sys

from amazon_kclpy import kcl
from amazon_kclpy.v2 import processor
from book import Book, identity

BOOK = Book(sys.argv[1])


def checkpoint(checkpointer, sequence=None, sub=None):
    BOOK.checkpoint(kcl.CheckpointError, lambda: checkpointer.checkpoint(sequence, sub), sequence, sub)


class Processor(processor.RecordProcessorBase):
    def initialize(self, initialize_input):
        BOOK.shard = initialize_input.shard_id
        BOOK.write(
            "initialize",
            sequence=initialize_input.sequence_number,
            sub=initialize_input.sub_sequence_number,
        )

    def process_records(self, process_records_input):
        records = process_records_input.records
        BOOK.write(
            "processRecords",
            records=[[r.sequence_number, r.sub_sequence_number, identity(r.binary_data)] for r in records],
            behind=process_records_input.millis_behind_latest,
        )
        last = records[-1]
        checkpoint(process_records_input.checkpointer, last.sequence_number, last.sub_sequence_number)
        BOOK.write("done")

    def shutdown_requested(self, shutdown_requested_input):
        BOOK.write("shutdownRequested")
        checkpoint(shutdown_requested_input.checkpointer)

    def shutdown(self, shutdown_input):
        if shutdown_input.reason == "TERMINATE":
            BOOK.write("shardEnded")
            checkpoint(shutdown_input.checkpointer)
        else:
            BOOK.write("leaseLost")
            # Useless, and allowed in KCL 1.x: the answer tells the dialect.
            checkpoint(shutdown_input.checkpointer)


kcl.KCLProcess(Processor()).run()
