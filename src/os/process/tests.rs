//! Real processes: shells and, where a shell cannot look, Python.

use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal as Number, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::*;
use crate::os::guardian;
use crate::os::rerun;

fn launcher() -> Launcher {
    Launcher::start(LauncherSettings::default()).unwrap()
}

fn program(path: impl Into<PathBuf>, arguments: &[&str]) -> Program {
    let path = path.into();
    Program {
        name: path.clone().into(),
        path,
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: Vec::new(),
    }
}

fn shell(script: &str) -> Program {
    program("/bin/sh", &["-c", script])
}

/// Runs a program to its end: its STDOUT, and how it ended.
async fn run_to_end(launcher: &Launcher, program: Program) -> (String, Exit) {
    let mut launched = launcher.launch(program).await.unwrap();
    drop(launched.stdin);
    let mut said = String::new();
    launched.stdout.read_to_string(&mut said).await.unwrap();
    launched.group.exited().await;
    (said, launched.group.reap().unwrap())
}

/// Whether a process runs; a dead one that its parent did not reap does not.
fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(')').map(|(_, fields)| fields.trim_start());
        !state.is_some_and(|fields| fields.starts_with(['Z', 'X']))
    })
}

async fn wait_until_dead(pid: u32) {
    while is_running(pid) {
        tokio::task::yield_now().await;
    }
}

