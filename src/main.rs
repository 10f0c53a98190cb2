//! The binary: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = kcl_daemon::os::environment::arguments();
    if let Some(code) = kcl_daemon::os::guardian::run_if_asked(arguments) {
        return code;
    }
    kcl_daemon::cli::main()
}
