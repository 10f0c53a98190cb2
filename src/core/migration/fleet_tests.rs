use super::*;
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use std::collections::BTreeMap;

const F: Duration = Duration::from_secs(10);
const WALL: i64 = 1_000_000;

fn at(seconds: u64) -> Moment {
    Moment::from_origin(Duration::from_secs(seconds))
}

/// One scan: `"a a* b# -"`. `*` is marked by us, `#` has a throughput that differs in each scan,
/// `!` does not move between scans, `-` is unowned.
fn scan(text: &str, counter: u64) -> Vec<Lease> {
    text.split_whitespace()
        .enumerate()
        .map(|(index, word)| {
            let mut lease = Lease::new(
                LeaseKey::new(format!("s{index}")),
                ExtendedSequenceNumber::sentinel(Position::Latest),
                vec![],
                None,
            );
            let name = word.trim_end_matches(['*', '#', '!']);
            lease.owner = (name != "-").then(|| WorkerId::new(name));
            lease.counter = Counter(if word.ends_with('!') { 1 } else { counter });
            lease.marked = word.ends_with('*');
            lease.throughput_kbps = word.ends_with('#').then_some(counter as f64);
            lease
        })
        .collect()
}

/// `"a:1 b:- c:1@500"`: metrics items with support code, written that many seconds ago.
fn metrics(text: &str) -> Vec<WorkerMetricStats> {
    text.split_whitespace()
        .map(|word| {
            let (word, ago) = word.split_once('@').unwrap_or((word, "1"));
            let (name, code) = word.split_once(':').unwrap();
            let written = WallTime::from_seconds(WALL - ago.parse::<i64>().unwrap());
            let mut stats = WorkerMetricStats::written_by(
                WorkerId::new(name),
                written,
                BTreeMap::new(),
                BTreeMap::new(),
            );
            stats.support_code = code.parse().ok();
            stats
        })
        .collect()
}

struct Found<'a> {
    leases: &'a str,
    foreign: &'a str,
    stored: Option<ClientVersion>,
    legacy: bool,
    metrics: &'a str,
    /// How many scans, four seconds apart.
    scans: u64,
}

const NOTHING: Found<'_> = Found {
    leases: "",
    foreign: "",
    stored: None,
    legacy: false,
    metrics: "",
    scans: 4,
};

fn judge(found: &Found<'_>, decide: impl Fn(&Evidence<'_>) -> Verdict) -> String {
    let mut watch = FleetWatch::default();
    for number in 0..found.scans {
        watch.record_scan(&scan(found.leases, number + 1), at(number * 4));
    }
    let foreign: Vec<String> = found
        .foreign
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let evidence = Evidence {
        me: &WorkerId::new("me"),
        leases: &scan(found.leases, found.scans),
        watch: &watch,
        foreign_keys: &foreign,
        stored: found.stored,
        legacy_table: found.legacy,
        metrics: &metrics(found.metrics),
        now: at(found.scans.saturating_sub(1) * 4),
        wall: WallTime::from_seconds(WALL),
        failover: F,
        report_interval: Duration::from_secs(30),
    };
    match decide(&evidence) {
        Verdict::Start { state, reason } => format!("{state:?} {reason:?}"),
        Verdict::LookAgain { worker, until } => {
            format!("look {worker} {}", until.since_origin().as_millis())
        }
        Verdict::Refuse(refusal) => format!("refuse: {refusal}"),
    }
}

#[test]
fn who_lives_and_what_it_is() {
    let mut watch = FleetWatch::default();
    // a moves, b does not, c comes later, d hands over to e.
    watch.record_scan(&scan("a b! d", 1), at(0));
    watch.record_scan(&scan("a b! d c", 2), at(4));
    watch.record_scan(&scan("a b! e c", 3), at(8));
    let life = |name: &str, seconds| watch.life(&WorkerId::new(name), at(seconds), F);
    assert_eq!(life("a", 8), Life::Alive);
    assert_eq!(life("a", 18), Life::Alive);
    assert_eq!(life("a", 19), Life::Silent);
    assert_eq!(
        life("b", 8),
        Life::UnknownUntil(at(10) + Duration::from_millis(1))
    );
    assert_eq!(life("b", 11), Life::Silent);
    assert_eq!(life("c", 8), Life::Alive);
    assert_eq!(life("d", 8), Life::Silent, "owns nothing any more");
    assert_eq!(
        life("e", 8),
        Life::UnknownUntil(at(18) + Duration::from_millis(1))
    );
}

