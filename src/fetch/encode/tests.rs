use super::*;
use crate::core::aggregate::{Aggregator, NewRecord};
use crate::core::stream::Record;
use base64::Engine as _;
use multilang_protocol::Base64;

const SETTINGS: EncodeSettings = EncodeSettings {
    hash_range: HashRange::FULL,
    filter: RangeFilter::Whole,
};

fn record(sequence: &str, data: Vec<u8>) -> Record {
    Record {
        sequence_number: SequenceNumber::parse(sequence).unwrap(),
        partition_key: "k".into(),
        data: data.into(),
        arrival_millis: 5,
    }
}

/// Encodes a page that lies in memory, and the same page in base64: the lines are the same.
fn encode(
    records: &[Record],
    behind: Option<i64>,
    settings: EncodeSettings,
    checkpoint: &ExtendedSequenceNumber,
) -> Encoded {
    let mut raw = PageEncoder::new(Vec::new(), settings, 10_000, checkpoint);
    let mut wire = PageEncoder::new(Vec::new(), settings, 10_000, checkpoint);
    // What an answer that broke off left behind.
    wire.record(record("3", b"broken off".to_vec()).view());
    wire.restart();
    for record in records {
        raw.record(record.view());
        let text = base64::engine::general_purpose::STANDARD.encode(&record.data);
        wire.record(RecordView {
            data: Data::Base64(Base64::new(text.as_bytes()).unwrap()),
            ..record.view()
        });
    }
    let (raw, wire) = (raw.finish(behind), wire.finish(behind));
    assert_eq!(raw.lines[0].line, wire.lines[0].line);
    assert_eq!(facts(&raw), facts(&wire));
    raw
}

fn facts(page: &Encoded) -> impl PartialEq + std::fmt::Debug + '_ {
    let line = &page.lines[0];
    (
        (&line.up_to, line.bytes, line.page_records, line.page_bytes),
        (page.records, page.bytes, &page.first, &page.last),
        (page.outside_range, page.malformed, &page.first_malformed),
    )
}

fn aggregate(payloads: &[&str]) -> Vec<u8> {
    let mut aggregator = Aggregator::new();
    for payload in payloads {
        aggregator.add(&NewRecord {
            partition_key: "p",
            explicit_hash_key: None,
            data: payload.as_bytes(),
        });
    }
    aggregator.finish()
}

fn esn(text: &str, sub: u64) -> ExtendedSequenceNumber {
    ExtendedSequenceNumber {
        position: text.parse().unwrap(),
        sub_sequence: sub,
    }
}

