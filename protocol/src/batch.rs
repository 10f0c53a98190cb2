//! `processRecords`, encoded once: records are appended to one growing buffer, so a batch costs no
//! allocation per record, and the finished line can be written again to a restarted child.

use std::fmt;
use std::sync::Arc;

use crate::json::{push_integer, push_optional_integer, push_string};
use crate::payload::{Base64, push_encoded};

const HEAD: &[u8] = br#"{"action":"processRecords","records":["#;

/// A record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Bytes, encoded to base64 on their way into the buffer.
    Raw(&'a [u8]),
    /// Base64 as Kinesis delivered it: copied.
    Base64(Base64<'a>),
}

impl Data<'_> {
    /// Bytes of the payload itself, decoded.
    pub const fn payload_len(&self) -> usize {
        match self {
            Data::Raw(bytes) => bytes.len(),
            Data::Base64(text) => text.decoded_len(),
        }
    }
}

/// One record as the child will see it (protocol.md §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The payload.
    pub data: Data<'a>,
    /// The user record's own key, also inside an aggregate.
    pub partition_key: &'a str,
    /// Decimal digits; the same for all user records of an aggregate.
    pub sequence_number: &'a str,
    /// Approximate arrival, milliseconds since the epoch. Obligatory: two client libraries die of
    /// a null.
    pub arrival_millis: i64,
    /// 0 for plain records, 0…n inside an aggregate.
    pub sub_sequence_number: u64,
}

/// Builds one `processRecords` line.
#[derive(Debug)]
pub struct BatchEncoder {
    buffer: Vec<u8>,
    records: usize,
}

impl Default for BatchEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchEncoder {
    /// Starts a batch in a new buffer.
    pub fn new() -> Self {
        Self::with_buffer(Vec::new())
    }

    /// Starts a batch in a buffer that was used before ([`EncodedBatch::into_buffer`]); its
    /// content is dropped, its capacity kept.
    pub fn with_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(HEAD);
        BatchEncoder { buffer, records: 0 }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &RecordRef<'_>) {
        let out = &mut self.buffer;
        // In few steps: with small records the steps are what it costs.
        out.extend_from_slice(match self.records {
            0 => br#"{"data":""#,
            _ => br#",{"data":""#,
        });
        self.records += 1;
        match record.data {
            Data::Raw(bytes) => push_encoded(out, bytes),
            Data::Base64(text) => out.extend_from_slice(text.as_bytes()),
        }
        out.extend_from_slice(br#"","partitionKey":"#);
        push_string(out, record.partition_key);
        out.extend_from_slice(br#","sequenceNumber":"#);
        push_string(out, record.sequence_number);
        out.extend_from_slice(br#","approximateArrivalTimestamp":"#);
        push_integer(out, record.arrival_millis);
        // The action is obligatory in every object of the line: newer Python clients refuse one without it.
        if record.sub_sequence_number == 0 {
            out.extend_from_slice(br#","subSequenceNumber":0,"action":"record"}"#);
        } else {
            out.extend_from_slice(br#","subSequenceNumber":"#);
            push_integer(out, record.sub_sequence_number);
            out.extend_from_slice(br#","action":"record"}"#);
        }
    }

    /// Records appended so far.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Bytes of the line so far, its head included.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that the line may have before its buffer has to grow.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives up the batch and gives the buffer back.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Closes the line. `millis_behind` is how far the batch is behind the tip of the shard, in
    /// milliseconds, `None` if the service did not say.
    pub fn finish(mut self, millis_behind: Option<i64>) -> EncodedBatch {
        self.buffer.extend_from_slice(br#"],"millisBehindLatest":"#);
        push_optional_integer(&mut self.buffer, millis_behind);
        self.buffer.extend_from_slice(b"}\n");
        EncodedBatch {
            bytes: Arc::new(self.buffer),
            records: self.records,
        }
    }
}

/// A finished `processRecords` line with its `\n`. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedBatch {
    bytes: Arc<Vec<u8>>,
    records: usize,
}

impl EncodedBatch {
    /// The whole line, `\n` included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many records it holds.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Gives the buffer back for [`BatchEncoder::with_buffer`]; `None` while a clone lives.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        Arc::try_unwrap(self.bytes).ok()
    }
}

impl AsRef<[u8]> for EncodedBatch {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for EncodedBatch {
    /// Sizes only: a batch may be 13 MB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedBatch")
            .field("records", &self.records)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(data: Data<'a>, sub_sequence_number: u64) -> RecordRef<'a> {
        RecordRef {
            data,
            partition_key: "cart \"17\" ü",
            sequence_number: "49650",
            arrival_millis: 1_735_689_600_123,
            sub_sequence_number,
        }
    }

    #[test]
    fn the_line_byte_for_byte() {
        let mut encoder = BatchEncoder::new();
        encoder.push(&record(Data::Raw(br#"{"n":1}"#), 0));
        encoder.push(&record(
            Data::Base64(Base64::new(b"eyJuIjoxfQ==").unwrap()),
            7,
        ));
        let batch = encoder.finish(Some(42));
        assert_eq!(batch.records(), 2);
        assert_eq!(
            std::str::from_utf8(batch.bytes()).unwrap(),
            concat!(
                r#"{"action":"processRecords","records":["#,
                r#"{"data":"eyJuIjoxfQ==","partitionKey":"cart \"17\" \u00FC","sequenceNumber":"49650","approximateArrivalTimestamp":1735689600123,"subSequenceNumber":0,"action":"record"},"#,
                r#"{"data":"eyJuIjoxfQ==","partitionKey":"cart \"17\" \u00FC","sequenceNumber":"49650","approximateArrivalTimestamp":1735689600123,"subSequenceNumber":7,"action":"record"}"#,
                r#"],"millisBehindLatest":42}"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_empty_batch_and_an_unknown_delay() {
        let batch = BatchEncoder::new().finish(None);
        assert_eq!(batch.records(), 0);
        assert_eq!(
            batch.bytes(),
            b"{\"action\":\"processRecords\",\"records\":[],\"millisBehindLatest\":null}\n"
        );
    }

    #[test]
    fn the_buffer_comes_back_when_nobody_else_holds_it() {
        let mut encoder = BatchEncoder::new();
        encoder.push(&record(Data::Raw(&[7; 10_000]), 0));
        let batch = encoder.finish(None);
        let copy = batch.clone();
        assert_eq!(batch.into_buffer(), None);
        let buffer = copy.into_buffer().unwrap();
        let (capacity, address) = (buffer.capacity(), buffer.as_ptr());
        let again = BatchEncoder::with_buffer(buffer).finish(Some(0));
        assert_eq!(
            again.bytes(),
            b"{\"action\":\"processRecords\",\"records\":[],\"millisBehindLatest\":0}\n"
        );
        let buffer = again.into_buffer().unwrap();
        assert_eq!((buffer.capacity(), buffer.as_ptr()), (capacity, address));
    }
}
