//! Keys of the daemon itself, the child process and the application's identity (§5.1, §5.2).

use super::{AliasKind, Group, Holding, KeySpec, ValueType, alias};
use Group::{Child, Identity};
use Holding::{Object, Ours, Primitive, Wrapper};

pub(super) const KEYS: &[KeySpec] = &[
    KeySpec::new("executableName", Child, ValueType::CommandLine, Object)
        .required()
        .effect("The command line of the processor: split at spaces only, no quotes, no shell. A name without `/` is searched in `PATH`.")
        .java("An empty value passes the start and fails at the first lease; a wrong name is noticed only then."),
    KeySpec::text("applicationName", Identity)
        .required()
        .effect("Name of the application: lease table (unless `tableName`), CloudWatch namespace, fan-out consumer (unless `fanoutConfig.consumerName`)."),
    KeySpec::text("streamName", Identity)
        .absent("required unless `streamArn` is set")
        .effect("The stream to read.")
        .java("A blank at the end of the line becomes part of the name, and no call finds the stream."),
    KeySpec::text("streamArn", Identity)
        .since("2.5.1")
        .effect("ARN of the stream. Its name overrides `streamName`; the ARN is sent in calls to Kinesis, so that a stream of another account can be read, and its region serves Kinesis when `regionName` is absent.")
        .java("Only the name is used, region and account are discarded."),
    KeySpec::text("tableName", Identity)
        .absent("`applicationName`")
        .effect("Name of the lease table. Metrics and the metadata tables keep using `applicationName`."),
    KeySpec::text("workerId", Identity)
        .aliases(&[alias("workerIdentifier", AliasKind::Equal)])
        .absent("`<host>-<application>`, held by a lock file")
        .effect("Owner of leases. Must differ between processes that run at the same time.")
        .java("Absent: a random UUID, so that after a restart the old leases must expire first. Empty: the empty text is the owner."),
    KeySpec::int("timeoutInSeconds", Child, Wrapper)
        .at_least(1)
        .unit("s")
        .absent("wait for ever")
        .since("1.8.1 / 2.1")
        .effect("Longest wait for each next message of the child; time the daemon spends on a checkpoint does not count.")
        .java("Text that is not a positive number halts the daemon at the first message. On expiry the whole daemon is halted."),
    KeySpec::millis("shutdownGraceMillis", Child, Primitive)
        .absent("30 s in all, of which the last 5 s are for releasing and killing")
        .since("1.8.2 / 2.1")
        .effect("How long a stop by signal may take. 0 set by hand: children are not waited for, leases are still released.")
        .java("Absent or 0: no graceful stop at all."),
    KeySpec::word("childFailurePolicy", Child, Ours, &["restart", "exit"])
        .default("restart")
        .since("kcl-daemon")
        .effect("What a child's failure does: `restart` that child from its last checkpoint (back-off 1 s to 30 s; after ten failures without a checkpoint the daemon stops with 1), or `exit` with code 1 at once.")
        .java("Always ends the whole daemon with code 1."),
    KeySpec::word("multilangProtocol", Child, Ours, &["auto", "p0", "p1", "p2"])
        .default("auto")
        .since("kcl-daemon")
        .effect("Dialect spoken with the child: `p0` up to KCL 1.7.1 (kclpy), `p1` KCL 1.7.2 to 1.15, `p2` KCL 2 and 3.")
        .java("Each KCL speaks its own dialect only."),
    KeySpec::millis("taskBackoffTimeMillis", Child, Primitive)
        .default("500")
        .effect("Pause after a failed task of a shard."),
    KeySpec::millis("logWarningForTaskAfterMillis", Child, Wrapper)
        .absent("no warning")
        .effect("Warn when a task of a shard, or a gap between its data, lasts longer."),
    KeySpec::bool("callProcessRecordsEvenForEmptyRecordList", Child, Primitive)
        .default("false")
        .effect("Also send `processRecords` when a read gave no record."),
    KeySpec::text("processingLanguage", Child)
        .no_effect("Java only prints it; it does not change the user agent or anything else")
        .effect("A label such as `python/3.11`."),
    KeySpec::new("maxActiveThreads", Child, ValueType::Int, Object)
        .any_number()
        .default("0")
        .no_effect("this daemon has no thread pool that could run dry")
        .effect("Size of Java's thread pool; must be a whole number.")
        .java("A pool smaller than 1 + 2 x shards stalls or deadlocks."),
];
