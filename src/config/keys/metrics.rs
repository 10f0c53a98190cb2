//! Keys of CloudWatch metrics (§5.13), of managed checkpoints (`tools.md` 8.7) and of the daemon's
//! own switches.

use super::{Group, Holding, KeySpec, ValueType};
use Group::{Daemon, Managed, Metrics};
use Holding::{Object, Ours, Primitive};

const NO_METRICS: &str = "nothing is sent to CloudWatch yet";
const NO_MANAGED: &str = "managed checkpoints are not built yet: the processor must checkpoint";

pub(super) const KEYS: &[KeySpec] = &[
    KeySpec::word("metricsLevel", Metrics, Object, &["NONE", "SUMMARY", "DETAILED"])
        .default("DETAILED")
        .not_yet(NO_METRICS)
        .effect("Which metrics are sent to CloudWatch; `NONE` switches it off."),
    KeySpec::new("metricsEnabledDimensions", Metrics, ValueType::Dimensions, Object)
        .default("ALL")
        .not_yet(NO_METRICS)
        .effect("Dimensions of metrics: `Operation`, `ShardId`, `WorkerIdentifier`, `ALL`. `Operation` is always on.")
        .java("Without `Operation` in the list all operations fall into one metric."),
    KeySpec::millis("metricsBufferTimeMillis", Metrics, Primitive)
        .default("10000")
        .not_yet(NO_METRICS)
        .effect("Longest time between two publications."),
    KeySpec::int("metricsMaxQueueSize", Metrics, Primitive)
        .default("10000")
        .unit("metrics")
        .not_yet(NO_METRICS)
        .effect("Most distinct metrics that wait for publication."),
];

const fn managed(spec: KeySpec) -> KeySpec {
    spec.since("kcl-daemon")
        .not_yet(NO_MANAGED)
        .java("Ignored: one file can serve both.")
}

pub(super) const DAEMON_KEYS: &[KeySpec] = &[
    managed(KeySpec::word("managed.checkpoint", Managed, Ours, &["off", "batch"]))
        .default("off")
        .effect("`batch`: the daemon checkpoints each batch that the child has answered with success."),
    managed(KeySpec::millis("managed.intervalMillis", Managed, Ours))
        .default("2000")
        .effect("Write the newest checkpoint at most so often."),
    managed(KeySpec::long("managed.records", Managed, Ours))
        .default("0")
        .unit("records")
        .effect("Or after so many records; 0 is off."),
    managed(KeySpec::int("managed.retries", Managed, Ours))
        .unit("tries")
        .absent("without limit")
        .effect("Tries of a checkpoint that fails."),
    managed(KeySpec::millis("managed.backoffMillis", Managed, Ours))
        .default("3000")
        .effect("Pause between those tries."),
    managed(KeySpec::int("managed.batchTimeoutSeconds", Managed, Ours))
        .default("0")
        .unit("s")
        .effect("A child that is silent for longer is replaced and gets the batch again; 0 is off."),
    managed(KeySpec::int("managed.batchRetries", Managed, Ours))
        .default("1")
        .unit("tries")
        .effect("How often a failed batch is given again."),
    managed(KeySpec::word("managed.onPoison", Managed, Ours, &["stop", "hold", "bisect", "skip"]))
        .default("stop")
        .effect("A batch that keeps failing: `stop` the daemon, `hold` the shard, `bisect` to the bad record, or `skip`."),
    managed(KeySpec::int("managed.tolerance", Managed, Ours))
        .default("0")
        .unit("records in 10000")
        .effect("Records that `skip` and `bisect` may leave out."),
    managed(KeySpec::text("managed.deadLetterFile", Managed))
        .absent("none")
        .effect("Where records that were left out are written, one JSON object a line."),
    managed(KeySpec::int("managed.startJitterSeconds", Managed, Ours))
        .default("0")
        .unit("s")
        .effect("Spread the start of children over this time."),
    KeySpec::bool("expandEnvironment", Daemon, Ours)
        .default("false")
        .since("kcl-daemon")
        .effect("Replace `${NAME}` and `${NAME:-otherwise}` in the values of the file by environment variables; `$${` stands for `${`.")
        .java("Takes `${NAME}` literally."),
    KeySpec::bool("local", Daemon, Ours)
        .default("false")
        .since("kcl-daemon")
        .effect("Run against the Kinesis and DynamoDB inside this process: no AWS, no credentials (`--local`)."),
    KeySpec::int("localShards", Daemon, Ours)
        .within(1.0, 10_000.0)
        .default("2")
        .unit("shards")
        .since("kcl-daemon")
        .effect("Shards of the stream that `--local` creates (`--local-shards`)."),
    KeySpec::new("localGenerate", Daemon, ValueType::Double, Ours)
        .within(0.0, 1_000_000.0)
        .unit("records/s")
        .absent("none")
        .since("kcl-daemon")
        .effect("Records made up and put by `--local` (`--local-generate`)."),
    KeySpec::text("localInput", Daemon)
        .absent("none")
        .since("kcl-daemon")
        .effect("File whose lines `--local` puts as records, `-` for STDIN (`--local-input`)."),
];
