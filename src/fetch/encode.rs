//! One page of records → the line for the child: de-aggregated, filtered, encoded once.

use multilang_protocol::{BatchEncoder, Data, EncodedBatch, RecordRef};

use crate::core::aggregate::{
    Deaggregated, RangeFilter, base64_looks_aggregated, deaggregate, looks_aggregated,
};
use crate::core::hash_range::HashRange;
use crate::core::sequence::{Digits, ExtendedSequenceNumber, SequenceNumber};
use crate::core::stream::RecordView;
use crate::fetch::budget::{Place, Share};
use crate::fetch::buffers::{Buffers, GiveBack, WORTH_KEEPING};
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
    /// Its lines, in order; one at least.
    pub lines: Vec<Line>,
    /// Its records.
    pub records: usize,
    /// Their payload bytes.
    pub bytes: usize,
    /// The first record.
    pub first: Option<SequenceNumber>,
    /// The last record.
    pub last: Option<SequenceNumber>,
    /// User records that lay outside the shard's range.
    pub outside_range: usize,
    /// User records that could not be read.
    pub malformed: usize,
    /// What is wrong with the first malformed one.
    pub first_malformed: Option<String>,
}

/// One line and what it holds.
#[derive(Debug)]
pub struct Line {
    /// The line.
    pub line: EncodedBatch,
    /// The largest record in it.
    pub up_to: Option<ExtendedSequenceNumber>,
    /// Payload bytes of what is delivered.
    pub bytes: usize,
    /// Records of the page that it was made of.
    pub page_records: usize,
    /// Their payload bytes.
    pub page_bytes: usize,
}

/// Encodes a page for a child, record by record as the page comes in. Records up to the checkpoint are
/// left out (`retrieval.md` D.3).
#[derive(Debug)]
pub struct PageEncoder<'a> {
    settings: EncodeSettings,
    checkpoint: &'a ExtendedSequenceNumber,
    /// Records of the page in one line.
    most: usize,
    /// Lines that are full, each with the digits of its last record.
    full: Vec<(Growing, String)>,
    line: Growing,
    /// Records ascend within a shard: behind the first one that is kept, all are.
    behind_checkpoint: bool,
    first: Option<SequenceNumber>,
    /// The digits of the last record.
    last: String,
    outside_range: usize,
    malformed: usize,
    first_malformed: Option<String>,
    /// The aggregate that is being taken apart.
    aggregate: Vec<u8>,
    /// Where larger buffers come from.
    buffers: Option<&'a Buffers>,
}

/// A line that is not full yet.
#[derive(Debug)]
struct Growing {
    encoder: BatchEncoder,
    page_records: usize,
    page_bytes: usize,
    bytes: usize,
    up_to: UpTo,
}

/// The largest record in a line.
#[derive(Debug)]
enum UpTo {
    Nothing,
    /// The last record of the page, up to this user record.
    Last(u64),
    /// One before it, as nothing of the last is delivered.
    Earlier(ExtendedSequenceNumber),
}

impl Growing {
    fn new(buffer: Vec<u8>) -> Self {
        Self {
            encoder: BatchEncoder::with_buffer(buffer),
            page_records: 0,
            page_bytes: 0,
            bytes: 0,
            up_to: UpTo::Nothing,
        }
    }

    /// `last` are the digits of the last record.
    fn finish(self, last: &str, behind: Option<i64>) -> Line {
        Line {
            up_to: match self.up_to {
                UpTo::Nothing => None,
                UpTo::Last(sub) => number(last).map(|n| ExtendedSequenceNumber::record(n, sub)),
                UpTo::Earlier(number) => Some(number),
            },
            line: self.encoder.finish(behind),
            bytes: self.bytes,
            page_records: self.page_records,
            page_bytes: self.page_bytes,
        }
    }
}

fn number(digits: &str) -> Option<SequenceNumber> {
    Digits::parse(digits).ok().map(SequenceNumber::from)
}

impl<'a> PageEncoder<'a> {
    /// For a child whose shard is checkpointed up to `checkpoint`. The line is made in `buffer`; behind
    /// `most` records of the page another one is begun.
    #[must_use]
    pub fn new(
        buffer: Vec<u8>,
        settings: EncodeSettings,
        most: usize,
        checkpoint: &'a ExtendedSequenceNumber,
    ) -> Self {
        Self {
            settings,
            checkpoint,
            most: most.max(1),
            full: Vec::new(),
            line: Growing::new(buffer),
            behind_checkpoint: false,
            first: None,
            last: String::new(),
            outside_range: 0,
            malformed: 0,
            first_malformed: None,
            aggregate: Vec::new(),
            buffers: None,
        }
    }

