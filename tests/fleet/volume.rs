//! Many records.

use std::time::Instant;

use super::support::now_micros;
use super::world::{World, figure, seconds, wait_processed};

/// The largest record that AWS takes, its partition key included.
const TEN_MEBIBYTES: usize = 10 << 20;
/// Memory with such records in two shards: a line (13.3 MiB) with each child and one read ahead, and one
/// each coming in.
const LARGE_PEAK_MIB: u64 = 256;

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

/// Twelve times 10 MiB for two shards, by both ways of reading: what is in memory at once is bounded, not
/// what is in the stream.
#[test]
fn records_of_ten_mebibytes_in_bounded_memory() {
    for fan_out in [false, true] {
        let name = if fan_out { "large-fan-out" } else { "large" };
        let limit = TEN_MEBIBYTES.to_string();
        let world = World::with(name, 2, &["--max-record-bytes", &limit]);
        // Slow, so that as much is read ahead as may be.
        let recorder = world.recorder().with("sleep", 0.5);
        let keys = world.aws.hash_keys("stream");
        let ids: Vec<String> = (0..12).map(|n| format!("large-{n}")).collect();
        for (n, id) in ids.iter().enumerate() {
            let mut data = format!("{id}|").into_bytes();
            data.resize(TEN_MEBIBYTES - id.len(), b'x');
            world.aws.put_bytes("stream", id, keys[n % 2], &data);
        }
        let properties = if fan_out {
            world.fan_out(&recorder, 10_000)
        } else {
            world.properties(&recorder, 10_000)
        };
        let mut daemon = world.start(&properties);
        let ledger = wait_processed(&recorder, &ids, seconds(240));
        let peak = daemon.peak_kib() / 1024;
        println!("FIGURE: peak memory with records of 10 MiB ({name}): {peak} MiB");
        assert!(peak < LARGE_PEAK_MIB, "{name}: {peak} MiB");
        assert_eq!(daemon.exited(), None);
        ledger.assert_sound();
        ledger.assert_no_duplicates();
        daemon.stop_gracefully();
    }
}
