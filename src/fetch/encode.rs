//! One page of records → the line for the child: de-aggregated, filtered, encoded once.

use multilang_protocol::{BatchEncoder, Data, EncodedBatch, RecordRef};

use crate::core::aggregate::{Deaggregated, RangeFilter, deaggregate, looks_aggregated};
use crate::core::hash_range::HashRange;
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::stream::Record;
use crate::fetch::budget::{Place, Share};

/// A batch on its way to the child.
#[derive(Debug)]
pub struct Batch {
    /// The line.
    pub encoded: EncodedBatch,
    /// The largest record in it; `None` for a batch without records.
    pub up_to: Option<ExtendedSequenceNumber>,
    /// Payload bytes.
    pub bytes: usize,
    /// How far behind the tip it ends, milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// Its place in what is fetched ahead; dropped when the child gets the batch.
    pub(super) place: Option<Place>,
    /// Its part of the byte budget of all shards; dropped with the batch.
    pub(super) _share: Share,
}

impl Batch {
    /// Gives its place to the next page: the child gets the batch now.
    pub fn leave_queue(&mut self) {
        self.place = None;
    }
}

/// How records are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeSettings {
    /// The shard's hash keys; user records outside were meant for another shard (`retrieval.md` C.4).
    pub hash_range: HashRange,
    /// What happens to aggregates with such records.
    pub filter: RangeFilter,
}

/// A page, encoded.
#[derive(Debug)]
pub struct Encoded {
    /// The line.
    pub line: EncodedBatch,
    /// The largest record in it.
    pub up_to: Option<ExtendedSequenceNumber>,
    /// Payload bytes of what is delivered.
    pub bytes: usize,
    /// User records that lay outside the shard's range.
    pub outside_range: usize,
    /// User records that could not be read, and what is wrong with the first.
    pub malformed: usize,
    /// What is wrong with the first malformed one.
    pub first_malformed: Option<String>,
}

/// Encodes a page for a child whose shard is checkpointed up to `checkpoint`: records up to there are
/// left out (`retrieval.md` D.3).
#[must_use]
pub fn encode(
    records: &[Record],
    behind: Option<i64>,
    settings: EncodeSettings,
    checkpoint: &ExtendedSequenceNumber,
) -> Encoded {
    let payload: usize = records.iter().map(|record| record.data.len()).sum();
    let mut encoder = BatchEncoder::with_buffer(Vec::with_capacity(
        64 + payload.div_ceil(3) * 4 + records.len() * 256,
    ));
    let mut encoded = Page {
        encoder: &mut encoder,
        checkpoint,
        behind_checkpoint: false,
        up_to: None,
        bytes: 0,
    };
    let (mut outside_range, mut malformed, mut first_malformed) = (0, 0, None);
    for record in records {
        if looks_aggregated(&record.data)
            && let Deaggregated::UserRecords { records, dropped } =
                deaggregate(&record.data, settings.hash_range, settings.filter)
        {
            for user in &records {
                encoded.push(
                    record,
                    user.partition_key.as_str(),
                    user.data,
                    user.sub_sequence,
                );
            }
            outside_range += dropped.outside_range;
            malformed += dropped.malformed;
            if first_malformed.is_none() {
                first_malformed = dropped
                    .first_malformed
                    .map(|bad| format!("record {}: {bad}", record.sequence_number));
            }
        } else {
            encoded.push(record, &record.partition_key, &record.data, 0);
        }
    }
    let (up_to, bytes) = (
        encoded.up_to.map(|(record, sub)| {
            ExtendedSequenceNumber::record(record.sequence_number.clone(), sub)
        }),
        encoded.bytes,
    );
    Encoded {
        line: encoder.finish(behind),
        up_to,
        bytes,
        outside_range,
        malformed,
        first_malformed,
    }
}

struct Page<'a> {
    encoder: &'a mut BatchEncoder,
    checkpoint: &'a ExtendedSequenceNumber,
    /// Records ascend within a shard: behind the first one that is kept, all are.
    behind_checkpoint: bool,
    up_to: Option<(&'a Record, u64)>,
    bytes: usize,
}

impl<'a> Page<'a> {
    fn push(&mut self, record: &'a Record, partition_key: &str, data: &[u8], sub_sequence: u64) {
        if !self.behind_checkpoint {
            let here = ExtendedSequenceNumber::record(record.sequence_number.clone(), sub_sequence);
            if here <= *self.checkpoint {
                return;
            }
            self.behind_checkpoint = true;
        }
        self.up_to = Some((record, sub_sequence));
        self.bytes += data.len();
        self.encoder.push(&RecordRef {
            data: Data::Raw(data),
            partition_key,
            sequence_number: record.sequence_number.as_str(),
            arrival_millis: record.arrival_millis,
            sub_sequence_number: sub_sequence,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::aggregate::{Aggregator, NewRecord};
    use crate::core::sequence::SequenceNumber;

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
        let line: serde_json::Value = serde_json::from_slice(encoded.line.bytes()).unwrap();
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
        assert_eq!(encoded.up_to, Some(esn("9", 0)));
        assert_eq!(encoded.bytes, 13);
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
            assert_eq!(encoded.up_to.is_some(), kept > 0);
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
}