    /// Takes another buffer when it turns out how long the page is. A buffer that grows is copied, and for a
    /// moment there are two.
    #[must_use]
    pub const fn with_buffers(mut self, buffers: &'a Buffers) -> Self {
        self.buffers = Some(buffers);
        self
    }

    /// The page is complete, and so far behind the tip.
    #[must_use]
    pub fn finish(self, behind: Option<i64>) -> Encoded {
        let last = self.line.finish(&self.last, behind);
        let mut lines: Vec<Line> = self
            .full
            .into_iter()
            .map(|(line, last)| line.finish(&last, behind))
            .collect();
        lines.push(last);
        Encoded {
            records: lines.iter().map(|line| line.page_records).sum(),
            bytes: lines.iter().map(|line| line.page_bytes).sum(),
            lines,
            last: number(&self.last),
            first: self.first,
            outside_range: self.outside_range,
            malformed: self.malformed,
            first_malformed: self.first_malformed,
        }
    }

    /// Delivers what is to be delivered of a record; gives the last sub-sequence number of that.
    fn deliver(&mut self, record: &RecordView<'_>) -> Option<u64> {
        let maybe_aggregate = match record.data {
            Data::Raw(data) => looks_aggregated(data),
            Data::Base64(text) => base64_looks_aggregated(text.as_bytes()),
        };
        if maybe_aggregate {
            let mut aggregate = std::mem::take(&mut self.aggregate);
            let delivered = self.user_records(record, &mut aggregate);
            self.aggregate = aggregate;
            if let Some(last) = delivered {
                return last;
            }
        }
        self.push(record, record.partition_key, record.data, 0)
            .then_some(0)
    }

    /// Delivers an aggregate's records; `None` when the record is no aggregate. `bytes` is for its data.
    fn user_records(
        &mut self,
        record: &RecordView<'_>,
        bytes: &mut Vec<u8>,
    ) -> Option<Option<u64>> {
        let data = match record.data {
            Data::Raw(data) => data,
            Data::Base64(text) => {
                text.decode_into(bytes);
                bytes
            }
        };
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
        self.line.bytes += data.payload_len();
        self.line.encoder.push(&RecordRef {
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
        if self.first.is_some() {
            let line = std::mem::replace(&mut self.line, Growing::new(Vec::new()));
            let buffer = line.encoder.into_buffer();
            let buffers = self.buffers;
            *self = Self::new(buffer, self.settings, self.most, self.checkpoint);
            self.buffers = buffers;
        }
    }

    fn expect(&mut self, bytes: usize) {
        // More stands around a record in the line than in the answer; it shows with small records.
        let wanted = bytes + bytes / 4;
        let has_room = self.line.encoder.capacity() >= wanted;
        if let Some(buffers) = self.buffers
            && self.first.is_none()
            && wanted >= WORTH_KEEPING
            && !has_room
        {
            let line = Growing::new(buffers.take(wanted));
            let small = std::mem::replace(&mut self.line, line);
            buffers.give(small.encoder.into_buffer());
        }
    }

    fn record(&mut self, record: RecordView<'_>) {
        if self.line.page_records == self.most {
            let size = self.line.encoder.size();
            let next = Growing::new(Vec::with_capacity(size));
            let full = std::mem::replace(&mut self.line, next);
            self.full.push((full, self.last.clone()));
        }
        self.line.page_records += 1;
        self.line.page_bytes += record.data.payload_len();
        if self.first.is_none() {
            self.first = Some(record.sequence_number.into());
        }
        match self.deliver(&record) {
            Some(sub) => self.line.up_to = UpTo::Last(sub),
            None => {
                if let UpTo::Last(sub) = self.line.up_to
                    && let Some(before) = number(&self.last)
                {
                    self.line.up_to = UpTo::Earlier(ExtendedSequenceNumber::record(before, sub));
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
        let line: serde_json::Value =
            serde_json::from_slice(encoded.lines[0].line.bytes()).unwrap();
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
}
