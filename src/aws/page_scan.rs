//! The answer to GetRecords, or an event of SubscribeToShard, read while it comes in
//! (`retrieval.md` G).
//!
//! One forward scan over each piece of the body as the connection gave it: payloads stay base64,
//! nothing is built per record, and only a record that lies across two pieces is copied together. What
//! comes out is what the SDK's deserialiser makes of the same bytes, or [`Strange`]: whatever this
//! scanner does not read in exactly one way is left to the SDK. So it has no idea of its own about
//! broken JSON, doubled members or exotic numbers.

use std::mem;

use aws_sdk_kinesis::types;
use memchr::memchr;
use multilang_protocol::{Base64, Data};
use serde::Deserialize;

use crate::aws::cursor::{Cursor, Next, Resume, Stop, Text};
use crate::aws::kinesis::{from_child, to_iterator};
use crate::core::sequence::Digits;
use crate::core::stream::RecordView;
use crate::ports::{PageEnd, RecordSink};

/// Members of the answer, one bit each: none may come twice.
mod member {
    pub const RECORDS: u8 = 1;
    pub const NEXT: u8 = 2;
    pub const BEHIND: u8 = 4;
    pub const CHILDREN: u8 = 8;
    pub const CONTINUATION: u8 = 16;
}

/// The answer is not of the plain kind that is read here; why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Strange(&'static str);

impl Strange {
    /// The SDK has read it already, and it makes no sense.
    pub(super) const UNUSABLE: Self = Self("it makes no sense");
}

/// Reads one answer.
#[derive(Debug, Default)]
pub struct PageScanner {
    place: Place,
    members: u8,
    /// The beginning of an item whose end has not come yet.
    carry: Vec<u8>,
    /// How far its last string has been looked through.
    resume: Resume,
    rest: Rest,
}

/// All but the records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Of GetRecords. An event has no iterator.
    pub end: PageEnd,
    /// `ContinuationSequenceNumber` of an event, as it stands there.
    pub continuation: Option<String>,
}

/// Whether this is an event that a scanner reads to its end.
pub(super) fn is_plain(json: &[u8]) -> bool {
    scan(json, &mut Nobody).is_ok()
}

/// Reads an event, or an answer that is here as a whole.
///
/// # Errors
/// [`Strange`]; what the sink has got does not count then.
pub(super) fn scan(json: &[u8], sink: &mut dyn RecordSink) -> Result<Rest, Strange> {
    let mut scanner = PageScanner::default();
    sink.restart();
    sink.expect(json.len());
    scanner.feed(json, sink)?;
    scanner.finish()
}

/// Wants no records.
struct Nobody;

impl RecordSink for Nobody {
    fn restart(&mut self) {}

    fn record(&mut self, _: RecordView<'_>) {}
}

/// Where in the answer the next item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before its opening brace.
    #[default]
    Start,
    /// Among its members.
    Members { first: bool },
    /// Among the records.
    Records { first: bool },
    /// Behind its closing brace.
    End,
}

impl PageScanner {
    /// Reads a piece of the answer and gives its records to `sink`.
    ///
    /// # Errors
    /// [`Strange`]; what the sink has got does not count then.
    pub fn feed(&mut self, piece: &[u8], sink: &mut dyn RecordSink) -> Result<(), Strange> {
        let mut rest = piece;
        // An item that began in an earlier piece probably ends with the next brace. One that does not
        // has a brace in a string; then it gets more and more, so that few are tried.
        let mut at_least = 0;
        while !self.carry.is_empty() && !rest.is_empty() {
            let skipped = usize::min(at_least, rest.len());
            let (before, behind) = rest.split_at(skipped);
            let more = memchr(b'}', behind).map_or(rest.len(), |brace| before.len() + brace + 1);
            let (more, left) = rest.split_at(more);
            rest = left;
            at_least = usize::max(64, at_least * 2);

            let mut carry = mem::take(&mut self.carry);
            carry.extend_from_slice(more);
            let used = self.items(&carry, sink)?;
            carry.drain(..used);
            self.carry = carry;
        }
        if !rest.is_empty() {
            let used = self.items(rest, sink)?;
            self.carry
                .extend_from_slice(rest.get(used..).unwrap_or_default());
        }
        Ok(())
    }

    /// The answer is complete.
    ///
    /// # Errors
    /// [`Strange`], when it is not.
    pub fn finish(self) -> Result<Rest, Strange> {
        if self.place == Place::End && self.carry.is_empty() {
            Ok(self.rest)
        } else {
            Err(Strange("it ends early"))
        }
    }