#[test]
fn auto_harms_nobody() {
    use ClientVersion::{UpgradeFrom2x, V2x, V3x, V3xWithRollback};
    let with = |leases, metrics| Found {
        leases,
        metrics,
        ..NOTHING
    };
    let cases = [
        (NOTHING, "V3x Fresh"),
        (
            Found {
                metrics: "b:1",
                ..NOTHING
            },
            "V3x Fresh",
        ),
        // Whatever is stored is followed.
        (
            Found {
                stored: Some(UpgradeFrom2x),
                leases: "a",
                ..NOTHING
            },
            "UpgradeFrom2x Stored",
        ),
        (
            Found {
                stored: Some(V2x),
                leases: "a",
                ..NOTHING
            },
            "V2x Stored",
        ),
        (
            Found {
                stored: Some(V3xWithRollback),
                ..NOTHING
            },
            "V3xWithRollback Stored",
        ),
        (
            Found {
                stored: Some(V3x),
                leases: "a",
                ..NOTHING
            },
            "V3x Stored",
        ),
        // Leases and nothing else: stay quiet, whoever is there.
        (with("a b", ""), "Init MayBeOlder(a)"),
        (with("a* b*", ""), "Init LeasesAlone"),
        (with("a* b", ""), "Init MayBeOlder(b)"),
        (with("a#", ""), "Init LeasesAlone"),
        (with("- -", ""), "Init LeasesAlone"),
        (with("a!", ""), "Init LeasesAlone"),
        (
            Found {
                scans: 1,
                ..with("a", "")
            },
            "Init MayBeOlder(a)",
        ),
        // A leader's doing.
        (with("a b", "a:1 b:1"), "V3x LeaderSeen(\"a\")"),
        (
            Found {
                foreign: "Leader",
                ..with("a", "a:1")
            },
            "V3x LeaderSeen(\"Leader\")",
        ),
        (
            Found {
                foreign: "Leader",
                ..with("- -", "")
            },
            "V3x LeaderSeen(\"Leader\")",
        ),
        (
            Found {
                legacy: true,
                ..with("a", "a:-")
            },
            "V3x LeaderSeen(\"a\")",
        ),
        (with("me!", "b:1"), "V3x LeaderSeen(\"b\")"),
        // A leader's doing, and somebody without: that one decides, once it is known to live.
        (with("a b", "a:1"), "Init MayBeOlder(b)"),
        (with("a b!", "a:1"), "V3x LeaderSeen(\"a\")"),
        (
            Found {
                scans: 1,
                ..with("a b", "a:1")
            },
            "look b 10001",
        ),
        // Old metrics are no sign.
        (with("a", "a:1@100"), "Init MayBeOlder(a)"),
        (with("a", "me:1"), "Init MayBeOlder(a)"),
    ];
    for (found, expected) in cases {
        assert_eq!(
            judge(&found, auto),
            expected,
            "{} / {}",
            found.leases,
            found.metrics
        );
    }
}

#[test]
fn an_explicit_configuration_is_refused_when_it_breaks_somebody() {
    use ClientVersion::{V2x, V3xWithRollback};
    use Configured::{CompatibleWith2x, Phase1, V3x};
    let with = |leases, metrics| Found {
        leases,
        metrics,
        ..NOTHING
    };
    let breaks = |word: &str, worker: &str| {
        format!(
            "refuse: clientVersionConfig = CLIENT_VERSION_CONFIG_{word} would write the item 'Migration3.0' into the lease table, and worker '{worker}'"
        )
    };
    let cases = [
        (Phase1, with("a b", ""), "Init Configured".to_owned()),
        (Phase1, with("a", "a:1"), "refuse: clientVersionConfig = CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1 would take leases for itself, but a leader assigns them here (seen: the item 'a')".to_owned()),
        (Phase1, Found { stored: Some(V3xWithRollback), ..with("a", "a:1") }, "V3xWithRollback Stored".to_owned()),
        (CompatibleWith2x, NOTHING, "UpgradeFrom2x Configured".to_owned()),
        (CompatibleWith2x, with("a", ""), breaks("COMPATIBLE_WITH_2X", "a")),
        (CompatibleWith2x, Found { scans: 1, ..with("a", "") }, "look a 10001".to_owned()),
        (CompatibleWith2x, with("a!", ""), "UpgradeFrom2x Configured".to_owned()),
        (CompatibleWith2x, with("a# b* c", "c:1"), "UpgradeFrom2x Configured".to_owned()),
        (CompatibleWith2x, with("a*", "b:-"), "UpgradeFrom2x Configured".to_owned()),
        // Beside tables of 3.0 to 3.4 nothing is written into the lease table.
        (CompatibleWith2x, Found { legacy: true, ..with("a", "") }, "UpgradeFrom2x Configured".to_owned()),
        (CompatibleWith2x, with("a", "a:-"), breaks("COMPATIBLE_WITH_2X", "a")),
        (V3x, NOTHING, "V3x Configured".to_owned()),
        (V3x, with("b a", "b:1"), breaks("3X", "a")),
        (V3x, with("a", "a:1"), "V3x Configured".to_owned()),
        (V3x, Found { legacy: true, ..with("a", "a:-") }, "V3x Configured".to_owned()),
        (V3x, Found { legacy: true, ..with("a", "") }, breaks("3X", "a")),
        (V3x, Found { stored: Some(V2x), ..with("a", "") }, "V2x Stored".to_owned()),
        (V3x, Found { stored: Some(V3xWithRollback), ..with("a", "") }, "V3x Configured".to_owned()),
        // Leases under my own name are of a process before me.
        (V3x, with("me", ""), "V3x Configured".to_owned()),
        (V3x, with("- -", ""), "V3x Configured".to_owned()),
    ];
    for (configured, found, expected) in cases {
        let verdict = judge(&found, |evidence| explicit(evidence, configured, false));
        assert!(
            verdict.starts_with(&expected),
            "{configured:?} {} / {}: {verdict}",
            found.leases,
            found.metrics
        );
        let forced = judge(&found, |evidence| explicit(evidence, configured, true));
        assert!(
            !forced.starts_with("refuse") && !forced.starts_with("look"),
            "{forced}"
        );
    }
}