fn delivered(encoded: &Encoded) -> Vec<(String, u64)> {
    let line: serde_json::Value = serde_json::from_slice(encoded.lines[0].line.bytes()).unwrap();
    line["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            (
                record["sequenceNumber"].as_str().unwrap().to_owned(),
                record["subSequenceNumber"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn aggregates_become_user_records_with_sub_sequence_numbers() {
    let page = [
        record("7", b"plain".to_vec()),
        record("8", aggregate(&["a", "b", "c"])),
        record("9", b"plain".to_vec()),
    ];
    let encoded = encode(&page, Some(3), SETTINGS, &esn("TRIM_HORIZON", 0));
    let expected =
        [("7", 0), ("8", 0), ("8", 1), ("8", 2), ("9", 0)].map(|(s, n)| (s.to_owned(), n));
    assert_eq!(delivered(&encoded), expected);
    assert_eq!(encoded.lines[0].up_to, Some(esn("9", 0)));
    assert_eq!(encoded.lines[0].bytes, 13);
}

#[test]
fn what_is_checkpointed_is_left_out_inside_an_aggregate_too() {
    let page = [
        record("8", aggregate(&["a", "b", "c"])),
        record("9", vec![]),
    ];
    let cases = [
        (esn("7", 0), 4),
        (esn("8", 0), 3),
        (esn("8", 1), 2),
        (esn("8", 2), 1),
        (esn("9", 0), 0),
    ];
    for (checkpoint, kept) in cases {
        let encoded = encode(&page, None, SETTINGS, &checkpoint);
        assert_eq!(delivered(&encoded).len(), kept, "{checkpoint}");
        assert_eq!(encoded.lines[0].up_to.is_some(), kept > 0);
    }
}

#[test]
fn a_broken_aggregate_is_delivered_raw() {
    let mut broken = aggregate(&["a", "b"]);
    let end = broken.len() - 1;
    broken[end] ^= 1;
    let encoded = encode(&[record("8", broken)], None, SETTINGS, &esn("LATEST", 0));
    assert_eq!(delivered(&encoded), [("8".to_owned(), 0)]);
}

#[test]
fn a_page_that_is_told_to_be_long_gets_its_buffer_at_once() {
    let buffers = Buffers::default();
    let checkpoint = esn("TRIM_HORIZON", 0);
    let page = [record("7", vec![7; 300_000]), record("8", vec![8; 300_000])];
    let encode = |told: Option<usize>| {
        let mut encoder = PageEncoder::new(Vec::new(), SETTINGS, 10_000, &checkpoint);
        encoder = encoder.with_buffers(&buffers);
        if let Some(told) = told {
            encoder.expect(told);
            let has_room = encoder.line.encoder.capacity() >= told;
            assert_eq!(has_room, told == 0 || told >= WORTH_KEEPING, "{told}");
        }
        encoder.record(page[0].view());
        // What comes too late, or says less than there is, changes nothing.
        encoder.expect(2_000_000);
        encoder.record(page[1].view());
        encoder.finish(None).lines.remove(0).line
    };
    let untold = encode(None);
    for told in [0, 1_000, 100_000, 800_400] {
        assert_eq!(encode(Some(told)), untold, "{told}");
    }
}

#[test]
fn records_of_another_shard_are_counted() {
    let nowhere = EncodeSettings {
        hash_range: HashRange { start: 0, end: 0 },
        ..SETTINGS
    };
    let encoded = encode(
        &[record("8", aggregate(&["a", "b"]))],
        None,
        nowhere,
        &esn("LATEST", 0),
    );
    assert_eq!((delivered(&encoded).len(), encoded.outside_range), (0, 2));
}

#[test]
fn the_position_is_that_of_the_last_record_delivered_and_the_page_knows_its_ends() {
    let nowhere = EncodeSettings {
        hash_range: HashRange { start: 0, end: 0 },
        ..SETTINGS
    };
    let page = [
        record("7", b"plain".to_vec()),
        record("8", aggregate(&["a", "b"])),
        record("9", aggregate(&["c"])),
    ];
    let encoded = encode(&page, None, nowhere, &esn("LATEST", 0));
    assert_eq!(encoded.lines[0].up_to, Some(esn("7", 0)));
    assert_eq!(encoded.records, 3);
    assert_eq!(encoded.first, SequenceNumber::parse("7").ok());
    assert_eq!(encoded.last, SequenceNumber::parse("9").ok());
    let encoded = encode(&page[1..], None, nowhere, &esn("LATEST", 0));
    assert_eq!(encoded.lines[0].up_to, None);
    let encoded = encode(&[], None, nowhere, &esn("LATEST", 0));
    assert_eq!(
        (encoded.records, encoded.first, encoded.last),
        (0, None, None)
    );
}

#[test]
fn a_page_of_more_records_than_a_line_may_hold_becomes_several() {
    let page = [
        record("7", b"plain".to_vec()),
        record("8", aggregate(&["a", "b", "c"])),
        record("9", b"plain".to_vec()),
        record("10", b"last".to_vec()),
        record("11", b"!".to_vec()),
    ];
    let checkpoint = esn("7", 0);
    let mut encoder = PageEncoder::new(Vec::new(), SETTINGS, 2, &checkpoint);
    for record in &page {
        encoder.record(record.view());
    }
    let encoded = encoder.finish(Some(9));
    let lines: Vec<_> = encoded
        .lines
        .iter()
        .map(|line| (line.line.records(), line.page_records, line.up_to.clone()))
        .collect();
    let expected = [
        (3, 2, Some(esn("8", 2))),
        (2, 2, Some(esn("10", 0))),
        (1, 1, Some(esn("11", 0))),
    ];
    assert_eq!(lines, expected);
    assert_eq!(encoded.records, 5);
    assert_eq!(encoded.lines[1].bytes, 9);
    for line in &encoded.lines {
        assert!(line.line.bytes().ends_with(b"\"millisBehindLatest\":9}\n"));
    }
}
