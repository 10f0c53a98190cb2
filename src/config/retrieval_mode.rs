//! Whether a stream is polled or read by enhanced fan-out: `properties.md` §8.

/// Whether this build has enhanced fan-out. Until then polling stands in and the reason says so.
pub const FANOUT_IS_BUILT: bool = false;

/// The two ways to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrievalMode {
    /// GetRecords.
    Polling,
    /// SubscribeToShard with a registered, paid consumer.
    Fanout,
}

/// What `retrievalMode` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfiguredMode {
    /// `DEFAULT`, or the key is absent.
    Default,
    /// `POLLING`.
    Polling,
    /// `FANOUT`.
    Fanout,
}

/// A mode and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrievalChoice {
    /// What Java would run.
    pub chosen: RetrievalMode,
    /// What this build runs.
    pub mode: RetrievalMode,
    /// One sentence for the log.
    pub reason: String,
}

/// Chooses as Java does.
///
/// `polling_keys` are the polling keys that count as set, each with its place
/// (`maxRecords (app.properties:7)`); `consumer` is the name fan-out would register.
#[must_use]
pub fn choose(
    configured: ConfiguredMode,
    polling_keys: &[String],
    consumer: &str,
    fanout_is_built: bool,
) -> RetrievalChoice {
    let keys = polling_keys.join(", ");
    let (chosen, mut reason) = match configured {
        ConfiguredMode::Polling => (
            RetrievalMode::Polling,
            "polling, because retrievalMode is POLLING".to_owned(),
        ),
        ConfiguredMode::Fanout => (
            RetrievalMode::Fanout,
            format!(
                "enhanced fan-out with the consumer '{consumer}', because retrievalMode is FANOUT"
            ),
        ),
        ConfiguredMode::Default if polling_keys.is_empty() => (
            RetrievalMode::Fanout,
            format!(
                "enhanced fan-out with the paid consumer '{consumer}', because retrievalMode is DEFAULT and no \
                 polling key is set; write retrievalMode = POLLING to poll instead"
            ),
        ),
        ConfiguredMode::Default => (
            RetrievalMode::Polling,
            format!(
                "polling, because retrievalMode is DEFAULT and {keys} set; write retrievalMode = FANOUT for \
                 enhanced fan-out",
                keys = if polling_keys.len() == 1 {
                    format!("{keys} is")
                } else {
                    format!("{keys} are")
                }
            ),
        ),
    };
    if configured == ConfiguredMode::Fanout && !polling_keys.is_empty() {
        reason.push_str(&format!("; not used are {keys}"));
    }
    let mode = if chosen == RetrievalMode::Fanout && !fanout_is_built {
        reason.push_str("; fan-out is not built yet, so polling stands in");
        RetrievalMode::Polling
    } else {
        chosen
    };
    RetrievalChoice {
        chosen,
        mode,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConfiguredMode as C;
    use RetrievalMode::{Fanout, Polling};

    #[test]
    fn the_table_of_section_8() {
        let set = ["maxRecords (f:1)".to_owned()];
        for (configured, keys, expected) in [
            (C::Fanout, &[][..], Fanout),
            (C::Fanout, &set[..], Fanout),
            (C::Polling, &[][..], Polling),
            (C::Polling, &set[..], Polling),
            (C::Default, &[][..], Fanout),
            (C::Default, &set[..], Polling),
        ] {
            let choice = choose(configured, keys, "app", true);
            assert_eq!((choice.chosen, choice.mode), (expected, expected));
            let choice = choose(configured, keys, "app", false);
            assert_eq!((choice.chosen, choice.mode), (expected, Polling));
            assert_eq!(choice.reason.contains("not built yet"), expected == Fanout);
        }
    }

    #[test]
    fn the_reason_names_keys_and_consumer() {
        let keys = [
            "maxRecords (f:1)".to_owned(),
            "idleTimeBetweenReadsInMillis (f:2)".to_owned(),
        ];
        assert!(
            choose(C::Default, &keys, "app", true)
                .reason
                .contains("maxRecords (f:1), idleTimeBetweenReadsInMillis (f:2) are set")
        );
        assert!(
            choose(C::Default, &[], "app", true)
                .reason
                .contains("paid consumer 'app'")
        );
        assert!(
            choose(C::Fanout, &keys, "c", true)
                .reason
                .contains("not used are maxRecords")
        );
    }
}
