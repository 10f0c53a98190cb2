//! Who should hold which lease: problem in, plan out.

pub mod heirs;
pub mod taker;
pub mod view;
