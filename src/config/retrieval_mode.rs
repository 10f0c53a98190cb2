//! Whether a stream is polled or read by enhanced fan-out: `properties.md` §8.

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
    /// The mode.
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
) -> RetrievalChoice {
    let keys = polling_keys.join(", ");
    let (mode, mut reason) = match configured {
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
    if configured == ConfiguredMode::Fanout {
        // In Java neither has an effect; here maxRecords limits the batches of both modes.
        let (limit, unused): (Vec<&String>, Vec<&String>) = polling_keys
            .iter()
            .partition(|key| key.starts_with("maxRecords"));
        for limit in limit {
            reason.push_str(&format!("; {limit} limits the records of a batch"));
        }
        if !unused.is_empty() {
            let unused: Vec<&str> = unused.into_iter().map(String::as_str).collect();
            reason.push_str(&format!("; not used: {}", unused.join(", ")));
        }
    }
    RetrievalChoice { mode, reason }
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
            assert_eq!(choose(configured, keys, "app").mode, expected);
        }
    }

    #[test]
    fn the_reason_names_keys_and_consumer() {
        let keys = [
            "maxRecords (f:1)".to_owned(),
            "idleTimeBetweenReadsInMillis (f:2)".to_owned(),
        ];
        assert!(
            choose(C::Default, &keys, "app")
                .reason
                .contains("maxRecords (f:1), idleTimeBetweenReadsInMillis (f:2) are set")
        );
        assert!(
            choose(C::Default, &[], "app")
                .reason
                .contains("paid consumer 'app'")
        );
        let both = choose(C::Fanout, &keys, "c").reason;
        assert!(
            both.ends_with(
                "; maxRecords (f:1) limits the records of a batch; not used: idleTimeBetweenReadsInMillis (f:2)"
            ),
            "{both}"
        );
    }
}
