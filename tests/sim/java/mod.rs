//! Models of workers of KCL for Java, with their quirks (`leases.md` B, C, E, G), and with the bugs
//! that implementations of KCL have had, each a switch.
//!
//! They live in the same world as our workers: as peers in mixed fleets, and as what the checker is
//! shown to catch (`museum`).
//!
//! They were compared with the source of 2.7.2 and 3.5.1; a quirk names the class that has it.
//!
//! | file | part |
//! |---|---|
//! | `bugs.rs` | the switches |
//! | `worker.rs` | what a process remembers; its threads |
//! | `renewer.rs` | renewing |
//! | `taker.rs` | KCL 2.x: everybody takes for itself |
//! | `audit.rs` | shard sync and audit; who leads by the shuffle |
//! | `leader.rs` | KCL 3.x: the lock, metrics, discovery |
//! | `assignment.rs` | KCL 3.x: what the leader does |
//! | `hand_off.rs` | KCL 3.x: giving a lease away |
//! | `versions.rs` | KCL 3.5: from the 2.x algorithm to a leader |
//! | `tables.rs` | KCL 3.5: the move from the tables of 3.0 to 3.4 into one |
//! | `consumer.rs` | one shard: parents, child, records |
//! | `ending.rs` | one shard: checkpoints, giving way, the end |
//! | `clean_up.rs` | deleting leases of finished shards |

mod assignment;
mod audit;
mod bugs;
mod clean_up;
mod consumer;
mod ending;
mod hand_off;
mod leader;
mod renewer;
mod tables;
mod taker;
mod versions;
mod worker;

pub use bugs::Bug;
pub use worker::{JavaWorker, Settings, Version};
