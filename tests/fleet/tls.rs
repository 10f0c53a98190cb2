//! HTTP/2 over TLS, as at AWS: certificates, and flow control by the child's pace.

use super::support::{Daemon, until};
use super::tls_front::TlsFront;
use super::world::{World, seconds, wait_processed};

/// Bytes of a record; one of them fills an event of a subscription.
const RECORD: usize = 800_000;
/// The same in base64, with what stands around it.
const ON_THE_WIRE: u64 = 1_100_000;
/// What the connection takes in although nobody reads it: the window of a stream, and what lies in
/// buffers on the way.
const UNREAD: u64 = 4 << 20;

/// The child takes a second for each event and the stream has them all ready. The service must stop
/// sending, the subscription must stay, and nothing may pile up.
#[test]
fn a_slow_child_stalls_the_stream() {
    const RECORDS: usize = 30;
    let world = World::new("tls-fan-out", 1);
    let front = TlsFront::of(&world.sandbox, world.services.kinesis_endpoint());
    let ids: Vec<String> = world
        .aws
        .put_sized("stream", "large", 0, RECORDS, RECORD)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let recorder = world.recorder().with("sleep", 1);
    let ahead = 2;
    let properties = world
        .fan_out(&recorder, 10_000)
        .set("kinesisEndpoint", front.endpoint())
        .set("maxPendingProcessRecordsInput", ahead)
        .environment("AWS_CA_BUNDLE", &front.certificate().to_string_lossy());
    let mut daemon = Daemon::start(
        &world.sandbox,
        &properties,
        &["--log", "info,kcl_daemon::fetch=debug"],
    );
    let mut most = 0;
    let mut done = 0;
    until("all records are processed", seconds(180), || {
        // In this order: what is answered meanwhile is not counted.
        let answered = front.answered();
        done = recorder.ledger().of("done").count();
        let allowed = (done as u64 + 1 + ahead + 1) * ON_THE_WIRE + UNREAD;
        assert!(
            answered <= allowed,
            "{answered} bytes came in, while the child has done {done} batches"
        );
        most = most.max(answered.saturating_sub(done as u64 * ON_THE_WIRE));
        done >= RECORDS
    });
    println!("FIGURE: bytes ahead of a slow child, fan-out over TLS: {most}");
    let ledger = wait_processed(&recorder, &ids, seconds(10));
    let peak = daemon.peak_kib() / 1024;
    println!("FIGURE: peak memory of that daemon: {peak} MiB");
    assert!(peak < 100, "{peak} MiB");
    let log = daemon.log();
    assert_eq!(log.matches("subscribed at").count(), 1, "{log}");
    let protocols = front.protocols();
    assert!(
        protocols.iter().all(|spoken| spoken == "h2"),
        "{protocols:?}"
    );
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
}

/// A certificate that nobody vouches for is refused, and the message names what to set.
#[test]
fn a_certificate_that_is_not_trusted() {
    let world = World::new("tls-trust", 1);
    let front = TlsFront::of(&world.sandbox, world.services.kinesis_endpoint());
    let properties = world
        .properties(&world.recorder(), 10_000)
        .set("kinesisEndpoint", front.endpoint());
    let daemon = world.start(&properties);
    let line = daemon.wait_log("AWS_CA_BUNDLE", seconds(30));
    assert!(line.contains("certificate"), "{line}");
    assert_eq!(front.answered(), 0);
}
