"""kcl-rs with the cheapest processor: counts what comes and notes it in the ledger, as child.rs does.

    reader.py LEDGER APPLICATION STREAM MAX_RECORDS IDLE_MILLIS

Endpoints by AWS_ENDPOINT_URL_KINESIS and AWS_ENDPOINT_URL_DYNAMODB. Needs the wheel kcl-rs of PyPI.
"""

import os
import sys
import time

from kcl_rs import RecordProcessorBase, Scheduler

LEDGER = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


class Counter(RecordProcessorBase):
    def initialize(self, initialize_input):
        self.shard = initialize_input.shard_id

    def process_records(self, process_records_input):
        count = len(process_records_input.records)
        if count:
            os.write(LEDGER, f"{time.monotonic_ns()} {self.shard} {count} 0 -\n".encode())

    def lease_lost(self, lease_lost_input):
        pass

    def shard_ended(self, shard_ended_input):
        shard_ended_input.checkpointer.checkpoint()

    def shutdown_requested(self, shutdown_requested_input):
        pass


Scheduler(
    stream_name=sys.argv[3],
    application_name=sys.argv[2],
    record_processor_factory=Counter,
    region="us-east-1",
    initial_position="TRIM_HORIZON",
    retrieval_mode="POLLING",
    max_records=int(sys.argv[4]),
    idle_time_between_reads_millis=int(sys.argv[5]),
).run()
