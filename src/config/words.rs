//! Settings that are one of a few words.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word in the properties file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// All values; the first stands for a word that is none of them, which the table of
            /// keys lets through nowhere.
            pub(super) const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value of a word of the table.
            pub(super) fn from_word(word: &str) -> Self {
                let known = Self::ALL.iter().copied().find(|value| value.as_str() == word);
                debug_assert!(known.is_some(), "no word '{word}'");
                known.unwrap_or(Self::ALL[0]) // proven: every use of the macro has variants
            }
        }
    };
}

words! {
    /// What a child's failure does.
    ChildFailurePolicy {
        /// Only this child is started again.
        Restart = "restart",
        /// The daemon ends with code 1, as Java.
        Exit = "exit",
    }
}

words! {
    /// The dialect spoken with children (`protocol.md` §14).
    MultilangProtocol {
        /// Found out while talking.
        Auto = "auto",
        /// KCL up to 1.7.1.
        P0 = "p0",
        /// KCL 1.7.2 to 1.15.
        P1 = "p1",
        /// KCL 2 and 3.
        P2 = "p2",
    }
}

words! {
    /// What is dropped of a KPL aggregate that straddles shards (`retrieval.md` C.4).
    KplRangeFilter {
        /// The whole aggregate, as Java.
        Whole = "whole",
        /// Only the user records outside the shard.
        Record = "record",
        /// Nothing.
        Off = "off",
    }
}

words! {
    /// `clientVersionConfig`.
    ClientVersionConfig {
        /// Look at the table and break nobody.
        Auto = "auto",
        /// The 2.x algorithm, nothing foreign in the table.
        CompatibleWith2xPhase1 = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
        /// The 2.x algorithm until every worker can do more.
        CompatibleWith2x = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X",
        /// A leader assigns.
        V3x = "CLIENT_VERSION_CONFIG_3X",
    }
}

words! {
    /// How a leader balances.
    LeaseAssignmentStrategy {
        /// By the workers' load.
        WorkerUtilizationAware = "WORKER_UTILIZATION_AWARE",
        /// By the number of leases.
        LeaseCountBased = "LEASE_COUNT_BASED",
    }
}

words! {
    /// Which metrics are sent.
    MetricsLevel {
        /// None.
        None = "NONE",
        /// The important ones.
        Summary = "SUMMARY",
        /// All.
        Detailed = "DETAILED",
    }
}

words! {
    /// Whether the daemon checkpoints.
    ManagedCheckpoint {
        /// The child does.
        Off = "off",
        /// Each batch that was answered with success.
        Batch = "batch",
    }
}

words! {
    /// What happens to a batch that keeps failing.
    OnPoison {
        /// The daemon stops.
        Stop = "stop",
        /// The shard pauses.
        Hold = "hold",
        /// Halve until the bad record is alone.
        Bisect = "bisect",
        /// Leave it out.
        Skip = "skip",
    }
}
