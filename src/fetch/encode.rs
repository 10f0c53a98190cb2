//! One page of records → the line for the child: de-aggregated, filtered, encoded once.

use multilang_protocol::{BatchEncoder, Data, EncodedBatch, RecordRef};

use crate::core::aggregate::{
    Deaggregated, RangeFilter, base64_looks_aggregated, deaggregate, looks_aggregated,
};
use crate::core::hash_range::HashRange;
use crate::core::sequence::{Digits, ExtendedSequenceNumber, SequenceNumber};
use crate::core::stream::RecordView;
use crate::fetch::budget::{Place, Share};
use crate::fetch::buffers::GiveBack;
use crate::ports::RecordSink;

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
    /// Behind `encoded`, so that this holds the line as the last.
    pub(super) _buffer: GiveBack,
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
    /// What the page itself was.
    pub page: PageFacts,
    /// User records that lay outside the shard's range.
    pub outside_range: usize,
    /// User records that could not be read, and what is wrong with the first.
    pub malformed: usize,
    /// What is wrong with the first malformed one.
    pub first_malformed: Option<String>,
}

/// A page before anything was taken apart or left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PageFacts {
    /// Its records.
    pub records: usize,
    /// Their payload bytes.
    pub bytes: usize,
    /// The first record.
    pub first: Option<SequenceNumber>,
    /// The last record.
    pub last: Option<SequenceNumber>,
}

/// Encodes a page for a child, record by record as the page comes in. Records up to the checkpoint are
/// left out (`retrieval.md` D.3).
#[derive(Debug)]
pub struct PageEncoder<'a> {
    settings: EncodeSettings,
    checkpoint: &'a ExtendedSequenceNumber,
    encoder: BatchEncoder,
    /// Records ascend within a shard: behind the first one that is kept, all are.
    behind_checkpoint: bool,
    records: usize,
    page_bytes: usize,
    bytes: usize,
    first: Option<SequenceNumber>,
    /// The digits of the last record of the page.
    last: String,
    up_to: UpTo,
    outside_range: usize,
    malformed: usize,
    first_malformed: Option<String>,
    /// The aggregate that is being taken apart.
    aggregate: Vec<u8>,
}

/// The largest record in the line.
#[derive(Debug)]
enum UpTo {
    Nothing,
    /// The last record of the page, up to this user record.
    Last(u64),
    /// One before it, as nothing of the last is delivered.
    Earlier(ExtendedSequenceNumber),
}

impl<'a> PageEncoder<'a> {
    /// For a child whose shard is checkpointed up to `checkpoint`. The line is made in `buffer`.
    #[must_use]
    pub fn new(
        buffer: Vec<u8>,
        settings: EncodeSettings,
        checkpoint: &'a ExtendedSequenceNumber,
    ) -> Self {
        Self {
            settings,
            checkpoint,
            encoder: BatchEncoder::with_buffer(buffer),
            behind_checkpoint: false,
            records: 0,
            page_bytes: 0,
            bytes: 0,
            first: None,
            last: String::new(),
            up_to: UpTo::Nothing,
            outside_range: 0,
            malformed: 0,
            first_malformed: None,
            aggregate: Vec::new(),
        }
    }

    /// The page is complete, and so far behind the tip.
    #[must_use]
    pub fn finish(self, behind: Option<i64>) -> Encoded {
        let last = || Digits::parse(&self.last).ok().map(SequenceNumber::from);
        Encoded {
            up_to: match self.up_to {
                UpTo::Nothing => None,
                UpTo::Last(sub) => last().map(|last| ExtendedSequenceNumber::record(last, sub)),
                UpTo::Earlier(number) => Some(number),
            },
            page: PageFacts {
                records: self.records,
                bytes: self.page_bytes,
                last: last(),
                first: self.first,
            },
            line: self.encoder.finish(behind),
            bytes: self.bytes,
            outside_range: self.outside_range,
            malformed: self.malformed,
            first_malformed: self.first_malformed,
        }
    }

    /// Delivers what is to be delivered of a record; gives the last sub-sequence number of that.
    fn deliver(&mut self, record: &RecordView<'_>) -> Option<u64> {
        let mut aggregate = std::mem::take(&mut self.aggregate);
        let sub = match self.user_records(record, &mut aggregate) {
            Some(sub) => sub,
            None => self
                .push(record, record.partition_key, record.data, 0)
                .then_some(0),
        };
        self.aggregate = aggregate;
        sub
    }

