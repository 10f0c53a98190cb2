//! As pid 1, in a container without an init: orphans are adopted by the daemon, and have to be
//! reaped.
//!
//! Children of the daemon itself, those of the AWS SDK (`credential_process`) included, are reaped
//! by whoever started them. So this only takes a dead child that nobody in here claims and that was
//! dead already the last time. Dead processes cost a process id each, so there is no hurry.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::process::Launcher;
use crate::ports::Clock;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Whether this process is the one to which orphans fall.
#[must_use]
pub fn is_needed() -> bool {
    std::process::id() == 1
}

/// A dead child that was not reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Zombie {
    pid: i32,
    /// Tells it from a later process of the same number.
    started: u64,
}

/// Reaps adopted orphans for ever. The launcher knows which dead children are not to be touched.
pub async fn run(clock: &dyn Clock, launcher: &Launcher) {
    let mut before = BTreeSet::new();
    loop {
        clock.sleep_until(clock.now() + INTERVAL).await;
        before = reap(&before, launcher);
    }
}

/// Reaps what was dead before and still is; returns what is dead now.
fn reap(before: &BTreeSet<Zombie>, launcher: &Launcher) -> BTreeSet<Zombie> {
    let mut now = zombies(Path::new("/proc"), std::process::id());
    now.retain(|zombie| !launcher.owns(zombie.pid.cast_unsigned()));
    for zombie in now.intersection(before) {
        let _ = waitpid(Pid::from_raw(zombie.pid), WaitOptions::NOHANG);
    }
    now
}

/// Dead children of a process. Empty where there is no `/proc`: such systems have an init.
fn zombies(proc: &Path, parent: u32) -> BTreeSet<Zombie> {
    let Ok(entries) = std::fs::read_dir(proc) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read(entry.path().join("stat")).ok()?;
            let started = zombie_since(&String::from_utf8_lossy(&stat), parent)?;
            Some(Zombie { pid, started })
        })
        .collect()
}

/// When the process of this `stat` was started, if it is a dead child of `parent`.
fn zombie_since(stat: &str, parent: u32) -> Option<u64> {
    // The second field is a name that may hold anything; the last parenthesis closes it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let dead = fields.next()? == "Z";
    let own = fields.next()?.parse() == Ok(parent);
    // The 22nd field of all; state and parent were the third and the fourth.
    let started = fields.nth(17)?.parse().ok()?;
    (dead && own).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::process::{Exit, LauncherSettings, Program};
    use crate::os::rerun;

    #[test]
    fn the_stat_file_is_read_behind_the_name() {
        let fields = "7 7 0 -1 4228108 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let table = [
            (format!("12 (sh) Z 1 {fields}"), Some(4242)),
            (format!("12 (a) Z 9 (b) Z 1 {fields}"), Some(4242)),
            (format!("12 (sh) S 1 {fields}"), None),
            (format!("12 (sh) Z 2 {fields}"), None),
            ("12 (sh) Z 1 7 7".to_owned(), None),
            ("nonsense".to_owned(), None),
        ];
        for (stat, expected) in table {
            assert_eq!(zombie_since(&stat, 1), expected, "{stat}");
        }
    }

    /// In a process of its own: adopting orphans is a property of the whole process.
    #[cfg(target_os = "linux")]
    #[test]
    fn orphans_are_reaped_and_own_children_left_alone() {
        let _watchdog = rerun::Watchdog::start();
        rerun::in_a_process("os::reaper::tests::orphans_body");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    #[ignore = "run by orphans_are_reaped_and_own_children_left_alone"]
    async fn orphans_body() {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let launcher = Launcher::start(LauncherSettings::default()).unwrap();
        // The grandchild leaves the group, so that it is not killed with it, and ends when nobody
        // holds the pipe any more.
        let script = "setsid cat <&0 >/dev/null 2>&1 & exit 7";
        let program = Program {
            path: "/bin/sh".into(),
            name: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Vec::new(),
        };
        let mut launched = launcher.launch(program).await.unwrap();
        launched.group.exited().await;
        drop(launched.stdin);

        let own = i32::try_from(launched.group.pid()).unwrap();
        let me = std::process::id();
        let proc = Path::new("/proc");
        // The orphan is dead when it appears here beside our own child.
        let mut found = zombies(proc, me);
        while found.len() < 2 {
            tokio::task::yield_now().await;
            found = zombies(proc, me);
        }
        let first = reap(&BTreeSet::new(), &launcher);
        assert_eq!(
            zombies(proc, me).len(),
            2,
            "nothing is taken the first time"
        );
        assert!(first.iter().all(|zombie| zombie.pid != own));
        reap(&first, &launcher);
        let left: Vec<i32> = zombies(proc, me).iter().map(|zombie| zombie.pid).collect();
        assert_eq!(left, [own], "only the orphan was taken");
        assert_eq!(launched.group.reap(), Some(Exit::Code(7)));
    }
}
