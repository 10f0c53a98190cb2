//! The report for a person: sections, aligned.

use crate::check::calls::Calls;
use crate::check::report::{Effect, Outcome, Problem, Report, SettingRow, Step, Summary, Verdict};
use crate::config::{Notice, Origin, Severity};

/// Lines are broken at about this many columns.
const WIDTH: usize = 110;
/// The widest column of keys and names; longer ones push what follows to the right.
const WIDEST: usize = 34;

/// Renders a report. With `all`, keys at their defaults are listed too.
#[must_use]
pub fn render(report: &Report, all: bool) -> String {
    let mut page = Page::default();
    page.line(&format!(
        "kcl-daemon {} check of {}",
        env!("CARGO_PKG_VERSION"),
        report.file
    ));
    if !report.errors.is_empty() {
        page.section("Errors");
        for problem in &report.errors {
            page.item("error", &sentence(problem));
        }
    }
    notices(&mut page, "Warnings", "warning", report, Severity::Warn);
    if let Some(summary) = &report.summary {
        self::summary(&mut page, summary);
    }
    if !report.settings.is_empty() {
        settings(&mut page, &report.settings, all);
    }
    if !report.java.is_empty() {
        page.section("Java would do otherwise");
        let rows: Vec<(String, String)> = report
            .java
            .iter()
            .map(|difference| (difference.key.to_owned(), difference.java.to_owned()))
            .collect();
        page.table(&rows);
    }
    notices(&mut page, "Notes", "note", report, Severity::Info);
    if let Some(steps) = &report.steps {
        self::steps(&mut page, steps);
    }
    if let Some(calls) = &report.calls {
        self::calls(&mut page, calls);
    }
    page.line("");
    page.line(&conclusion(report));
    page.text
}

fn sentence(problem: &Problem) -> String {
    match &problem.origin {
        Some(origin) => format!("{origin}: {}", problem.message),
        None => problem.message.clone(),
    }
}

fn notices(page: &mut Page, title: &str, word: &str, report: &Report, severity: Severity) {
    let of_severity: Vec<&Notice> = report
        .notices
        .iter()
        .filter(|notice| notice.severity == severity)
        .collect();
    if of_severity.is_empty() {
        return;
    }
    page.section(title);
    for notice in of_severity {
        page.item(word, &notice.to_string());
    }
}

fn summary(page: &mut Page, summary: &Summary) {
    page.section("What it comes to");
    let row = |name: &str, value: String| (name.to_owned(), value);
    let mut rows = vec![
        row("application", summary.application.clone()),
        row(
            "stream",
            match &summary.stream_arn {
                Some(arn) => format!("{} ({arn})", summary.stream),
                None => summary.stream.clone(),
            },
        ),
        row("lease table", summary.lease_table.clone()),
        row("worker id", summary.worker_id.clone()),
        row("start without checkpoint", summary.initial_position.clone()),
        row(
            "executable",
            match &summary.executable_file {
                Some(file) => format!("{} (runs {file})", summary.executable),
                None => format!("{} (cannot be run)", summary.executable),
            },
        ),
        row("retrieval", summary.retrieval_reason.clone()),
    ];
    for (service, place) in &summary.places {
        rows.push((format!("{service} at"), place.clone()));
    }
    for (service, chain) in &summary.credentials {
        rows.push((format!("credentials of {service}"), chain.clone()));
    }
    page.table(&rows);
}

fn settings(page: &mut Page, settings: &[SettingRow], all: bool) {
    let shown: Vec<&SettingRow> = settings
        .iter()
        .filter(|row| all || row.origin.is_set())
        .collect();
    let defaults = settings.len() - settings.iter().filter(|row| row.origin.is_set()).count();
    page.section(if all { "All keys" } else { "Keys that are set" });
    let value_width = shown
        .iter()
        .map(|row| shown_value(row).chars().count())
        .filter(|width| *width <= WIDEST)
        .max()
        .unwrap_or(0);
    let rows: Vec<(String, String)> = shown
        .iter()
        .map(|row| {
            let effect = match row.effect {
                Effect::Effective | Effect::OwnWay(_) => "",
                _ if !row.origin.is_set() => "",
                Effect::None(_) => ", no effect",
                Effect::NotYet(_) => ", no effect yet",
            };
            let value = shown_value(row);
            (
                row.key.to_owned(),
                format!(
                    "{value:value_width$}  {}{effect}",
                    shown_origin(&row.origin)
                ),
            )
        })
        .collect();
    page.table(&rows);
    if !all {
        page.line(&format!(
            "  The other {defaults} keys have their defaults; --all lists them."
        ));
    }
}

fn shown_value(row: &SettingRow) -> String {
    match (&row.value, row.absent) {
        (Some(value), _) => value.clone(),
        (None, "") => "-".to_owned(),
        (None, note) => format!("- ({note})"),
    }
}

/// The file's name stands at the top already, so its lines suffice where they are short to say.
fn shown_origin(origin: &Origin) -> String {
    match origin {
        Origin::File { line, .. } => format!("line {line}"),
        other => other.to_string(),
    }
}

fn steps(page: &mut Page, steps: &[Step]) {
    page.section("Online");
    for step in steps {
        let word = match step.outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failure => "failed",
            Outcome::NotVerified => "not verified",
        };
        page.item_of(word, 12, &format!("{}: {}", step.name, step.message));
    }
}

