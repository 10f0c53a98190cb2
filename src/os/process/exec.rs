//! From a program to a running process.
//!
//! Nearly all unsafe code of the daemon is in this file (the rest is a hint in `os::memory`): what has to
//! be done in the child between `fork` and `exec` (session, signals, parent-death signal, limits) has no
//! safe interface.
#![allow(
    unsafe_code,
    reason = "Command::pre_exec, and system calls made there; each argued below"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "src/os is where processes are started"
)]

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Program;

/// Runs scripts that do not say what runs them.
const SHELL: &str = "/bin/sh";

/// Starts a program in a process group of its own, with three pipes. Must be called on a thread
/// that lives as long as the child may.
pub(super) fn spawn(program: &Program, open_files: Option<u64>) -> io::Result<Child> {
    let prepare = Prepare {
        parent: std::process::id(),
        open_files,
    };
    let direct = spawn_as(&program.path, program, None, prepare);
    match direct {
        // A script without `#!`: as the shell and Java do (protocol.md §3).
        Err(error) if error.raw_os_error() == Some(Errno::ENOEXEC as i32) => {
            spawn_as(Path::new(SHELL), program, Some(&program.path), prepare)
        }
        other => other,
    }
}

fn spawn_as(
    file: &Path,
    program: &Program,
    script: Option<&Path>,
    prepare: Prepare,
) -> io::Result<Child> {
    let mut command = Command::new(file);
    match script {
        Some(script) => command.arg(script),
        None => command.arg0(&program.name),
    };
    command
        .args(&program.arguments)
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    // SAFETY: the closure runs in the child between fork and exec, where other threads' locks may
    // be held for ever. `Prepare::run` makes system calls only: it allocates nothing, takes no lock
    // and does not panic.
    unsafe {
        command.pre_exec(move || prepare.run());
    }
    command.spawn()
}

/// Starts a guardian: in a session of its own, with a pipe as STDIN and all signals blocked.
pub(in crate::os) fn spawn_guardian(
    path: &Path,
    name: &OsStr,
    arguments: &[std::ffi::OsString],
) -> io::Result<Child> {
    let mut command = Command::new(path);
    command
        .arg0(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: as above; `setsid`, the reset of signals and `close_range` are system calls.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            reset_signals()?;
            close_the_rest();
            Ok(())
        });
    }
    // Blocked before it exists, so that there is no moment in which a signal could end it.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = command.spawn();
    before.thread_set_mask()?;
    spawned
}

/// What is done in the child before the program runs.
#[derive(Debug, Clone, Copy)]
struct Prepare {
    /// The daemon.
    parent: u32,
    open_files: Option<u64>,
}

impl Prepare {
    fn run(self) -> io::Result<()> {
        reset_signals()?;
        die_with_the_parent(self.parent)?;
        close_the_rest();
        if let Some(soft) = self.open_files {
            let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
            let limit = Rlimit {
                current: Some(soft),
                maximum,
            };
            // Not worth a failure: the child then has the higher limit of the daemon.
            let _ = setrlimit(Resource::Nofile, limit);
        }
        Ok(())
    }
}

/// All signals do what they do by default. The mask is the spawning thread's.
fn reset_signals() -> io::Result<()> {
    for each in Signal::iterator() {
        if matches!(each, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: no handler of ours is lost by it, as `exec` would reset them anyway; and the
        // default action is no code that could be unsafe to run.
        unsafe { signal(each, SigHandler::SigDfl) }?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn die_with_the_parent(parent: u32) -> io::Result<()> {
    use rustix::process::{Signal as Number, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Number::KILL))?;
    // It died between the fork and this line: nobody would tell us any more.
    let is_parent =
        getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
    if !is_parent {
        return Err(Errno::ESRCH.into());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with_the_parent(_parent: u32) -> io::Result<()> {
    // No such signal: the guardian does it alone.
    Ok(())
}

/// Descriptors that the daemon was started with and knows nothing about are closed by `exec`, as
/// Java closes them (protocol.md §3). Linux before 5.11 does not know how: they stay open.
#[cfg(target_os = "linux")]
fn close_the_rest() {
    use nix::libc::{CLOSE_RANGE_CLOEXEC, SYS_close_range, c_uint, syscall};
    let (first, last): (c_uint, c_uint) = (3, c_uint::MAX);
    // SAFETY: nothing is closed now, only marked; after `exec` no code is left that could use the
    // numbers. The arguments are integers.
    let _ = unsafe { syscall(SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) };
}

#[cfg(not(target_os = "linux"))]
fn close_the_rest() {}
