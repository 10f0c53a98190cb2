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
mod tests;
