//! Who should hold which lease: problem in, plan out.

pub mod taker;
pub mod view;