async fn first_line(stdout: pipe::Receiver) -> (String, BufReader<pipe::Receiver>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    stdout.read_line(&mut line).await.unwrap();
    (line.trim().to_owned(), stdout)
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    for (script, expected) in [
        ("exit 0", Exit::Code(0)),
        ("exit 7", Exit::Code(7)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -15 $$", Exit::Signal(15)),
    ] {
        let (_, exit) = run_to_end(&launcher, shell(script)).await;
        assert_eq!(exit, expected, "{script}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_an_error_and_leaves_nothing() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    for (path, kind) in [
        ("/nonexistent/program", io::ErrorKind::NotFound),
        ("/etc/passwd", io::ErrorKind::PermissionDenied),
        ("/tmp", io::ErrorKind::PermissionDenied),
    ] {
        let error = launcher.launch(program(path, &[])).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{path}: {error}");
    }
    assert!(launcher.shared.children().is_empty());
}

#[tokio::test]
async fn a_script_without_a_first_line_is_run_by_the_shell() {
    let _watchdog = rerun::Watchdog::start();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("with space");
    std::fs::write(&script, "echo \"$0|$1|$2|$EXTRA\"\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut program = program(&script, &["a b", "c"]);
    program.environment.push(("EXTRA".into(), "more".into()));
    let (said, exit) = run_to_end(&launcher(), program).await;
    assert_eq!(said, format!("{}|a b|c|more\n", script.display()));
    assert_eq!(exit, Exit::Code(0));
}

#[tokio::test]
async fn the_child_has_its_name_its_group_its_pipes_and_default_signals() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    // Inherited from whoever started the daemon: not marked to be closed.
    let file = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    // Programs that look at themselves: a shell blocks signals and opens files while it works.
    let cat = |file: &str| {
        let mut program = program("/bin/cat", &[file]);
        program.name = "somebody".into();
        program
    };
    let (name, _) = run_to_end(&launcher, cat("/proc/self/cmdline")).await;
    assert_eq!(name, "somebody\0/proc/self/cmdline\0");
    let (stat, _) = run_to_end(&launcher, cat("/proc/self/stat")).await;
    let (pid, _) = stat.split_once(' ').unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    assert_eq!(
        fields.split_whitespace().nth(2),
        Some(pid),
        "it leads a group"
    );

    let (status, _) = run_to_end(&launcher, cat("/proc/self/status")).await;
    // The classic 31 signals; Rust itself ignores SIGPIPE. What lies above is the C library's.
    for mask in ["SigBlk:\t", "SigIgn:\t"] {
        let digits = status.lines().find_map(|line| line.strip_prefix(mask));
        let mask = u64::from_str_radix(digits.unwrap(), 16).unwrap();
        assert_eq!(mask & 0x7fff_ffff, 0, "{status}");
    }
    let (descriptors, _) = run_to_end(&launcher, program("/bin/ls", &["/proc/self/fd"])).await;
    // The last one is the directory that is being listed.
    assert_eq!(descriptors, "0\n1\n2\n3\n");
    drop(file);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_first_children_get_large_pipes_and_give_them_back() {
    let _watchdog = rerun::Watchdog::start();
    use rustix::pipe::fcntl_getpipe_size;
    let launcher = launcher();
    let mut children = Vec::new();
    for _ in 0..=MOST_LARGE_PIPES {
        children.push(launcher.launch(program("/bin/cat", &[])).await.unwrap());
    }
    let large = |child: &Launched| fcntl_getpipe_size(&child.stdin).unwrap() == PIPE_SIZE;
    let last = children.pop().unwrap();
    assert!(children.iter().all(large) && !large(&last));
    let pid = children.pop().unwrap().group.pid();
    while launcher.owns(pid) {
        tokio::task::yield_now().await;
    }
    assert!(large(
        &launcher.launch(program("/bin/cat", &[])).await.unwrap()
    ));
}

#[tokio::test]
async fn the_limit_of_open_files_is_the_one_asked_for() {
    let _watchdog = rerun::Watchdog::start();
    let settings = LauncherSettings {
        guardian: None,
        open_files: Some(100),
    };
    let launcher = Launcher::start(settings).unwrap();
    let (said, _) = run_to_end(&launcher, shell("ulimit -Sn")).await;
    assert_eq!(said, "100\n");
}

#[tokio::test]
async fn what_is_left_of_a_group_dies_when_its_leader_is_reaped() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    let script = "trap '' TERM; sleep 1000 & echo $!; exit 3";
    let mut launched = launcher.launch(shell(script)).await.unwrap();
    let (line, mut stdout) = first_line(launched.stdout).await;
    let grandchild: u32 = line.parse().unwrap();
    launched.group.exited().await;
    assert!(is_running(grandchild) && group_is_alive(launched.group.pid()));
    assert_eq!(launched.group.reap(), Some(Exit::Code(3)));
    // It held the pipe; the end of it is the proof.
    stdout.read_to_end(&mut Vec::new()).await.unwrap();
    wait_until_dead(grandchild).await;
    assert_eq!(launched.group.reap(), None, "only once");
    launched.group.exited().await;
}

#[tokio::test]
async fn a_group_can_be_asked_to_end_and_be_made_to() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    let script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done";
    let mut launched = launcher.launch(shell(script)).await.unwrap();
    let (line, mut stdout) = first_line(launched.stdout).await;
    assert_eq!(line, "ready");
    assert_eq!(launched.group.reap(), None, "it runs");
    launched.group.signal(GroupSignal::Terminate);
    let mut asked = String::new();
    stdout.read_line(&mut asked).await.unwrap();
    assert_eq!(asked, "asked\n");
    launched.group.signal(GroupSignal::Kill);
    launched.group.exited().await;
    assert_eq!(launched.group.reap(), Some(Exit::Signal(9)));
}

#[tokio::test]
async fn a_dropped_group_is_killed_and_reaped() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    let script = "sleep 1000 & echo $!; wait";
    let launched = launcher.launch(shell(script)).await.unwrap();
    let (line, _stdout) = first_line(launched.stdout).await;
    let pid = launched.group.pid();
    drop(launched.group);
    wait_until_dead(line.parse().unwrap()).await;
    while launcher.owns(pid) {
        tokio::task::yield_now().await;
    }
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "no zombie"
    );
}

#[tokio::test]
async fn a_launch_that_nobody_waits_for_leaves_nothing() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    let mark = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo $$ > {}; sleep 1000", mark.path().display());
    {
        let launch = launcher.launch(shell(&script));
        tokio::pin!(launch);
        // Polled once: the request is on its way.
        tokio::select! {
            biased;
            _ = &mut launch => panic!("a process starts faster than this?"),
            () = std::future::ready(()) => {}
        }
    }
    // The thread does one thing after the other: when this one is started, that one was.
    run_to_end(&launcher, shell("exit 0")).await;
    while !launcher.shared.children().is_empty() {
        tokio::task::yield_now().await;
    }
    let pid = std::fs::read_to_string(mark.path()).unwrap();
    assert!(pid.is_empty() || !is_running(pid.trim().parse().unwrap()));
}

