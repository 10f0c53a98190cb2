//! Writing records.

use super::*;

#[test]
fn records_go_where_their_hash_says() {
    let mut kinesis = with_stream(2);
    let explicit = |hash| PutEntry {
        explicit_hash_key: Some(hash),
        ..entry("k", b"x")
    };
    let shard_of =
        |kinesis: &mut Kinesis, entry| kinesis.put_record("s", entry, T0).unwrap().shard_id.0;
    assert_eq!(shard_of(&mut kinesis, explicit(0)), 0);
    assert_eq!(shard_of(&mut kinesis, explicit((1 << 127) - 1)), 0);
    assert_eq!(shard_of(&mut kinesis, explicit(1 << 127)), 1);
    assert_eq!(shard_of(&mut kinesis, explicit(MAX_HASH_KEY)), 1);
    for key in ["a", "b", "c", "d", "ü"] {
        let expected = u64::from(hash_of_partition_key(key) >= 1 << 127);
        assert_eq!(shard_of(&mut kinesis, entry(key, b"x")), expected, "{key}");
    }
}

#[test]
fn sequence_numbers_ascend() {
    let mut kinesis = with_stream(1);
    let numbers: Vec<_> = (0..3)
        .map(|_| put(&mut kinesis, "x", T0).sequence_number)
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
}

#[test]
fn what_is_too_large_is_refused_whole() {
    let mut kinesis = with_stream(1);
    let mib = vec![b'x'; 1 << 20];
    let long = "é".repeat(256);
    assert!(
        kinesis
            .put_record("s", entry(&long, &mib[long.len()..]), T0)
            .is_ok()
    );
    assert_eq!(
        kind(kinesis.put_record("s", entry("k", &mib), T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.put_record("s", entry("", b"x"), T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.put_record("s", entry(&"é".repeat(257), b"x"), T0)),
        ErrorKind::Validation
    );
    let before = read(&mut kinesis, 0, Position::TrimHorizon, T0).len();
    let small = entry("k", b"x");
    assert_eq!(
        kind(kinesis.put_records("s", &[], T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.put_records("s", &vec![small; 501], T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.put_records("s", &[small, entry("k", &mib)], T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.put_records("s", &[small, entry("", b"x")], T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.put_records("s", &[entry("k", &mib[1..]); 6], T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.put_records("t", &[small], T0)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        read(&mut kinesis, 0, Position::TrimHorizon, T0).len(),
        before,
        "nothing was written"
    );
    assert!(
        kinesis
            .put_records("s", &vec![small; 500], T0)
            .unwrap()
            .iter()
            .all(Result::is_ok)
    );
    assert!(
        kinesis
            .put_records("s", &[entry("k", &mib[1..]); 5], T0)
            .unwrap()
            .iter()
            .all(Result::is_ok)
    );
}

#[test]
fn writes_beyond_a_shards_rate_are_throttled_one_by_one() {
    let mut kinesis = with_options(
        1,
        Options {
            enforce_limits: true,
            ..Options::default()
        },
    );
    let failed = |kinesis: &mut Kinesis, entries: &[PutEntry<'_>], now| {
        let results = kinesis.put_records("s", entries, now).unwrap();
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(
            errors
                .iter()
                .all(|e| e.kind == ErrorKind::ProvisionedThroughputExceeded)
        );
        errors.len()
    };
    let small = vec![entry("k", b"x"); 400];
    assert_eq!(failed(&mut kinesis, &small, T0), 0);
    assert_eq!(failed(&mut kinesis, &small, T0), 0);
    assert_eq!(failed(&mut kinesis, &small, T0), 200);
    assert_eq!(
        kind(kinesis.put_record("s", entry("k", b"x"), T0)),
        ErrorKind::ProvisionedThroughputExceeded
    );
    assert_eq!(failed(&mut kinesis, &small, T0 + 100), 300);
    let large = vec![b'x'; 300_000];
    assert_eq!(
        failed(&mut kinesis, &[entry("k", &large); 5], T0 + 2_000),
        2
    );
}

#[test]
fn ordered_faults_hit_calls_and_entries() {
    let mut kinesis = with_stream(1);
    kinesis.faults.throttle.insert(Operation::PutRecords, 1);
    kinesis.faults.throttle_entries = 3;
    let two = [entry("k", b"x"); 2];
    assert_eq!(
        kind(kinesis.put_records("s", &two, T0)),
        ErrorKind::ProvisionedThroughputExceeded
    );
    let ok = |kinesis: &mut Kinesis| -> Vec<bool> {
        kinesis
            .put_records("s", &two, T0)
            .unwrap()
            .iter()
            .map(Result::is_ok)
            .collect()
    };
    assert_eq!(ok(&mut kinesis), [false, false]);
    assert_eq!(ok(&mut kinesis), [false, true]);
    assert_eq!(ok(&mut kinesis), [true, true]);
}
