#!/usr/bin/env ruby
# frozen_string_literal: true

# A record processor with Amazon's library aws-kclrb (2.x and 3.x).

require 'aws/kclrb'
require 'base64'

class Processor < Aws::KCLrb::V2::RecordProcessorBase
  TRIES = 5
  WORTH_ANOTHER_TRY = %w[
    ThrottlingException KinesisClientLibDependencyException RuntimeException
  ].freeze

  def init_processor(initialize_input)
    or_exit do
      @shard = initialize_input.shard_id
      @count = 0
      say "starting at #{initialize_input.sequence_number}"
    end
  end

  def process_records(process_records_input)
    or_exit do
      records = process_records_input.records
      records.each do |record|
        data = Base64.decode64(record['data']).force_encoding(Encoding::UTF_8).scrub
        say "#{record['partitionKey']}: #{data}"
      end
      @count += records.length
      checkpoint(process_records_input.checkpointer) unless records.empty?
    end
  end

  def shutdown_requested(shutdown_requested_input)
    or_exit do
      say "asked to stop after #{@count} records"
      checkpoint(shutdown_requested_input.checkpointer)
    end
  end

  def shard_ended(shard_ended_input)
    or_exit do
      say "the shard has ended after #{@count} records"
      checkpoint(shard_ended_input.checkpointer)
    end
  end

  def lease_lost(_lease_lost_input)
    say 'another worker goes on from here'
  end

  private

  # Not puts: STDOUT belongs to the protocol.
  def say(text)
    warn "#{@shard}: #{text}"
  end

  # The library swallows exceptions and acknowledges the batch, which loses it at the next checkpoint.
  # To exit instead has the batch delivered again.
  def or_exit
    yield
  rescue StandardError => e
    warn e.full_message(highlight: false)
    exit 1
  end

  # Checkpoints everything that was delivered. The library cannot name the sub-sequence number of a record
  # within a KPL aggregate, so to name no record at all is the only exact way: finish the batch before.
  def checkpoint(checkpointer)
    tried = 1
    begin
      checkpointer.checkpoint
    rescue Aws::KCLrb::CheckpointError => e
      say "checkpoint refused (#{e.value}), try #{tried} of #{TRIES}"
      return unless WORTH_ANOTHER_TRY.include?(e.value) && tried < TRIES

      sleep tried
      tried += 1
      retry
    end
  end
end

Aws::KCLrb::KCLProcess.new(Processor.new).run if __FILE__ == $PROGRAM_NAME
