//! What the world does to a fleet on purpose, so that it can be counted.

macro_rules! mishaps {
    ($($name:ident: $text:literal,)*) => {
        /// Something that goes wrong, or a habit of somebody, at a moment of a trace.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mishap {
            $(#[doc = $text] $name,)*
        }

        impl Mishap {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

mishaps! {
    RequestLost: "a request to the table is lost on its way",
    AnswerLost: "the table carries a request out, the answer is lost",
    RequestLate: "a write arrives at the table long after the caller gave up",
    TableThrottles: "the table throttles",
    TableUnavailable: "the table answers that it cannot",
    TableDown: "the table is down",
    CutOff: "a worker cannot reach the table",
    StaleRead: "an eventually consistent read shows the past",
    TableCreating: "the table is being created",
    IndexAbsent: "the index of leases by owner is looked for and is not there",
    IndexBehind: "the index of leases by owner is behind the table",
    RowDeleted: "a row is deleted by hand",
    OwnerRemoved: "a lease's owner is removed by hand",
    OwnerChanged: "a lease's owner is changed by hand",
    CounterChanged: "a lease's counter is changed by hand",
    HandOffEdited: "a hand-off is begun by hand",
    GarbageRow: "a row that cannot be read appears",
    ForeignRow: "a row of a kind that nobody knows appears",
    StreamThrottles: "the stream throttles",
    StreamFails: "the stream fails",
    StreamHangs: "the stream does not answer",
    StreamDown: "the stream is down",
    IteratorExpired: "an iterator is said to be too old",
    AllIteratorsExpired: "all iterators expire",
    EmptyPage: "a page is empty although there are records",
    NoChildShards: "the end of a shard names no children",
    ListStale: "a list of shards is that of before a reshard",
    ListShort: "a list of shards lacks some",
    ListOpenParent: "a list of shards shows a closed parent as open",
    Split: "a shard is split",
    Merge: "two shards are merged",
    Trimmed: "retention takes records",
    ChildSlow: "a child is slow",
    ChildCrashes: "a child ends before it answers",
    ChildHangs: "a child does not answer",
    ChildNotStarted: "a child cannot be started",
    ChildPoisoned: "a shard's children always crash",
    CheckpointBack: "a child asks for a checkpoint before the last one",
    CheckpointAhead: "a child asks for a checkpoint behind what it was given",
    CheckpointLate: "a child asks for the checkpoint of a batch after a later one",
    CheckpointNever: "a child asks for no checkpoint before the end of the shard",
    LazyAtEnd: "a child answers shardEnded without a checkpoint",
    AsksWhenLost: "a child asks for a checkpoint of a lease that is lost",
    Killed: "a worker is killed",
    KilledBeforeActing: "a worker dies just before an action",
    KilledAfterActing: "a worker dies just after an action",
    Stopped: "a worker's process is stopped for a while",
    Suspended: "a worker's machine is suspended for a while",
    ClockSkewed: "a worker starts whose wall clock is wrong",
    ClockJumps: "a worker's wall clock jumps",
    TwoLeaders: "a worker moves a lease that does not have the leader's lock any more",
    StopGraceful: "a worker is asked to stop",
    StopAtOnce: "a worker is asked to stop at once",
    Rolling: "all workers are replaced one by one",
    JavaTwo: "a model of Java 2.x takes part",
    JavaThree: "a model of Java 3.5 takes part",
}
