//! Many records.

use std::time::Instant;

use super::support::now_micros;
use super::world::{World, figure, seconds, wait_processed};

#[test]
fn fifty_thousand_records_are_all_delivered_in_order() {
    const RECORDS: usize = 50_000;
    let world = World::new("volume", 4);
    let recorder = world.recorder();
    let ids: Vec<String> = world
        .aws
        .put_sized("stream", "v", 0, RECORDS, 1024)
        .into_iter()
        .map(|put| put.id)
        .collect();
    assert_eq!(ids.len(), RECORDS);
    let start = Instant::now();
    let started = now_micros();
    let mut daemon = world.start(&world.properties(&recorder, 10_000));
    let ledger = wait_processed(&recorder, &ids, seconds(120));
    figure(
        "50,000 records of 1 KB from start to the last one processed",
        start.elapsed(),
    );
    println!(
        "FIGURE: resident memory of the daemon after that: {} KiB",
        daemon.resident_kib()
    );
    assert_eq!(daemon.exited(), None);
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_eq!(ledger.deliveries(), RECORDS);
    assert!(ledger.events[0].t >= started);
    daemon.stop_gracefully();
    world.assert_released();
}
