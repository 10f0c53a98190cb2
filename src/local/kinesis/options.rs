//! What a caller chooses when it makes a [`super::Kinesis`], and the limits that AWS fixes.

/// Milliseconds of an hour; retention periods are given in hours.
pub(super) const HOUR_MS: i64 = 3_600_000;
/// A shard iterator or page token is good for this long.
pub(super) const TOKEN_LIFE_MS: i64 = 300_000;
/// A subscription of enhanced fan-out ends after this long at AWS.
const SUBSCRIPTION_LIFE_MS: i64 = 300_000;
/// A second subscription of the same consumer to the same shard is refused for this long after a successful one.
pub(super) const RESUBSCRIBE_MS: i64 = 5_000;
/// An idle subscription still gets an (empty) event this often.
pub(super) const HEARTBEAT_MS: i64 = 5_000;
/// Most records in one answer to `GetRecords`.
pub(super) const MAX_RECORDS: usize = 10_000;
/// Most bytes (data and partition keys) in one answer to `GetRecords`.
pub(super) const MAX_ANSWER_BYTES: usize = 10 << 20;
/// Most bytes (data and partition keys) in one event of a subscription.
pub(super) const MAX_EVENT_BYTES: usize = 1 << 20;
/// Most entries of one `PutRecords`.
pub(super) const MAX_ENTRIES: usize = 500;
/// Most characters of a partition key.
pub(super) const MAX_PARTITION_KEY: usize = 256;
/// Retention in hours: default and smallest, largest.
pub(super) const MIN_RETENTION_HOURS: i64 = 24;
pub(super) const MAX_RETENTION_HOURS: i64 = 8_760;
/// Open shards of a new on-demand stream.
pub(super) const ON_DEMAND_SHARDS: usize = 4;
/// Registered consumers of one stream, in all and at the same time in CREATING.
pub(super) const MAX_CONSUMERS: usize = 20;
pub(super) const MAX_CREATING_CONSUMERS: usize = 5;
/// Tags of one stream.
pub(super) const MAX_TAGS: usize = 50;

/// Choices made once, when the engine is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Region named in ARNs.
    pub region: String,
    /// Account number named in ARNs.
    pub account: String,
    /// Makes sequence numbers and tokens of one engine foreign to another; the same seed gives the same answers.
    pub seed: u64,
    /// Whether per-shard throughput limits refuse calls (1,000 records/s and 1 MiB/s in; 5 calls/s and 2 MiB/s out).
    pub enforce_limits: bool,
    /// How long a stream stays CREATING, UPDATING or DELETING, and a consumer CREATING, in milliseconds.
    pub transition_ms: i64,
    /// Most open shards of all provisioned streams together (AWS: 500 in the large regions).
    pub shard_limit: usize,
    /// Whether the answer with the last records of a closed shard is also the one that ends it. AWS documents neither
    /// way, so a reader must bear both; off, one empty answer follows the last records.
    pub last_records_with_end: bool,
    /// Most bytes of data and partition key of one record (AWS: 1 MiB, up to 10 MiB by UpdateMaxRecordSize).
    pub max_record_bytes: usize,
    /// How long a subscription of enhanced fan-out lives, in milliseconds (AWS: five minutes).
    pub subscription_life_ms: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            seed: 0,
            enforce_limits: false,
            transition_ms: 0,
            shard_limit: 500,
            last_records_with_end: false,
            max_record_bytes: 1 << 20,
            subscription_life_ms: SUBSCRIPTION_LIFE_MS,
        }
    }
}
