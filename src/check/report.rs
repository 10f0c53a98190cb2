//! Everything that a check finds out, as data, and the verdict.

use crate::check::calls::Calls;
use crate::check::java::Difference;
use crate::config::{Notice, Origin, Severity};

/// A check's findings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The properties file as it was named.
    pub file: String,
    /// What keeps the daemon from starting, found without asking any service.
    pub errors: Vec<Problem>,
    /// What the daemon would log about its configuration.
    pub notices: Vec<Notice>,
    /// What the configuration comes to; `None` when it cannot be loaded.
    pub summary: Option<Summary>,
    /// Every key of the table; empty when the configuration cannot be loaded.
    pub settings: Vec<SettingRow>,
    /// What Java would have done otherwise.
    pub java: Vec<Difference>,
    /// What was asked of the services; `None` without `--online`.
    pub steps: Option<Vec<Step>>,
    /// Expected calls.
    pub calls: Option<Calls>,
}

/// Something that keeps the daemon from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The entry at fault, if there is one.
    pub origin: Option<Origin>,
    /// The key at fault, if there is one.
    pub key: Option<String>,
    /// A sentence.
    pub message: String,
}

/// What a configuration comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `applicationName`.
    pub application: String,
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN, if it is sent in calls.
    pub stream_arn: Option<String>,
    /// The lease table.
    pub lease_table: String,
    /// `workerId`, or how it is made.
    pub worker_id: String,
    /// Region and endpoint of Kinesis and of DynamoDB.
    pub places: Vec<(&'static str, String)>,
    /// Credentials of Kinesis, and of other services where they are different.
    pub credentials: Vec<(&'static str, String)>,
    /// The command line of the processor.
    pub executable: String,
    /// The file that will be run; `None` if none was found.
    pub executable_file: Option<String>,
    /// `polling` or `fan-out`.
    pub retrieval: &'static str,
    /// Why.
    pub retrieval_reason: String,
    /// Where shards without a checkpoint start.
    pub initial_position: String,
}

/// One key as it is in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingRow {
    /// The key.
    pub key: &'static str,
    /// Its value, without secrets; `None` if it is absent.
    pub value: Option<String>,
    /// What absence means.
    pub absent: &'static str,
    /// Who set it.
    pub origin: Origin,
    /// Whether it does anything.
    pub effect: Effect,
}

/// Whether a key does anything in this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Effective,
    /// The daemon does the same thing its own way.
    OwnWay(&'static str),
    /// It has none, in Java neither.
    None(&'static str),
    /// It will have one in a later version.
    NotYet(&'static str),
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// The daemon would start, but somebody should look.
    Warning,
    /// The daemon would not start, or not work.
    Failure,
    /// It could not be found out.
    NotVerified,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What: `credentials`, `lease table`, or an IAM action such as `kinesis:ListShards`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, in a sentence or two.
    pub message: String,
}

impl Step {
    /// A step that ended so.
    #[must_use]
    pub fn new(name: impl Into<String>, outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            outcome,
            message: message.into(),
        }
    }
}

/// What comes of it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to say.
    Clean,
    /// The daemon would start, with warnings.
    Warnings,
    /// The daemon would not start, or not work.
    Errors,
}

impl Verdict {
    /// The exit code (`decisions.md`).
    #[must_use]
    pub const fn exit_code(self, strict: bool) -> u8 {
        match (self, strict) {
            (Self::Clean, _) | (Self::Warnings, false) => 0,
            (Self::Warnings, true) | (Self::Errors, _) => 1,
        }
    }
}

impl Report {
    /// How many errors and failed steps there are.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.errors.len() + self.steps_that_are(Outcome::Failure)
    }

    /// How many warnings there are.
    #[must_use]
    pub fn warnings(&self) -> usize {
        let warned = |notice: &&Notice| notice.severity == Severity::Warn;
        self.notices.iter().filter(warned).count() + self.steps_that_are(Outcome::Warning)
    }

    /// How many steps ended so.
    #[must_use]
    pub fn steps_that_are(&self, outcome: Outcome) -> usize {
        let steps = self.steps.iter().flatten();
        steps.filter(|step| step.outcome == outcome).count()
    }

    /// The verdict. What is not verified counts for nothing.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.failures(), self.warnings()) {
            (0, 0) => Verdict::Clean,
            (0, _) => Verdict::Warnings,
            _ => Verdict::Errors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(severity: Severity) -> Notice {
        Notice {
            severity,
            message: "m".to_owned(),
            origin: None,
        }
    }

    #[test]
    fn the_worst_finding_decides() {
        use Outcome::{Failure, NotVerified, Ok, Warning};
        let problem = Problem {
            origin: None,
            key: None,
            message: "m".to_owned(),
        };
        for (errors, notices, steps, expected, codes) in [
            (0, vec![], None, Verdict::Clean, (0, 0)),
            (0, vec![Severity::Info], None, Verdict::Clean, (0, 0)),
            (0, vec![Severity::Warn], None, Verdict::Warnings, (0, 1)),
            (
                0,
                vec![],
                Some(vec![Ok, NotVerified]),
                Verdict::Clean,
                (0, 0),
            ),
            (
                0,
                vec![],
                Some(vec![Ok, Warning]),
                Verdict::Warnings,
                (0, 1),
            ),
            (
                0,
                vec![Severity::Warn],
                Some(vec![Failure]),
                Verdict::Errors,
                (1, 1),
            ),
            (1, vec![], None, Verdict::Errors, (1, 1)),
        ] {
            let steps: Option<Vec<Outcome>> = steps;
            let report = Report {
                errors: vec![problem.clone(); errors],
                notices: notices.into_iter().map(notice).collect(),
                steps: steps.map(|all| all.into_iter().map(|o| Step::new("s", o, "m")).collect()),
                ..Report::default()
            };
            let verdict = report.verdict();
            assert_eq!(verdict, expected, "{report:?}");
            assert_eq!((verdict.exit_code(false), verdict.exit_code(true)), codes);
        }
    }
}
