'use strict';
// aws-kcl, all versions: 2.x is given leaseLost and shardEnded, 0.x the older shutdown.
const fs = require('fs');
const kcl = require('aws-kcl');

const ledger = fs.openSync(process.argv[2], 'a');
const style = process.argv[3];
let shard = null;

function write(event, fields) {
  const common = {
    event,
    t: Math.round((performance.timeOrigin + performance.now()) * 1000),
    pid: process.pid,
    daemon: process.ppid,
    shard,
    worker: process.env.KCL_WORKER_ID,
  };
  fs.writeSync(ledger, JSON.stringify(Object.assign(common, fields)) + '\n');
}

function checkpoint(checkpointer, sequence, done) {
  const after = (error) => {
    write('checkpoint', { sequence, error });
    done();
  };
  if (sequence === null) checkpointer.checkpoint(after);
  else checkpointer.checkpoint(sequence, after);
}

const processor = {
  initialize(input, done) {
    shard = input.shardId;
    write('initialize', { sequence: input.sequenceNumber, sub: input.subSequenceNumber });
    done();
  },
  processRecords(input, done) {
    const records = input.records.map((record) => [
      record.sequenceNumber,
      record.subSequenceNumber,
      Buffer.from(record.data, 'base64').toString().split('|')[0],
    ]);
    write('processRecords', { records, behind: input.millisBehindLatest });
    // Some time passes, as in a processor that writes to a database.
    setTimeout(() => {
      checkpoint(input.checkpointer, records[records.length - 1][0], () => {
        write('done');
        done();
      });
    }, 5);
  },
  shutdownRequested(input, done) {
    write('shutdownRequested');
    checkpoint(input.checkpointer, null, done);
  },
};

function shardEnded(input, done) {
  write('shardEnded');
  checkpoint(input.checkpointer, null, done);
}

function leaseLost(input, done) {
  write('leaseLost');
  done();
}

if (style === 'v2') {
  Object.assign(processor, { shardEnded, leaseLost });
} else {
  processor.shutdown = (input, done) =>
    input.reason === 'TERMINATE' ? shardEnded(input, done) : leaseLost(input, done);
}
kcl(processor).run();
