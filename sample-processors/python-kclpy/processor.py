#!/usr/bin/env python3
"""A record processor with Amazon's library amazon_kclpy (3.x; 2.x is the same)."""

import functools
import sys
import time
import traceback

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor

TRIES = 5
WORTH_ANOTHER_TRY = {
    "ThrottlingException",
    "KinesisClientLibDependencyException",
    "RuntimeException",
}


def say(text):
    # Not print(): STDOUT belongs to the protocol.
    sys.stderr.write(text + "\n")


def or_exit(method):
    """The library swallows exceptions and acknowledges the batch, which loses it at the next checkpoint.
    To exit instead has the batch delivered again."""

    @functools.wraps(method)
    def guarded(self, message):
        try:
            method(self, message)
        except Exception:
            traceback.print_exc()
            sys.exit(1)

    return guarded


class Processor(processor.RecordProcessorBase):
    shard = "?"
    count = 0

    @or_exit
    def initialize(self, initialize_input):
        self.shard = initialize_input.shard_id
        say(f"{self.shard}: starting at {initialize_input.sequence_number}")

    @or_exit
    def process_records(self, process_records_input):
        records = process_records_input.records
        for record in records:
            data = record.binary_data.decode("utf-8", "replace")
            say(f"{self.shard}: {record.partition_key}: {data}")
        self.count += len(records)
        if records:
            last = records[-1]
            checkpointer = process_records_input.checkpointer
            self.checkpoint(checkpointer, last.sequence_number, last.sub_sequence_number)

    @or_exit
    def shutdown_requested(self, shutdown_requested_input):
        say(f"{self.shard}: asked to stop after {self.count} records")
        self.checkpoint(shutdown_requested_input.checkpointer)

    @or_exit
    def shard_ended(self, shard_ended_input):
        say(f"{self.shard}: the shard has ended after {self.count} records")
        self.checkpoint(shard_ended_input.checkpointer)

    @or_exit
    def lease_lost(self, lease_lost_input):
        say(f"{self.shard}: another worker goes on from here")

    def checkpoint(self, checkpointer, sequence=None, sub_sequence=None):
        for tried in range(1, TRIES + 1):
            try:
                checkpointer.checkpoint(sequence, sub_sequence)
                return
            except kcl.CheckpointError as error:
                say(f"{self.shard}: checkpoint refused ({error.value}), try {tried} of {TRIES}")
                if error.value not in WORTH_ANOTHER_TRY:
                    return
                time.sleep(tried)


if __name__ == "__main__":
    kcl.KCLProcess(Processor()).run()
