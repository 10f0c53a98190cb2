//! What one process went through: from the ledger of a processor of ours, or from what a sample prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::Ledger;

/// One process, from `initialize` to its end.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Its process id.
    pub pid: u32,
    /// Its shard.
    pub shard: String,
    /// The checkpoint that `initialize` told; P0 clients do not pass it on.
    pub start: Option<String>,
    /// Ids of the records it was given, in order; empty where a sample only counts.
    pub ids: Vec<String>,
    /// How many records it was given.
    pub records: usize,
    /// When it was told that the shard ended; of some samples up to [`Source::slack`] later.
    pub ended: Option<i64>,
    /// It was asked to stop.
    pub asked_to_stop: bool,
    /// It was told that the lease is lost.
    pub lost: bool,
    /// When it was initialised, microseconds since the epoch.
    pub began: i64,
}

/// How processes are observed.
#[derive(Debug, Clone)]
pub enum Source {
    /// The ledger of a processor of this folder.
    Ledger(PathBuf),
    /// One file per process with what a sample prints: `PREFIX.PID`.
    Printed(PathBuf, Style),
}

/// What a sample prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `SHARD: KEY: DATA` for each record.
    Records,
    /// `SHARD: N records, …` after each batch.
    Counts,
    /// The daemon's messages as they are.
    Messages,
}

impl Source {
    /// By how much too late a process may say that its shard ended: some samples say so after their
    /// checkpoint, and all that is known is when they printed their last line.
    pub fn slack(&self) -> Duration {
        match self {
            Self::Ledger(_) => Duration::ZERO,
            Self::Printed(..) => Duration::from_secs(1),
        }
    }

    /// All processes so far, in the order of their beginning.
    pub fn lives(&self) -> Vec<Life> {
        let mut lives = match self {
            Self::Ledger(path) => of_ledger(&Ledger::read(path)),
            Self::Printed(prefix, style) => printed_files(prefix)
                .iter()
                .filter_map(|(pid, file)| of_output(*pid, file, *style))
                .collect(),
        };
        lives.sort_by_key(|life| life.began);
        lives
    }
}

fn of_ledger(ledger: &Ledger) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for event in &ledger.events {
        if event.event == "initialize" {
            lives.push(Life {
                pid: event.pid,
                shard: event.shard.clone(),
                start: event.sequence.clone(),
                began: event.t,
                ..Life::default()
            });
        }
        let life = lives.iter_mut().rev().find(|life| life.pid == event.pid);
        let life = life.unwrap_or_else(|| panic!("{} before initialize", event.event));
        match event.event.as_str() {
            "processRecords" => {
                life.ids
                    .extend(event.records.iter().map(|record| record.id().to_owned()));
                life.records = life.ids.len();
            }
            "shardEnded" => life.ended = Some(event.t),
            "shutdownRequested" => life.asked_to_stop = true,
            "leaseLost" => life.lost = true,
            _ => {}
        }
    }
    lives
}

fn printed_files(prefix: &Path) -> Vec<(u32, PathBuf)> {
    let name = format!(
        "{}.",
        prefix.file_name().expect("a name").to_str().expect("UTF-8")
    );
    let directory = fs::read_dir(prefix.parent().expect("a directory")).expect("it can be listed");
    directory
        .flatten()
        .filter_map(|entry| {
            let pid = entry
                .file_name()
                .to_str()?
                .strip_prefix(&name)?
                .parse()
                .ok()?;
            Some((pid, entry.path()))
        })
        .collect()
}

/// The first line is the time of the start in nanoseconds, written by the test's wrapper.
fn of_output(pid: u32, file: &Path, style: Style) -> Option<Life> {
    let text = String::from_utf8_lossy(&fs::read(file).ok()?).into_owned();
    let whole = &text[..=text.rfind('\n')?];
    let mut lines = whole.lines();
    let began = lines.next()?.parse::<i64>().expect("a time") / 1000;
    let modified = fs::metadata(file).ok()?.modified().ok()?;
    let last: i64 = modified
        .duration_since(UNIX_EPOCH)
        .ok()?
        .as_micros()
        .try_into()
        .ok()?;
    let mut life = Life {
        pid,
        began,
        ..Life::default()
    };
    for line in lines {
        match style {
            Style::Messages => message(&mut life, line, last),
            Style::Records | Style::Counts => sentence(&mut life, line, style, last),
        }
    }
    (!life.shard.is_empty()).then_some(life)
}

fn sentence(life: &mut Life, line: &str, style: Style, last: i64) {
    let Some((shard, said)) = line.split_once(": ") else {
        panic!("a sample printed {line:?}");
    };
    if let Some(start) = said.strip_prefix("starting at ") {
        life.shard = shard.to_owned();
        life.start = Some(start.to_owned());
    } else if said.starts_with("asked to stop") {
        life.asked_to_stop = true;
    } else if said.starts_with("the shard has ended after") || said.starts_with("ended after") {
        life.ended = Some(last);
    } else if said == "another worker goes on from here" {
        life.lost = true;
    } else if style == Style::Counts {
        let count = said
            .split_once(" records, ")
            .and_then(|(count, _)| count.parse().ok());
        life.records = count.unwrap_or_else(|| panic!("a sample printed {line:?}"));
    } else {
        let data = said
            .split_once(": ")
            .unwrap_or_else(|| panic!("a sample printed {line:?}"))
            .1;
        life.ids.push(identity(data));
        life.records += 1;
    }
}

fn message(life: &mut Life, line: &str, last: i64) {
    let message: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    match message["action"].as_str().expect("an action") {
        "initialize" => {
            life.shard = message["shardId"].as_str().expect("a shard").to_owned();
            life.start = message["sequenceNumber"].as_str().map(str::to_owned);
        }
        "processRecords" => {
            for record in message["records"].as_array().expect("records") {
                let data = STANDARD
                    .decode(record["data"].as_str().expect("data"))
                    .expect("base64");
                life.ids
                    .push(identity(&String::from_utf8(data).expect("UTF-8")));
                life.records += 1;
            }
        }
        "checkpoint" => assert_eq!(message["error"], Value::Null, "{line}"),
        "shardEnded" => life.ended = Some(last),
        "shutdownRequested" => life.asked_to_stop = true,
        "leaseLost" => life.lost = true,
        other => panic!("the action {other}"),
    }
}

fn identity(data: &str) -> String {
    data.split('|').next().unwrap_or_default().to_owned()
}
