//! `docs/PROPERTIES.md`, written from the table.

use super::{AliasKind, Group, Holding, KeySpec, Range, Status, ValueType, all};
use std::fmt::Write;

pub(super) const CHAPTERS: [(Group, &str, &str); 14] = [
    (
        Group::Child,
        "Processor",
        "The command that is run for each shard, and how it is treated.",
    ),
    (
        Group::Identity,
        "Application, stream and worker",
        "Who reads what.",
    ),
    (
        Group::Credentials,
        "Credentials",
        "A value is a list of providers separated by commas, asked in this order; arguments follow a provider's name after `|`. Names of SDK v2 and SDK v1 are understood, with or without package: `DefaultCredentialsProvider`, `EnvironmentVariableCredentialsProvider`, `ProfileCredentialsProvider[|name]`, `WebIdentityTokenFileCredentialsProvider`, `ContainerCredentialsProvider`, `InstanceProfileCredentialsProvider`, `SystemPropertyCredentialsProvider`, `AnonymousCredentialsProvider`, `PropertiesFileCredentialsProvider|path`, `StsAssumeRoleCredentialsProvider|roleArn|session[|externalId=x][|endpoint=url^region][|endpointRegion=r]`.",
    ),
    (
        Group::Endpoints,
        "Regions and endpoints",
        "For each service the most specific key wins; then `regionName`; then the environment.",
    ),
    (Group::Retrieval, "Start position and polling", ""),
    (Group::Fanout, "Enhanced fan-out", ""),
    (Group::Leases, "Leases", ""),
    (Group::Coordinator, "Start, versions and migrations", ""),
    (Group::Assignment, "Hand-off and assignment by load", ""),
    (
        Group::MetadataTables,
        "Tables of KCL 3.0 to 3.4",
        "They matter for applications that were started with those versions; later ones keep everything in the lease table.",
    ),
    (Group::Metrics, "CloudWatch metrics", ""),
    (
        Group::Managed,
        "Managed checkpoints",
        "For processors without checkpoint code. They have an effect only when `managed.checkpoint` is not `off`.",
    ),
    (Group::Daemon, "This daemon", ""),
    (
        Group::Past,
        "Names without effect",
        "Accepted, so that old files load; each is mentioned in the log.",
    ),
];

/// The page of all properties, in Markdown.
#[must_use]
pub fn render_markdown() -> String {
    let mut page = String::from(
        "# Properties\n\n\
         <!-- Written from the table in src/config/keys; do not edit. -->\n\n\
         Names are case-sensitive. Each key may also be given as `-D name=value` on the command line, or in the \
         environment as `KCL_DAEMON_` and its name in capitals with or without `_` between the words \
         (`KCL_DAEMON_STREAM_NAME`). The command line beats the environment, the environment beats the file.\n\n\
         *Java* tells what Java's MultiLangDaemon 3.5.1 does where this daemon does otherwise. A typing error in a \
         number or switch never becomes a value silently: where Java would have used the default, there is a warning \
         and the default; elsewhere the daemon does not start.\n",
    );
    for (group, title, introduction) in CHAPTERS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n");
        if !introduction.is_empty() {
            let _ = write!(page, "{introduction}\n\n");
        }
        page.push_str("| Key | Value | Default | Since | Meaning |\n|---|---|---|---|---|\n");
        for spec in all().filter(|spec| spec.group == group) {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                names(spec),
                value(spec),
                default(spec),
                cell(spec.since),
                meaning(spec)
            );
        }
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn names(spec: &KeySpec) -> String {
    let mut text = format!("`{}`", spec.name);
    for alias in spec.aliases {
        let note = match alias.kind {
            AliasKind::Equal => "also",
            AliasKind::Accidental => "in Java also",
            AliasKind::FromV1 => "1.x:",
            AliasKind::JavaIgnores => "here also",
            AliasKind::SylviteOnly => "in sylvite mode also",
        };
        let _ = write!(text, "<br>{note} `{}`", alias.name);
    }
    if spec.required {
        text.push_str("<br>**required**");
    }
    text
}

fn value(spec: &KeySpec) -> String {
    let mut text = match spec.value {
        ValueType::Int | ValueType::Long => "whole number".to_owned(),
        ValueType::Double => "number".to_owned(),
        ValueType::Bool => "`true` or `false`".to_owned(),
        ValueType::Text => "text".to_owned(),
        ValueType::CommandLine => "command line".to_owned(),
        ValueType::Word(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
        ValueType::Instant => "instant".to_owned(),
        ValueType::Duration => "duration, `PT12H`".to_owned(),
        ValueType::Tags => "tags".to_owned(),
        ValueType::Dimensions => "names".to_owned(),
        ValueType::Uri => "URL".to_owned(),
        ValueType::Region => "region".to_owned(),
        ValueType::Credentials => "providers".to_owned(),
        ValueType::Anything => "anything".to_owned(),
    };
    if !spec.unit.is_empty() {
        let _ = write!(text, ", {}", spec.unit);
    }
    match spec.range {
        Range::Within(least, most) if most.is_finite() => {
            let _ = write!(text, ", {least} to {most}");
        }
        Range::Within(least, _) if least > 0.0 => {
            let _ = write!(text, ", at least {least}");
        }
        Range::Clamped(least, most) => {
            let _ = write!(text, ", at least {least}");
            if most != i64::MAX {
                let _ = write!(text, ", at most {most}");
            }
        }
        Range::Within(..) | Range::Any => {}
    }
    cell(&text)
}

fn default(spec: &KeySpec) -> String {
    match (spec.default_note, spec.default) {
        ("", "") => "–".to_owned(),
        ("", text) => format!("`{}`", cell(text)),
        (note, _) => cell(note),
    }
}

fn meaning(spec: &KeySpec) -> String {
    let mut text = cell(spec.effect);
    if !spec.java.is_empty() {
        let _ = write!(text, " *Java: {}*", cell(spec.java));
    }
    match spec.status {
        Status::Effective => {}
        Status::NoEffectInJava(why) => {
            let _ = write!(text, " **No effect**: {}.", cell(why));
        }
        Status::OwnWay(how) => {
            let _ = write!(text, " **Own way**: {}.", cell(how));
        }
        Status::NotYet(what) => {
            let _ = write!(text, " **Not yet**: {}.", cell(what));
        }
    }
    if spec.holding == Holding::Ours && spec.group != Group::Past {
        text.push_str(" *(not in Java)*");
    }
    text
}