fn calls(page: &mut Page, calls: &Calls) {
    let size = &calls.size;
    let number = |n: u32, what: &str, known: bool| {
        let s = if n == 1 { "" } else { "s" };
        let assumed = if known { "" } else { ", assumed" };
        format!("{n} {what}{s}{assumed}")
    };
    page.section(&format!(
        "Expected calls per hour ({}; {})",
        number(size.shards, "open shard", size.shards_known),
        number(size.workers, "worker", size.workers_known)
    ));
    let rows: Vec<(String, String)> = calls
        .lines
        .iter()
        .map(|line| {
            let units = match line.units {
                Some((kind, units)) => format!(" = {} {kind} units", grouped(units)),
                None => String::new(),
            };
            (
                format!("{} {}", line.service, line.operation),
                format!("{:>11}{units}; {}", grouped(line.per_hour), line.why),
            )
        })
        .collect();
    page.table(&rows);
    for note in &calls.notes {
        page.item("note", note);
    }
    if !size.shards_known || !size.workers_known {
        page.line("  --shards N and --workers N compute it for another size.");
    }
}

/// `1 234 567`.
fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.round());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn conclusion(report: &Report) -> String {
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut text = match report.verdict() {
        Verdict::Clean => "The daemon would start".to_owned(),
        Verdict::Warnings => format!(
            "The daemon would start, with {}",
            counted(report.warnings(), "warning")
        ),
        Verdict::Errors => format!(
            "The daemon would not start or not work: {}, {}",
            counted(report.failures(), "error"),
            counted(report.warnings(), "warning")
        ),
    };
    match (&report.steps, report.steps_that_are(Outcome::NotVerified)) {
        (Some(_), 0) => text.push('.'),
        (Some(_), n) => text.push_str(&format!("; {} not verified.", counted(n, "point"))),
        (None, _) if report.verdict() == Verdict::Errors => text.push('.'),
        (None, _) => text.push_str("; no service was asked (--online does)."),
    }
    text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.line("");
        self.line(title);
    }

    fn item(&mut self, word: &str, text: &str) {
        self.item_of(word, word.chars().count(), text);
    }

    /// `  word  text`, the text broken and aligned under itself.
    fn item_of(&mut self, word: &str, width: usize, text: &str) {
        let indent = width + 4;
        self.hanging(&format!("  {word:width$}  "), indent, text);
    }

    fn table(&mut self, rows: &[(String, String)]) {
        let width = rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .filter(|width| *width <= WIDEST)
            .max()
            .unwrap_or(0);
        for (name, value) in rows {
            self.hanging(&format!("  {name:width$}  "), width + 4, value);
        }
    }

    /// Breaks `text` at blanks; runs of blanks inside a line stay.
    fn hanging(&mut self, head: &str, indent: usize, text: &str) {
        let mut line = head.to_owned();
        let mut is_start = true;
        for word in text.split(' ') {
            let longer = line.chars().count() + 1 + word.chars().count();
            if !is_start && !word.is_empty() && longer > WIDTH {
                self.line(&line);
                line = " ".repeat(indent);
                is_start = true;
            }
            if !is_start {
                line.push(' ');
            }
            // Nothing that came from a file or a service may steer the terminal.
            line.extend(word.chars().map(|c| if c.is_control() { ' ' } else { c }));
            is_start = false;
        }
        self.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::calls::Size;
    use crate::check::offline;
    use crate::check::testing::{MINIMAL, load};

    fn report(lines: &str) -> Report {
        let (config, notices) = load(&format!("{MINIMAL}{lines}")).unwrap();
        let size = Size {
            shards: 4,
            workers: 1,
            shards_known: false,
            workers_known: true,
            table_bytes: None,
        };
        offline::loaded(
            "app.properties",
            &config,
            &notices,
            Ok("/bin/cat".to_owned()),
            size,
        )
    }

    #[test]
    fn what_is_set_is_shown_with_its_line_and_the_rest_counted() {
        let page = render(&report("maxRecords = 77\n"), false);
        let line = page.lines().find(|line| line.contains("maxRecords"));
        assert!(line.is_some_and(|l| l.contains("77") && l.contains("line 7")));
        assert!(!page.contains("failoverTimeMillis  "), "{page}");
        assert!(page.contains("--all lists them"), "{page}");
        assert!(page.contains("open shards, assumed"), "{page}");
        assert!(page.contains("The daemon would start; no service was asked"));
        let all = render(&report(""), true);
        assert!(all.contains("failoverTimeMillis"), "{all}");
    }

    #[test]
    fn long_texts_are_broken_and_aligned() {
        let mut report = report("");
        report.steps = Some(vec![Step::new(
            "s",
            Outcome::NotVerified,
            "word ".repeat(60),
        )]);
        let page = render(&report, false);
        assert!(
            page.lines()
                .all(|line| line.chars().count() <= WIDTH + WIDEST),
            "{page}"
        );
        assert!(page.contains("\n                word word"), "{page}");
        assert!(page.contains("1 point not verified"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut report = report("");
        report.steps = Some(vec![Step::new("s", Outcome::Failure, "a\u{1b}[31mb\nc")]);
        let page = render(&report, false);
        assert!(!page.contains('\u{1b}'), "{page}");
        assert!(page.contains("a [31mb c"), "{page}");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (1000.0, "1 000"),
            (1_234_567.0, "1 234 567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