    /// Reads all complete items; says how many bytes they are.
    fn items(&mut self, input: &[u8], sink: &mut dyn RecordSink) -> Result<usize, Strange> {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let mut cursor = Cursor::new(rest, self.resume);
            match self.item(&mut cursor, sink) {
                Ok(()) => {
                    self.resume = Resume::default();
                    used += cursor.used();
                }
                Err(Stop::NeedMore) => {
                    self.resume = cursor.resume();
                    break;
                }
                Err(Stop::Strange(what)) => return Err(Strange(what)),
            }
        }
        Ok(used)
    }

    /// Reads one item: a brace or bracket of the answer itself, one of its members, or a record.
    fn item(&mut self, cursor: &mut Cursor<'_>, sink: &mut dyn RecordSink) -> Result<(), Stop> {
        match self.place {
            Place::Start => {
                cursor.expect(b'{')?;
                self.place = Place::Members { first: true };
            }
            Place::Members { first } => match cursor.next_in(first, b'}')? {
                Next::Close => self.place = Place::End,
                Next::Element => self.place = self.member(cursor)?,
            },
            Place::Records { first } => match cursor.next_in(first, b']')? {
                Next::Close => self.place = Place::Members { first: false },
                Next::Element => {
                    record(cursor, sink)?;
                    self.place = Place::Records { first: false };
                }
            },
            Place::End => {
                if !cursor.is_at_end() {
                    return Err(Stop::Strange("something follows it"));
                }
            }
        }
        Ok(())
    }

    fn member(&mut self, cursor: &mut Cursor<'_>) -> Result<Place, Stop> {
        let name = cursor.name()?;
        let member = match name {
            b"Records" => member::RECORDS,
            b"NextShardIterator" => member::NEXT,
            b"MillisBehindLatest" => member::BEHIND,
            b"ChildShards" => member::CHILDREN,
            b"ContinuationSequenceNumber" => member::CONTINUATION,
            _ => 0,
        };
        if self.members & member != 0 {
            return Err(Stop::Strange("a member comes twice"));
        }
        let mut place = Place::Members { first: false };
        if cursor.null()? {
            self.members |= member;
            return Ok(place);
        }
        match member {
            member::RECORDS => {
                cursor.expect(b'[')?;
                place = Place::Records { first: true };
            }
            member::NEXT => {
                let text = cursor.text()?;
                self.rest.end.next = to_iterator(Some(text.get()?.to_owned()));
            }
            member::CONTINUATION => {
                self.rest.continuation = Some(cursor.text()?.get()?.to_owned());
            }
            member::BEHIND => self.rest.end.millis_behind_latest = Some(cursor.integer()?),
            member::CHILDREN => {
                let children: Vec<WireChild> = cursor.value()?;
                self.rest.end.children = children
                    .into_iter()
                    .map(|child| child.build().and_then(|child| from_child(child).ok()))
                    .collect::<Option<_>>()
                    .ok_or(Stop::Strange("a child shard lacks something"))?;
            }
            _ => cursor.ignore()?,
        }
        self.members |= member;
        Ok(place)
    }
}

/// Reads one record and gives it to the sink.
fn record(cursor: &mut Cursor<'_>, sink: &mut dyn RecordSink) -> Result<(), Stop> {
    const NO_NUMBER: Stop = Stop::Strange("a record has no sequence number");
    let (mut sequence, mut arrival, mut data, mut key) = (None, None, None, None);
    cursor.expect(b'{')?;
    let mut first = true;
    while let Next::Element = cursor.next_in(first, b'}')? {
        first = false;
        let member = record_member(cursor)?;
        if cursor.null()? {
            continue;
        }
        let twice = match member {
            RecordMember::SequenceNumber => sequence.replace(cursor.text()?).is_some(),
            RecordMember::Arrival => arrival.replace(cursor.arrival()?).is_some(),
            RecordMember::Data => data.replace(cursor.text()?).is_some(),
            RecordMember::PartitionKey => key.replace(cursor.text()?).is_some(),
            // Nobody needs it, but the SDK insists on a string.
            RecordMember::EncryptionType => cursor.text()?.get().map(|_| false)?,
            RecordMember::Other => cursor.ignore().map(|()| false)?,
        };
        if twice {
            return Err(Stop::Strange("a member of a record comes twice"));
        }
    }
    let sequence = sequence.ok_or(NO_NUMBER)?;
    let data = data.unwrap_or(Text::EMPTY);
    let key = key.unwrap_or(Text::EMPTY);
    sink.record(RecordView {
        sequence_number: Digits::parse_bytes(sequence.bytes()).ok_or(NO_NUMBER)?,
        partition_key: key.get()?,
        data: Data::Base64(
            Base64::new(data.bytes()).ok_or(Stop::Strange("a record's data is not base64"))?,
        ),
        arrival_millis: arrival.unwrap_or(0),
    });
    Ok(())
}

/// The members of a record.
#[derive(Clone, Copy)]
enum RecordMember {
    SequenceNumber,
    Arrival,
    Data,
    PartitionKey,
    EncryptionType,
    Other,
}

/// The name of a record's member; stands behind its colon afterwards.
fn record_member(cursor: &mut Cursor<'_>) -> Result<RecordMember, Stop> {
    cursor.peek()?;
    // As every service writes them; with white space before the colon they are found below.
    if cursor.skip(br#""Data":"#) {
        return Ok(RecordMember::Data);
    }
    if cursor.skip(br#""PartitionKey":"#) {
        return Ok(RecordMember::PartitionKey);
    }
    if cursor.skip(br#""SequenceNumber":"#) {
        return Ok(RecordMember::SequenceNumber);
    }
    if cursor.skip(br#""ApproximateArrivalTimestamp":"#) {
        return Ok(RecordMember::Arrival);
    }
    Ok(match cursor.name()? {
        b"Data" => RecordMember::Data,
        b"PartitionKey" => RecordMember::PartitionKey,
        b"SequenceNumber" => RecordMember::SequenceNumber,
        b"ApproximateArrivalTimestamp" => RecordMember::Arrival,
        b"EncryptionType" => RecordMember::EncryptionType,
        _ => RecordMember::Other,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireChild {
    shard_id: String,
    parent_shards: Vec<String>,
    hash_key_range: WireRange,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

impl WireChild {
    fn build(self) -> Option<types::ChildShard> {
        let range = types::HashKeyRange::builder()
            .starting_hash_key(self.hash_key_range.starting_hash_key)
            .ending_hash_key(self.hash_key_range.ending_hash_key)
            .build();
        types::ChildShard::builder()
            .shard_id(self.shard_id)
            .set_parent_shards(Some(self.parent_shards))
            .hash_key_range(range.ok()?)
            .build()
            .ok()
    }
}
