//! The main runtime.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// The runtime for everything but lease renewals: a thread for every two cores.
///
/// The other half is for the children, who do the real work. It is not only fairness: what one thread
/// has just read from the network and encoded it finds in its cache when it writes it to a pipe, and
/// nobody has to be woken for it. On two cores that saved 7 to 21 % of the CPU time of a catch-up
/// (`benches/README.md`); one thread moves some 600 MB a second.
///
/// # Errors
/// The operating system gives no thread or no event queue.
pub fn main_runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads((cores / 2).max(1))
        .thread_name("kcl-daemon")
        .enable_all()
        .build()
}
