//! `cargo bench`: what one batch costs on its way, without network, pipe and runtime.
//!
//! Throughput is counted in bytes of base64 payload, so rows of one size can be compared; `memcpy` is the
//! least that any way from the answer to the line can cost.
#![allow(missing_docs)]

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use kcl_daemon::aws::page_scan::PageScanner;
use kcl_daemon::core::aggregate::{Aggregator, NewRecord, RangeFilter, deaggregate};
use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::sequence::{Digits, ExtendedSequenceNumber, Position};
use kcl_daemon::core::stream::RecordView;
use kcl_daemon::fetch::{EncodeSettings, PageEncoder};
use kcl_daemon::ports::RecordSink;
use multilang_protocol::{Base64, Data};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SETTINGS: EncodeSettings = EncodeSettings {
    hash_range: HashRange::FULL,
    filter: RangeFilter::Whole,
};
/// What one read of a connection gives at most (hyper).
const PIECE: usize = 400 * 1024;
/// The shapes of a batch: records, bytes of each.
const SHAPES: [(usize, usize); 3] = [(10_000, 100), (10_000, 1_000), (1_000, 10_000)];

/// Some bytes that look random, always the same.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn sequence(index: usize) -> String {
    format!("496500000000000000000000000000000000000000000000{index:08}")
}

/// An answer to GetRecords as Kinesis writes it.
fn answer(payloads: &[String]) -> Vec<u8> {
    let records: Vec<String> = payloads
        .iter()
        .enumerate()
        .map(|(index, data)| {
            format!(
                r#"{{"SequenceNumber":"{}","ApproximateArrivalTimestamp":1735689600.{:03},"Data":"{data}","PartitionKey":"key-{index}"}}"#,
                sequence(index),
                index % 1000
            )
        })
        .collect();
    format!(
        r#"{{"MillisBehindLatest":0,"NextShardIterator":"{}","Records":[{}]}}"#,
        "A".repeat(200),
        records.join(",")
    )
    .into_bytes()
}

struct Nobody;

impl RecordSink for Nobody {
    fn restart(&mut self) {}

    fn record(&mut self, record: RecordView<'_>) {
        black_box(record);
    }
}

fn scan(answer: &[u8], sink: &mut dyn RecordSink) {
    let mut scanner = PageScanner::default();
    for piece in answer.chunks(PIECE) {
        scanner.feed(piece, sink).expect("an ordinary answer");
    }
    black_box(scanner.finish().expect("a whole answer"));
}

/// Runs a function that makes a line in a buffer which it gets back.
fn reusing(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    checkpoint: &ExtendedSequenceNumber,
    fill: impl Fn(&mut PageEncoder<'_>),
) {
    let mut buffer = Vec::new();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let taken = std::mem::take(&mut buffer);
            let mut encoder = PageEncoder::new(taken, SETTINGS, usize::MAX, checkpoint);
            fill(&mut encoder);
            let mut page = encoder.finish(Some(0));
            let line = page.lines.pop().expect("one line");
            buffer = line.line.into_buffer().expect("nobody else has it");
        });
    });
}

fn batches(criterion: &mut Criterion) {
    let checkpoint = ExtendedSequenceNumber::sentinel(Position::TrimHorizon);
    for (records, size) in SHAPES {
        let payloads: Vec<String> = (0..records)
            .map(|index| STANDARD.encode(noise(size, index)))
            .collect();
        let sequences: Vec<String> = (0..records).map(sequence).collect();
        let answer = answer(&payloads);
        let base64_bytes: usize = payloads.iter().map(String::len).sum();
        let mut group = criterion.benchmark_group(format!("{records}x{size}"));
        group.throughput(Throughput::Bytes(base64_bytes as u64));
        group.sample_size(20);

        let mut copy = vec![0; answer.len()];
        group.bench_function("memcpy of the answer", |bencher| {
            bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&answer)));
        });
        reusing(
            &mut group,
            "encode: records to line",
            &checkpoint,
            |encoder| {
                for (index, (data, sequence)) in payloads.iter().zip(&sequences).enumerate() {
                    let data = Base64::new(data.as_bytes()).expect("base64");
                    encoder.record(RecordView {
                        sequence_number: Digits::parse(sequence).expect("digits"),
                        partition_key: "key-1234",
                        data: Data::Base64(data),
                        arrival_millis: 1_735_689_600_000 + index as i64,
                    });
                }
            },
        );
        group.bench_function("decode: answer to records", |bencher| {
            bencher.iter(|| scan(black_box(&answer), &mut Nobody));
        });
        reusing(&mut group, "answer to line", &checkpoint, |encoder| {
            scan(black_box(&answer), encoder);
        });
        group.finish();
    }
}

fn aggregates(criterion: &mut Criterion) {
    let mut aggregator = Aggregator::new();
    let payload = noise(100, 7);
    for index in 0..250 {
        aggregator.add(&NewRecord {
            partition_key: ["a", "b", "c", "d"][index % 4],
            explicit_hash_key: None,
            data: &payload,
        });
    }
    let aggregate = aggregator.finish();
    let texts = vec![STANDARD.encode(&aggregate); 400];
    let answer = answer(&texts);
    let checkpoint = ExtendedSequenceNumber::sentinel(Position::TrimHorizon);
    let mut group = criterion.benchmark_group("aggregates of 250x100");
    group.throughput(Throughput::Bytes(aggregate.len() as u64));
    group.bench_function("de-aggregate one", |bencher| {
        bencher.iter(|| {
            black_box(deaggregate(
                black_box(&aggregate),
                HashRange::FULL,
                RangeFilter::Whole,
            ))
        });
    });
    let base64_bytes: usize = texts.iter().map(String::len).sum();
    group.throughput(Throughput::Bytes(base64_bytes as u64));
    group.sample_size(20);
    reusing(
        &mut group,
        "answer of 400 to line",
        &checkpoint,
        |encoder| {
            scan(black_box(&answer), encoder);
        },
    );
    group.finish();
}

criterion_group!(benches, batches, aggregates);
criterion_main!(benches);
