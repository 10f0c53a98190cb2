//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = kcl_daemon::os::guardian::run_if_asked() {
        return code;
    }
    kcl_daemon::cli::main()
}
