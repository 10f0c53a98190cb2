//! The worker: drivers that feed events into the pure decisions and carry their actions out.
//!
//! | module | what it drives |
//! |---|---|
//! | [`startup`] | the stream, the first leases |
//! | [`joining`] | the table, whose fleet it is |
//! | [`coordinator`] | looks at the table, takes leases, ends everything in order |
//! | [`keeper`] | one held lease: renewals, checkpoints, release, on the renewal thread |
//! | [`leadership`] | the election of the 3.x leader |
//! | [`consumer`] | one shard: child, fetcher, checkpoints |
//! | [`reporter`] | this worker's load, for the leader |
//! | [`family`] | parents and children of a shard |
//! | [`counting`] | calls to DynamoDB, by what for |
//! | [`audit`], [`clean_up`] | holes in the hash space; leases of finished shards |

pub mod audit;
pub mod clean_up;
pub mod consumer;
pub mod coordinator;
pub mod counting;
pub mod family;
pub mod joining;
pub mod keeper;
pub mod leadership;
pub mod reporter;
pub mod startup;

#[cfg(test)]
#[allow(missing_docs, reason = "for tests")]
pub mod testing;
