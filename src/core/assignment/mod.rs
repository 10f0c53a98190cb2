//! Who should hold which lease: problem in, plan out.
//!
//! [`taker`] and [`view`] are the 2.x algorithm, where every worker takes for itself; the rest is what
//! the leader of the 3.x mode does.

mod board;
pub mod count;
pub mod heirs;
pub mod idle;
pub mod problem;
pub mod reports;
pub mod taker;
pub mod variance;
pub mod view;
pub mod watch;
