//! The processes of this machine, as `/proc` shows them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// `R`, `S`, `T` for stopped, `Z` for a zombie …
    pub state: char,
    /// Arguments, with blanks between them.
    pub command: String,
}

/// All live processes in whose environment `variable` is `value`.
pub fn marked(variable: &str, value: &Path) -> Vec<Process> {
    let wanted = format!("{variable}={}", value.display());
    all()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == wanted.as_bytes())
            })
        })
        .filter_map(look)
        .collect()
}

/// The children of a process, zombies included.
pub fn children(of: u32) -> Vec<Process> {
    all()
        .filter_map(look)
        .filter(|process| process.parent == of)
        .collect()
}

/// Memory that a process has in RAM by itself: anonymous and file pages, in KiB.
pub fn resident_kib(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

/// The most memory a process ever had in RAM, in KiB.
pub fn peak_kib(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// What `/proc` says about a process; `None` when it is gone.
pub fn look(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name with anything) state ppid …
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command)
        .replace('\0', " ")
        .trim_end()
        .to_owned();
    Some(Process {
        pid,
        parent,
        state,
        command,
    })
}

/// Waits until `look` finds no live process; gives what is left after `timeout`.
pub fn gone_within(timeout: Duration, look: impl Fn() -> Vec<Process>) -> Vec<Process> {
    let start = Instant::now();
    loop {
        let left: Vec<Process> = look()
            .into_iter()
            .filter(|process| process.state != 'Z')
            .collect();
        if left.is_empty() || start.elapsed() >= timeout {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// SIGKILL to each of them.
pub fn kill_all(processes: &[Process]) {
    for process in processes {
        signal(process.pid, Signal::KILL);
    }
}

/// Sends a signal; a process that is gone is no failure.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Whether this process ignores a signal, as do the ones that it starts then: a shell has a command in the
/// background ignore SIGINT, `nohup` ignores SIGHUP.
pub fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.expect("a mask of signals") & (1 << (signal.as_raw() - 1)) != 0
}

fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
