//! Scripted children.
//!
//! | file | part |
//! |---|---|
//! | `habits.rs` | what a child does with a task: a list of steps, drawn from the seed |
//! | `processor.rs` | `Processor` and `ProcessorFactory`, which take the steps |

mod habits;
mod processor;

pub use habits::{Checkpoints, ChildSettings};
pub use processor::SimFactory;
