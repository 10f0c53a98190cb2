//! Keys of the start position, polling and enhanced fan-out (§5.5, §5.6).

use super::{AliasKind, Group, Holding, KeySpec, ValueType, alias};
use AliasKind::{FromV1, JavaIgnores};
use Group::{Fanout, Retrieval};
use Holding::{Object, Ours, Primitive, Wrapper};

const POLLING: &str = "pollingConfig";

pub(super) const KEYS: &[KeySpec] = &[
    KeySpec::word("initialPositionInStream", Retrieval, Object, &["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"])
        .default("LATEST")
        .effect("Where shards without a checkpoint start. `AT_TIMESTAMP` needs `initialPositionInStreamExtended`. Shards that have a checkpoint start there.")
        .java("`AT_TIMESTAMP` stops the start."),
    KeySpec::new("initialPositionInStreamExtended", Retrieval, ValueType::Instant, Object)
        .aliases(&[alias("timestampAtInitialPositionInStream", FromV1)])
        .unit("s since 1970, or ISO-8601")
        .since("2.3.7")
        .effect("Start at this instant; beats `initialPositionInStream`.")
        .java("Whole seconds only."),
    KeySpec::word("retrievalMode", Retrieval, Object, &["DEFAULT", "POLLING", "FANOUT"])
        .aliases(&[alias("RetrievalMode", JavaIgnores)])
        .default("DEFAULT")
        .since("2.1")
        .effect("`DEFAULT` polls if any polling key is set and else uses enhanced fan-out, which registers a paid consumer. One line at start says which and why.")
        .java("Java's own hint spells the key `RetrievalMode`, which Java ignores."),
    KeySpec::int("maxRecords", Retrieval, Primitive)
        .bean(POLLING)
        .at_least(1)
        .default("10000")
        .unit("records")
        .effect("Most records of one GetRecords, and of the stream in one batch; at most 10000. Setting it selects polling.")
        .java("Without effect in fan-out."),
    KeySpec::millis("idleTimeBetweenReadsInMillis", Retrieval, Primitive)
        .bean(POLLING)
        .clamped(200, i64::MAX)
        .default("1500")
        .since("1.x; in 2.x effective since 2.5.4")
        .effect("Pause between two reads of a shard; less than 200 becomes 200. Setting it selects polling."),
    KeySpec::millis("millisBehindLatestThresholdForReducedTps", Retrieval, Primitive)
        .bean(POLLING)
        .default("0")
        .since("3.1.1")
        .effect("Read less often while a shard is no more than this behind; 0 is off. Setting it selects polling."),
    KeySpec::int("retryGetRecordsInSeconds", Retrieval, Wrapper)
        .bean(POLLING)
        .unit("s")
        .no_effect("the strategy that used it is gone; its presence selects polling")
        .effect("Once: time-out of a GetRecords call."),
    KeySpec::int("maxGetRecordsThreadPool", Retrieval, Wrapper)
        .bean(POLLING)
        .unit("threads")
        .no_effect("the strategy that used it is gone; its presence selects polling")
        .effect("Once: threads of GetRecords calls."),
    KeySpec::int("maxPendingProcessRecordsInput", Retrieval, Ours)
        .within(1.0, 1000.0)
        .default("4")
        .unit("batches")
        .since("kcl-daemon (1.x: same name)")
        .effect("Batches read ahead of the child, per shard.")
        .java("4, cannot be set from the file."),
    KeySpec::long("maxCacheByteSize", Retrieval, Ours)
        .at_least(1)
        .default("8388608")
        .unit("bytes")
        .since("kcl-daemon (1.x: same name)")
        .effect("Bytes read ahead of the child, per shard.")
        .java("8 MiB, cannot be set from the file."),
    KeySpec::int("maxRecordsCount", Retrieval, Ours)
        .at_least(1)
        .default("30000")
        .unit("records")
        .since("kcl-daemon (1.x: same name)")
        .effect("Records read ahead of the child, per shard.")
        .java("30000, cannot be set from the file."),
    KeySpec::long("prefetchBudgetBytes", Retrieval, Ours)
        .at_least(1)
        .default("67108864")
        .unit("bytes")
        .since("kcl-daemon")
        .effect("Bytes read ahead by all shards of this process together; a shard may always hold one batch.")
        .java("No such limit: memory grows with the number of shards."),
    KeySpec::millis("kinesisRequestTimeoutMillis", Retrieval, Ours)
        .at_least(1)
        .default("30000")
        .since("kcl-daemon")
        .effect("Time-out of one call to Kinesis, the SDK's retries included.")
        .java("30 s, cannot be set from the file."),
    KeySpec::word("kplRangeFilter", Retrieval, Ours, &["whole", "record", "off"])
        .default("whole")
        .since("kcl-daemon")
        .effect("User records of a KPL aggregate whose hash key is outside the shard: drop the `whole` aggregate, only the `record` concerned, or nothing.")
        .java("Drops the whole aggregate, silently."),
    KeySpec::text("fanoutConfig.consumerArn", Fanout)
        .since("2.1")
        .effect("Use this registered consumer; nothing is registered or described."),
    KeySpec::text("fanoutConfig.consumerName", Fanout)
        .absent("`applicationName`")
        .since("2.1")
        .effect("Name of the consumer to describe or register.")
        .java("An empty value is passed on, and the registration fails."),
    KeySpec::int("fanoutConfig.maxDescribeStreamSummaryRetries", Fanout, Primitive)
        .default("10")
        .since("2.1")
        .effect("Tries of DescribeStreamSummary when throttled."),
    KeySpec::int("fanoutConfig.maxDescribeStreamConsumerRetries", Fanout, Primitive)
        .default("10")
        .since("2.1")
        .effect("Tries of DescribeStreamConsumer when throttled."),
    KeySpec::int("fanoutConfig.registerStreamConsumerRetries", Fanout, Primitive)
        .default("10")
        .since("2.1")
        .effect("Tries of RegisterStreamConsumer when throttled."),
    KeySpec::millis("fanoutConfig.retryBackoffMillis", Fanout, Primitive)
        .default("1000")
        .since("2.1")
        .effect("Pause between those tries."),
];
