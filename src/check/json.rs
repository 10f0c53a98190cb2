//! The report for a program. The shape is documented in `docs/CHECK.md`; fields are added, never
//! changed or taken away without raising `version`.

use serde_json::{Value, json};

use crate::check::calls::Calls;
use crate::check::report::{Effect, Outcome, Report, SettingRow, Summary, Verdict};
use crate::config::{Origin, Severity};

/// The version of the shape.
const VERSION: u32 = 1;

/// Renders a report. `strict` decides the exit code that is told.
#[must_use]
pub fn render(report: &Report, strict: bool) -> Value {
    json!({
        "version": VERSION,
        "daemon": env!("CARGO_PKG_VERSION"),
        "file": report.file,
        "result": match report.verdict() {
            Verdict::Clean => "ok",
            Verdict::Warnings => "warnings",
            Verdict::Errors => "errors",
        },
        "exitCode": report.verdict().exit_code(strict),
        "errors": report.errors.iter().map(|problem| json!({
            "origin": problem.origin.as_ref().map(origin),
            "key": problem.key,
            "message": problem.message,
        })).collect::<Vec<_>>(),
        "notices": report.notices.iter().map(|notice| json!({
            "severity": match notice.severity {
                Severity::Info => "info",
                Severity::Warn => "warning",
            },
            "origin": notice.origin.as_ref().map(origin),
            "message": notice.message,
        })).collect::<Vec<_>>(),
        "summary": report.summary.as_ref().map(summary),
        "settings": report.settings.iter().map(setting).collect::<Vec<_>>(),
        "java": report.java.iter().map(|difference| json!({
            "key": difference.key,
            "java": difference.java,
        })).collect::<Vec<_>>(),
        "online": report.steps.as_ref().map(|steps| steps.iter().map(|step| json!({
            "name": step.name,
            "outcome": outcome(step.outcome),
            "message": step.message,
        })).collect::<Vec<_>>()),
        "callsPerHour": report.calls.as_ref().map(calls),
    })
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Warning => "warning",
        Outcome::Failure => "failure",
        Outcome::NotVerified => "notVerified",
    }
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Default => json!({"kind": "default"}),
        Origin::Preset(mode) => json!({"kind": "preset", "name": mode}),
        Origin::File { path, line } => json!({"kind": "file", "name": &**path, "line": line}),
        Origin::Environment(name) => json!({"kind": "environment", "name": name}),
        Origin::Flag(flag) => json!({"kind": "flag", "name": flag}),
    }
}

fn setting(row: &SettingRow) -> Value {
    let (effect, why) = match row.effect {
        Effect::Effective => ("effective", None),
        Effect::OwnWay(how) => ("ownWay", Some(how)),
        Effect::None(why) => ("none", Some(why)),
        Effect::NotYet(what) => ("notYet", Some(what)),
    };
    json!({
        "key": row.key,
        "value": row.value,
        "origin": origin(&row.origin),
        "effect": effect,
        "why": why,
    })
}

fn summary(summary: &Summary) -> Value {
    let by_service = |pairs: &[(&'static str, String)]| -> Value {
        pairs
            .iter()
            .map(|(service, text)| ((*service).to_owned(), Value::from(text.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "application": summary.application,
        "stream": summary.stream,
        "streamArn": summary.stream_arn,
        "leaseTable": summary.lease_table,
        "workerId": summary.worker_id,
        "initialPosition": summary.initial_position,
        "executable": {"command": summary.executable, "file": summary.executable_file},
        "retrieval": {
            "mode": summary.retrieval,
            "reason": summary.retrieval_reason,
        },
        "places": by_service(&summary.places),
        "credentials": by_service(&summary.credentials),
    })
}

fn calls(calls: &Calls) -> Value {
    json!({
        "shards": calls.size.shards,
        "shardsAssumed": !calls.size.shards_known,
        "workers": calls.size.workers,
        "workersAssumed": !calls.size.workers_known,
        "calls": calls.lines.iter().map(|line| json!({
            "service": line.service,
            "operation": line.operation,
            "perHour": line.per_hour.round(),
            "units": line.units.map(|(kind, units)| json!({"kind": kind, "perHour": units.round()})),
            "why": line.why,
        })).collect::<Vec<_>>(),
        "notes": calls.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::offline;
    use crate::check::report::Step;
    use crate::check::testing::load;

    #[test]
    fn the_shape_has_every_field_whatever_happened() {
        let broken = offline::refused("f", &load("a[ = 1").unwrap_err());
        let value = render(&broken, false);
        let object = value.as_object().unwrap();
        let mut fields: Vec<&str> = object.keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "callsPerHour",
                "daemon",
                "errors",
                "exitCode",
                "file",
                "java",
                "notices",
                "online",
                "result",
                "settings",
                "summary",
                "version"
            ]
        );
        assert_eq!(
            (&value["exitCode"], &value["result"]),
            (&json!(1), &json!("errors"))
        );
        assert_eq!(value["errors"][0]["origin"]["line"], 1);
        assert_eq!(value["summary"], Value::Null);
    }

    #[test]
    fn strict_shows_in_the_exit_code_only() {
        let report = Report {
            steps: Some(vec![Step::new("s", Outcome::Warning, "m")]),
            ..Report::default()
        };
        assert_eq!(render(&report, false)["exitCode"], 0);
        assert_eq!(render(&report, true)["exitCode"], 1);
        assert_eq!(render(&report, true)["result"], "warnings");
        assert_eq!(render(&report, true)["online"][0]["outcome"], "warning");
    }
}
