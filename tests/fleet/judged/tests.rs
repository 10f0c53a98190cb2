//! Real fleets that the checker judges.

use std::time::Duration;

use super::super::support::now_micros;
use super::super::world::{STREAM, World, seconds, slowest_to_flow, wait_flow, wait_processed};
use super::Judged;

const F: Duration = Duration::from_secs(5);

/// A fleet of two over four shards, in one of the algorithms.
fn fleet(name: &str, version: &str, live: impl Fn(&World, &Judged<'_>)) {
    let world = World::new(name, 4);
    let assigned = version.ends_with("3X");
    let judged = Judged::new(&world, F, assigned);
    live(&world, &judged);
}

#[test]
fn a_kill_is_judged_as_in_the_simulation() {
    let version = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1";
    fleet("judged-kill", version, |world, judged| {
        let recorder = world.recorder();
        let properties = world
            .properties(&recorder, 5_000)
            .set("clientVersionConfig", version);
        let load = world.load(4);
        let _first = judged.start("host-a", &properties);
        wait_flow(&recorder, 4, 1);
        let mut second = judged.start("host-b", &properties);
        world.wait_shares(vec![2, 2], seconds(30));
        wait_flow(&recorder, 4, 3);
        let orphaned = world.shards_of("host-b");
        let killed = now_micros();
        judged.kill(&mut second);
        slowest_to_flow(&recorder, &orphaned, killed, seconds(30));
        wait_flow(&recorder, 4, 3);
        let puts = load.stop();
        let ids: Vec<&str> = puts.iter().map(|put| put.id.as_str()).collect();
        let ledger = wait_processed(&recorder, &ids, seconds(20));
        judged.expect_sound(&ledger, &puts);
    });
}

#[test]
fn a_rolling_restart_and_a_reshard_are_judged_as_in_the_simulation() {
    let version = "CLIENT_VERSION_CONFIG_3X";
    fleet("judged-rolling", version, |world, judged| {
        let recorder = world.recorder();
        let properties = world
            .properties(&recorder, 5_000)
            .set("clientVersionConfig", version);
        let load = world.load(4);
        let mut daemons = ["host-a", "host-b"].map(|host| judged.start(host, &properties));
        world.wait_shares(vec![2, 2], seconds(60));
        wait_flow(&recorder, 4, 2);
        let children = world.aws.split(STREAM, "shardId-000000000000");
        assert_eq!(children.len(), 2);
        for (daemon, host) in daemons.iter_mut().zip(["host-a", "host-b"]) {
            daemon.stop_gracefully();
            *daemon = judged.start(host, &properties);
            wait_flow(&recorder, 4, 3);
        }
        let puts = load.stop();
        let ids: Vec<&str> = puts.iter().map(|put| put.id.as_str()).collect();
        let ledger = wait_processed(&recorder, &ids, seconds(30));
        judged.expect_sound(&ledger, &puts);
    });
}
