'use strict';
// A record processor with Amazon's library aws-kcl (2.x and 3.x).

const kcl = require('aws-kcl');

const TRIES = 5;
const WORTH_ANOTHER_TRY = new Set([
  'ThrottlingException',
  'KinesisClientLibDependencyException',
  'RuntimeException',
]);

let shard = '?';
let count = 0;

// Not console.log: STDOUT belongs to the protocol.
const say = (text) => console.error(text);

// Checkpoints everything that was delivered. The library cannot name the sub-sequence number of a record
// within a KPL aggregate, so to name no record at all is the only exact way: finish the batch before.
function checkpoint(checkpointer, done, tried = 1) {
  checkpointer.checkpoint((error) => {
    if (!error) return done();
    say(`${shard}: checkpoint refused (${error}), try ${tried} of ${TRIES}`);
    if (!WORTH_ANOTHER_TRY.has(error) || tried === TRIES) return done();
    setTimeout(() => checkpoint(checkpointer, done, tried + 1), tried * 1000);
  });
}

// Each function must call done() exactly once, when its work is finished. An exception that is thrown
// here ends the process, and the batch is delivered again.
kcl({
  initialize(input, done) {
    shard = input.shardId;
    say(`${shard}: starting at ${input.sequenceNumber}`);
    done();
  },

  processRecords(input, done) {
    for (const record of input.records) {
      const data = Buffer.from(record.data, 'base64').toString();
      say(`${shard}: ${record.partitionKey}: ${data}`);
    }
    count += input.records.length;
    if (input.records.length === 0) return done();
    checkpoint(input.checkpointer, done);
  },

  shutdownRequested(input, done) {
    say(`${shard}: asked to stop after ${count} records`);
    checkpoint(input.checkpointer, done);
  },

  shardEnded(input, done) {
    say(`${shard}: the shard has ended after ${count} records`);
    checkpoint(input.checkpointer, done);
  },

  leaseLost(input, done) {
    say(`${shard}: another worker goes on from here`);
    done();
  },
}).run();
