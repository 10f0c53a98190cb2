//! ONE table of every property. It drives parsing, defaults, did-you-mean, `check`,
//! `help properties` and `docs/PROPERTIES.md`. Rules: `properties.md` §5, §7.3; `tools.md` 8.7.

mod aws;
mod child;
mod leases;
mod markdown;
mod metrics;
mod past;
mod retrieval;
pub mod text;

pub use markdown::render_markdown;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// The name, as the file has it.
    pub name: &'static str,
    /// Other names that set the same value.
    pub aliases: &'static [Alias],
    /// The bean through which Java takes the key too (`pollingConfig.maxRecords`), else empty.
    pub bean: &'static str,
    /// The chapter of the documentation.
    pub group: Group,
    /// What the value looks like.
    pub value: ValueType,
    /// Unit of a number, empty if there is none.
    pub unit: &'static str,
    /// The default as one would write it in the file; empty if the key is simply absent.
    pub default: &'static str,
    /// What absence means where `default` cannot say it.
    pub default_note: &'static str,
    /// The first KCL release whose daemon accepts the key; `kcl-daemon` for our additions.
    pub since: &'static str,
    /// Whether the daemon refuses to start without it.
    pub required: bool,
    /// How Java's configuration holds the value, which decides what 0, `false` and typos do there.
    pub holding: Holding,
    /// What the key does.
    pub effect: &'static str,
    /// What Java does where ours is different; empty if it is the same.
    pub java: &'static str,
    /// Whether the key has its effect in this build.
    pub status: Status,
    /// The numbers that are let through.
    pub range: Range,
}

/// Another name of a key.
#[derive(Debug, Clone, Copy)]
pub struct Alias {
    /// The other name.
    pub name: &'static str,
    /// What is said when it is used.
    pub kind: AliasKind,
}

/// Why there is another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasKind {
    /// Java has both names.
    Equal,
    /// Java takes it by an accident of its implementation (a bean's path).
    Accidental,
    /// KCL 1.x knew it, 2.x and 3.x ignore it silently.
    FromV1,
    /// Java ignores it silently, but its own messages or many users write it so.
    JavaIgnores,
    /// A name of sylvite's fork, honoured in sylvite mode only.
    SylviteOnly,
}

/// Chapters of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Executable, time-outs, protocol.
    Child,
    /// Application, stream, tables, worker.
    Identity,
    /// Where credentials come from.
    Credentials,
    /// Regions and endpoints.
    Endpoints,
    /// Start position and polling.
    Retrieval,
    /// Enhanced fan-out.
    Fanout,
    /// Lease table, assignment, shard sync.
    Leases,
    /// Start-up, versions and migrations.
    Coordinator,
    /// Hand-off and worker-utilisation-aware assignment.
    Assignment,
    /// The two tables of KCL 3.0 to 3.4.
    MetadataTables,
    /// CloudWatch metrics.
    Metrics,
    /// Checkpoints made by the daemon.
    Managed,
    /// This daemon's own switches.
    Daemon,
    /// Names of KCL 1.x that have no effect.
    Past,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueType {
    /// 32-bit whole number.
    Int,
    /// 64-bit whole number.
    Long,
    /// Floating point, Java's syntax.
    Double,
    /// `true yes y on 1` or `false no n off 0`, any case.
    Bool,
    /// Any text.
    Text,
    /// A command line, split at spaces.
    CommandLine,
    /// One of these words, any case.
    Word(&'static [&'static str]),
    /// An instant: seconds since the epoch, or ISO-8601.
    Instant,
    /// `P[nD][T[nH][nM][n.nS]]`.
    Duration,
    /// `k1=v1,k2=v2`.
    Tags,
    /// Metric dimensions.
    Dimensions,
    /// An endpoint.
    Uri,
    /// An AWS region.
    Region,
    /// Credentials providers, `properties.md` §6.
    Credentials,
    /// Not looked at: the key has no effect whatever its value.
    Anything,
}

/// How Java holds a value (`properties.md` §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// A primitive: 0, `false` and what cannot be parsed count as "not set".
    Primitive,
    /// A wrapper: 0, `false` and what cannot be parsed (read as 0 or `false`) are applied.
    Wrapper,
    /// An object whose conversion fails loudly, or text.
    Object,
    /// Java has no such key.
    Ours,
}

