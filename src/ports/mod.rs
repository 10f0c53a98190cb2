//! The traits through which the worker reaches the world.
//!
//! Everything that has an effect stands behind one of these: DynamoDB, Kinesis, child processes, the
//! clock and randomness. The daemon plugs in AWS, the operating system and `--local`; the simulation
//! plugs in models of them on virtual time.

use std::future::Future;
use std::pin::Pin;

use crate::core::time::Moment;

mod processor;
mod stream;
mod table;

pub use crate::core::migration::single_table::Place;
pub use processor::*;
pub use stream::*;
pub use table::*;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The only source of time.
pub trait Clock: Send + Sync {
    /// Now on the monotonic clock.
    fn now(&self) -> Moment;

    /// Now on the wall clock, milliseconds since the epoch. For display and for timestamps that the
    /// service gave; never to compare hosts.
    fn wall_millis(&self) -> i64;

    /// Completes at this moment, at once when it has passed.
    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()>;
}

/// The only source of randomness.
pub trait Entropy: Send + Sync {
    /// A random number.
    fn next_u64(&self) -> u64;

    /// A random number below `bound`; 0 when `bound` is 0.
    fn below(&self, bound: usize) -> usize {
        match u64::try_from(bound) {
            Ok(0) | Err(_) => 0,
            // The bias of a remainder of 64 bits is far below anything that matters here.
            Ok(bound) => usize::try_from(self.next_u64() % bound).unwrap_or(0),
        }
    }

    /// A random number from 0 (inclusive) to 1 (exclusive).
    fn unit(&self) -> f64 {
        // The upper 53 bits are what a double can hold exactly.
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}
