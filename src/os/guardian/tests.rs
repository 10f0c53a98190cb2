//! The messages as a table; the guardian itself as a process.

use super::*;
use crate::os::process::{Launcher, LauncherSettings, Program};
use crate::os::rerun;

/// A guardian for tests: this test binary, told to run [`guardian_body`].
pub(in crate::os) fn program() -> GuardianProgram {
    GuardianProgram {
        path: environment::own_executable().unwrap(),
        arguments: rerun::arguments("os::guardian::tests::guardian_body"),
    }
}

#[test]
#[ignore = "it is the guardian of other tests: it waits for the end of STDIN"]
fn guardian_body() {
    run();
}

#[test]
fn messages_are_followed_and_anything_else_is_passed_over() {
    let table: [(&str, &[i32]); 8] = [
        ("", &[]),
        ("+12\n+13\n", &[12, 13]),
        ("+12\n+13\n-12\n", &[13]),
        ("+12\n-12\n-12\n+12\n", &[12]),
        ("+0\n+1\n+-5\n-0\n+2\n", &[2]),
        ("hello\n+\n+x\n\n+99999999999\n+7\n", &[7]),
        // Cut off in the middle of 1234.
        ("+5\n+12", &[5]),
        ("+12\n-1", &[12]),
    ];
    for (messages, expected) in table {
        let groups: Vec<i32> = listen(messages.as_bytes()).into_iter().collect();
        assert_eq!(groups, expected, "{messages:?}");
    }
}

#[test]
fn only_the_hidden_argument_makes_a_guardian() {
    for arguments in [
        &["kcl-daemon"][..],
        &["kcl-daemon", "-p", GUARDIAN_ARGUMENT],
        &[],
    ] {
        let arguments = arguments.iter().map(OsString::from);
        assert!(run_if_asked(arguments).is_none());
    }
}

#[tokio::test]
async fn a_guardian_that_was_killed_is_replaced() {
    let _watchdog = rerun::Watchdog::start();
    let launcher = Launcher::start(LauncherSettings {
        guardian: Some(program()),
        open_files: None,
    })
    .unwrap();
    assert_eq!(
        launcher.guardian_pid(),
        None,
        "it comes with the first child"
    );
    let program = Program {
        path: "/bin/cat".into(),
        name: "cat".into(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    let launched = launcher.launch(program).await.unwrap();
    let first = launcher.guardian_pid().unwrap();
    assert!(launcher.owns(first));

    let raw = Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    let session = rustix::process::getsid(Some(raw)).unwrap();
    assert_eq!(session, raw, "it has a session of its own");
    // What ends a daemon does not end its guardian: bit n - 1 stands for signal n.
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let blocked = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"));
    let blocked = u64::from_str_radix(blocked.unwrap(), 16).unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        assert_ne!(blocked & (1 << (signal.as_raw() - 1)), 0, "{signal:?}");
    }

    rustix::process::kill_process(raw, Signal::KILL).unwrap();
    while launcher.guardian_pid().is_none_or(|pid| pid == first) {
        tokio::task::yield_now().await;
    }
    drop(launched);
}
