//! The same explicit worker id twice (I.9).

use super::support::{Exit, now_micros};
use super::world::{World, seconds, wait_flow, wait_processed};

#[test]
fn on_one_host_the_second_refuses_at_once() {
    let world = World::new("same-host", 2);
    let recorder = world.recorder();
    let properties = world.properties(&recorder, 5_000).set("workerId", "twin");
    let load = world.load(2);
    let mut first = world.start(&properties);
    wait_flow(&recorder, 2, 2);

    let mut second = world.start(&properties);
    assert_eq!(second.wait_exit(seconds(5)), Exit::code(1));
    let log = second.log();
    assert!(log.contains("'twin'") && log.contains("workerId"), "{log}");
    assert!(
        log.contains(&first.pid().to_string()),
        "it says who has the id: {log}"
    );

    wait_flow(&recorder, 2, 2);
    let ids = load.stop_ids();
    wait_processed(&recorder, &ids, seconds(20)).assert_no_duplicates();
    assert_eq!(first.exited(), None);
}

#[test]
fn on_two_hosts_the_later_one_stops_with_a_clear_error() {
    let world = World::new("same-id", 4);
    let recorder = world.recorder();
    let properties = world.properties(&recorder, 3_000);
    let twin = properties.clone().set("workerId", "twin");
    let load = world.load(4);
    let mut first = super::support::Daemon::start(world.sandbox.host("a"), &twin, &[]);
    wait_flow(&recorder, 4, 2);

    let start = now_micros();
    // Its supervisor starts it again: then its host's lock file is that of a dead process.
    let later = [(); 3].map(|()| {
        let mut second = super::support::Daemon::start(world.sandbox.host("b"), &twin, &[]);
        let exit = second.wait_exit(seconds(30));
        assert_eq!(exit, Exit::code(1), "{}", second.log_end());
        let log = second.log();
        assert!(
            log.contains("worker id 'twin'") && log.contains("another process"),
            "{log}"
        );
        second.pid()
    });

    wait_flow(&recorder, 4, 3);
    assert_eq!(
        first.exited(),
        None,
        "the first one works on: {}",
        first.log_end()
    );
    assert_eq!(world.owners().get("twin"), Some(&4));
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(20));
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    let by_later: Vec<_> = ledger
        .of("initialize")
        .filter(|e| later.contains(&e.daemon))
        .collect();
    assert!(
        by_later.is_empty(),
        "the later ones took nothing: {by_later:#?}"
    );
    assert!(
        ledger.longest_silence(start, now_micros()) < seconds(3),
        "{:?}",
        ledger.silences(start, now_micros())
    );
}