    /// Delivers an aggregate's records; `None` when the record is no aggregate.
    fn user_records(
        &mut self,
        record: &RecordView<'_>,
        bytes: &mut Vec<u8>,
    ) -> Option<Option<u64>> {
        let data = match record.data {
            Data::Raw(data) => data,
            Data::Base64(text) => {
                if !base64_looks_aggregated(text.as_bytes()) {
                    return None;
                }
                text.decode_into(bytes);
                bytes
            }
        };
        if !looks_aggregated(data) {
            return None;
        }
        let Deaggregated::UserRecords { records, dropped } =
            deaggregate(data, self.settings.hash_range, self.settings.filter)
        else {
            return None;
        };
        let mut last = None;
        for user in &records {
            let (key, data) = (user.partition_key.as_str(), Data::Raw(user.data));
            if self.push(record, key, data, user.sub_sequence) {
                last = Some(user.sub_sequence);
            }
        }
        self.outside_range += dropped.outside_range;
        self.malformed += dropped.malformed;
        if self.first_malformed.is_none() {
            self.first_malformed = dropped
                .first_malformed
                .map(|bad| format!("record {}: {bad}", record.sequence_number.as_str()));
        }
        Some(last)
    }

    /// Appends one record of the line, unless it is checkpointed already.
    fn push(
        &mut self,
        record: &RecordView<'_>,
        partition_key: &str,
        data: Data<'_>,
        sub_sequence: u64,
    ) -> bool {
        if !self.behind_checkpoint {
            let here = ExtendedSequenceNumber::record(record.sequence_number.into(), sub_sequence);
            if here <= *self.checkpoint {
                return false;
            }
            self.behind_checkpoint = true;
        }
        self.bytes += data.payload_len();
        self.encoder.push(&RecordRef {
            data,
            partition_key,
            sequence_number: record.sequence_number.as_str(),
            arrival_millis: record.arrival_millis,
            sub_sequence_number: sub_sequence,
        });
        true
    }
}

impl RecordSink for PageEncoder<'_> {
    fn restart(&mut self) {
        if self.records == 0 {
            return;
        }
        let encoder = std::mem::take(&mut self.encoder);
        let buffer = encoder.into_buffer();
        *self = Self::new(buffer, self.settings, self.checkpoint);
    }

    fn record(&mut self, record: RecordView<'_>) {
        self.records += 1;
        self.page_bytes += record.data.payload_len();
        if self.first.is_none() {
            self.first = Some(record.sequence_number.into());
        }
        match self.deliver(&record) {
            Some(sub) => self.up_to = UpTo::Last(sub),
            None => {
                if let UpTo::Last(sub) = self.up_to
                    && let Ok(before) = Digits::parse(&self.last)
                {
                    let before = ExtendedSequenceNumber::record(before.into(), sub);
                    self.up_to = UpTo::Earlier(before);
                }
            }
        }
        self.last.clear();
        self.last.push_str(record.sequence_number.as_str());
    }
}

#[cfg(test)]
mod tests {
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
        let mut raw = PageEncoder::new(Vec::new(), settings, checkpoint);
        let mut wire = PageEncoder::new(Vec::new(), settings, checkpoint);
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
        assert_eq!(raw.line, wire.line);
        assert_eq!(
            (
                &raw.up_to,
                raw.bytes,
                &raw.page,
                raw.outside_range,
                raw.malformed
            ),
            (
                &wire.up_to,
                wire.bytes,
                &wire.page,
                wire.outside_range,
                wire.malformed
            )
        );
        raw
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
        assert_eq!(encoded.up_to, Some(esn("7", 0)));
        assert_eq!(encoded.page.records, 3);
        assert_eq!(encoded.page.first, SequenceNumber::parse("7").ok());
        assert_eq!(encoded.page.last, SequenceNumber::parse("9").ok());
        let encoded = encode(&page[1..], None, nowhere, &esn("LATEST", 0));
        assert_eq!(encoded.up_to, None);
        let encoded = encode(&[], None, nowhere, &esn("LATEST", 0));
        assert_eq!(encoded.page, PageFacts::default());
    }
}