/// Whether a key does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has its effect.
    Effective,
    /// Accepted; neither Java nor this daemon does anything with it. Says why.
    NoEffectInJava(&'static str),
    /// Accepted; Java acts on it, this daemon does the same thing its own way. Says how.
    OwnWay(&'static str),
    /// It will have its effect; this build lacks the feature and warns when the key is set.
    NotYet(&'static str),
}

/// Numbers that are let through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// All.
    Any,
    /// At least and at most; others are an error.
    Within(f64, f64),
    /// Others become the nearer end, with a warning, as Java does.
    Clamped(i64, i64),
}

impl KeySpec {
    const fn new(name: &'static str, group: Group, value: ValueType, holding: Holding) -> Self {
        Self {
            name,
            aliases: &[],
            bean: "",
            group,
            value,
            unit: "",
            default: "",
            default_note: "",
            since: "1.x",
            required: false,
            holding,
            effect: "",
            java: "",
            status: Status::Effective,
            range: Range::Any,
        }
    }

    const fn int(name: &'static str, group: Group, holding: Holding) -> Self {
        Self::new(name, group, ValueType::Int, holding).at_least(0)
    }

    const fn long(name: &'static str, group: Group, holding: Holding) -> Self {
        Self::new(name, group, ValueType::Long, holding).at_least(0)
    }

    const fn millis(name: &'static str, group: Group, holding: Holding) -> Self {
        Self::long(name, group, holding).unit("ms")
    }

    const fn bool(name: &'static str, group: Group, holding: Holding) -> Self {
        Self::new(name, group, ValueType::Bool, holding)
    }

    const fn text(name: &'static str, group: Group) -> Self {
        Self::new(name, group, ValueType::Text, Holding::Object)
    }

    const fn word(
        name: &'static str,
        group: Group,
        holding: Holding,
        words: &'static [&'static str],
    ) -> Self {
        Self::new(name, group, ValueType::Word(words), holding)
    }

    const fn aliases(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn bean(mut self, bean: &'static str) -> Self {
        self.bean = bean;
        self
    }

    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }

    const fn absent(mut self, note: &'static str) -> Self {
        self.default_note = note;
        self
    }

    const fn since(mut self, release: &'static str) -> Self {
        self.since = release;
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn effect(mut self, effect: &'static str) -> Self {
        self.effect = effect;
        self
    }

    const fn java(mut self, java: &'static str) -> Self {
        self.java = java;
        self
    }

    const fn not_yet(mut self, what: &'static str) -> Self {
        self.status = Status::NotYet(what);
        self
    }

    const fn own_way(mut self, how: &'static str) -> Self {
        self.status = Status::OwnWay(how);
        self
    }

    const fn no_effect(mut self, why: &'static str) -> Self {
        self.status = Status::NoEffectInJava(why);
        self
    }

    const fn at_least(mut self, least: i64) -> Self {
        self.range = Range::Within(least as f64, f64::INFINITY);
        self
    }

    const fn within(mut self, least: f64, most: f64) -> Self {
        self.range = Range::Within(least, most);
        self
    }

    const fn clamped(mut self, least: i64, most: i64) -> Self {
        self.range = Range::Clamped(least, most);
        self
    }

    const fn any_number(mut self) -> Self {
        self.range = Range::Any;
        self
    }

    /// Whether values of this key must not be shown (`properties.md` §16 row 19).
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.value == ValueType::Credentials || looks_secret(self.name)
    }
}

const fn alias(name: &'static str, kind: AliasKind) -> Alias {
    Alias { name, kind }
}

/// Whether a key's name says that its value should not be shown.
#[must_use]
pub fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "credential",
        "secret",
        "token",
        "password",
        "accesskey",
        "access_key",
        "access-key",
    ]
    .iter()
    .any(|word| key.contains(word))
}

const CHAPTERS: [&[KeySpec]; 8] = [
    child::KEYS,
    aws::KEYS,
    retrieval::KEYS,
    leases::KEYS,
    leases::ASSIGNMENT_KEYS,
    metrics::KEYS,
    metrics::DAEMON_KEYS,
    past::KEYS,
];

/// All rows, common keys first.
pub fn all() -> impl Iterator<Item = &'static KeySpec> {
    CHAPTERS.iter().copied().flatten()
}

/// The row of a canonical name.
#[must_use]
pub fn find(name: &str) -> Option<&'static KeySpec> {
    all().find(|spec| spec.name == name)
}

/// What Java's case rule for credentials keys makes of a key: the prefix in any case, the suffix
/// exactly (`properties.md` §2.3). `None` if the key is not such a key.
fn credentials_key(written: &str) -> Option<&'static KeySpec> {
    const PREFIX: &str = "awscredentialsprovider";
    let prefix = written.get(..PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    find(match written.get(PREFIX.len()..)? {
        "" => "AwsCredentialsProvider",
        "DynamoDB" => "AwsCredentialsProviderDynamoDB",
        "CloudWatch" => "AwsCredentialsProviderCloudWatch",
        _ => return None,
    })
}

/// The row that a key in a file means, and by what sort of alias if not by its own name.
#[must_use]
pub fn resolve(written: &str, sylvite: bool) -> Option<(&'static KeySpec, Option<AliasKind>)> {
    if let Some(spec) = credentials_key(written) {
        return Some((spec, None));
    }
    let alias_of = |spec: &'static KeySpec| {
        let named = spec
            .aliases
            .iter()
            .find(|a| a.name == written && (sylvite || a.kind != AliasKind::SylviteOnly))
            .map(|a| a.kind);
        let through_bean = || {
            let (bean, name) = written.split_once('.')?;
            (bean == spec.bean && name == spec.name).then_some(AliasKind::Accidental)
        };
        named.or_else(through_bean)
    };
    // An alias that counts in this mode hides a row of the same name that only explains it away.
    all()
        .find_map(|spec| alias_of(spec).map(|kind| (spec, Some(kind))))
        .or_else(|| find(written).map(|spec| (spec, None)))
}

#[cfg(test)]
mod tests;