#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = launcher();
    let of_thread = launcher.clone();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    // The launching thread ends; with it a parent-death signal set from there would come.
    let group = thread::spawn(move || {
        runtime()
            .block_on(async { of_thread.launch(program("/bin/sleep", &["1000"])).await })
            .map(|launched| launched.group)
            .unwrap()
    })
    .join()
    .unwrap();
    // A second process was started and ended since: time for the signal to arrive.
    runtime().block_on(run_to_end(&launcher, shell("exit 0")));
    assert!(is_running(group.pid()));
}

/// Starts a daemon in a process of its own, kills it, and sees everything die that it names.
fn kill_daemon(body: &str) {
    let mut daemon = rerun::command(body)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Among what the test harness prints, one line of ours.
    let stdout = io::BufReader::new(daemon.stdout.take().unwrap());
    let line = io::BufRead::lines(stdout)
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, pids) = line.split_once("pids:")?;
            Some(pids.to_owned())
        })
        .unwrap();
    let pids: Vec<u32> = line
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert!(!pids.is_empty());
    assert!(pids.iter().all(|pid| is_running(*pid)));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    // The child, a grandchild that ignores SIGTERM, and the guardian when it is done.
    for pid in pids {
        while is_running(pid) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn after_kill_9_of_the_daemon_nothing_of_its_children_is_left() {
    let _watchdog = rerun::Watchdog::start();
    kill_daemon("os::process::tests::daemon_body");
}

#[cfg(target_os = "linux")]
#[test]
fn a_new_guardian_knows_what_the_old_one_knew() {
    let _watchdog = rerun::Watchdog::start();
    kill_daemon("os::process::tests::daemon_with_a_new_guardian_body");
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_guardian_the_child_itself_dies_all_the_same() {
    let _watchdog = rerun::Watchdog::start();
    kill_daemon("os::process::tests::daemon_without_a_guardian_body");
}

#[tokio::test]
#[ignore = "killed by without_a_guardian_the_child_itself_dies_all_the_same"]
async fn daemon_without_a_guardian_body() {
    let _watchdog = rerun::Watchdog::start();
    // It takes no notice of the end of its STDIN.
    let sleep = program("/bin/sleep", &["1000"]);
    let launched = launcher().launch(sleep).await.unwrap();
    println!("pids:{}", launched.group.pid());
    std::future::pending::<()>().await;
}

/// A daemon with one child and one grandchild, which ignores SIGTERM.
async fn daemon(prepare: impl AsyncFnOnce(&Launcher)) {
    let _watchdog = rerun::Watchdog::start();
    let settings = LauncherSettings {
        guardian: Some(guardian::tests::program()),
        open_files: None,
    };
    let launcher = Launcher::start(settings).unwrap();
    let script = "trap '' TERM; sleep 1000 <&- >/dev/null 2>&1 & echo $!; wait";
    let launched = launcher.launch(shell(script)).await.unwrap();
    let (grandchild, _stdout) = first_line(launched.stdout).await;
    prepare(&launcher).await;
    let guardian = launcher.guardian_pid().unwrap();
    println!("pids:{} {grandchild} {guardian}", launched.group.pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
#[ignore = "killed by after_kill_9_of_the_daemon_nothing_of_its_children_is_left"]
async fn daemon_body() {
    daemon(async |_| {}).await;
}

#[tokio::test]
#[ignore = "killed by a_new_guardian_knows_what_the_old_one_knew"]
async fn daemon_with_a_new_guardian_body() {
    daemon(async |launcher| {
        let first = launcher.guardian_pid().unwrap();
        let pid = Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
        kill_process(pid, Number::KILL).unwrap();
        while launcher.guardian_pid().is_none_or(|pid| pid == first) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let _watchdog = rerun::Watchdog::start();
    let mut launched = launcher().launch(program("/bin/cat", &[])).await.unwrap();
    launched.stdin.write_all(b"there and back\n").await.unwrap();
    let (line, _stdout) = first_line(launched.stdout).await;
    assert_eq!(line, "there and back");
    let pid = Pid::from_raw(i32::try_from(launched.group.pid()).unwrap()).unwrap();
    kill_process(pid, Number::KILL).unwrap();
    launched.group.exited().await;
    assert_eq!(launched.group.reap(), Some(Exit::Signal(9)));
}
