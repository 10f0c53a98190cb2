//! The main runtime.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// The runtime for everything but lease renewals: as many threads as cores.
///
/// # Errors
/// The operating system gives no thread or no event queue.
pub fn main_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name("kcl-daemon")
        .enable_all()
        .build()
}
