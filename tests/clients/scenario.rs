//! What every client goes through: start, process, checkpoint, graceful stop, resume, reshard under
//! load, graceful stop. Nothing is lost, nothing comes twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::lives::{Life, Source};
use crate::support::sandbox::NOTHING_LEFT_WITHIN;
use crate::support::{
    Aws, Daemon, LeaseRow, Ledger, Load, Properties, Put, Sandbox, Services, until,
};

/// The stream of the samples' properties files.
const STREAM: &str = "kcl-daemon-sample";

/// Interpreters start slowly when the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client's protocol does that can be seen from the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// `leaseLost`, `shardEnded`, `shutdownRequested`.
    P2,
    /// `shutdown` for the first two, and the daemon has to find out.
    P1Unannounced,
    /// The same, and the properties file says so.
    P1,
    /// As P1, without `shutdownRequested`; the daemon finds out by the first checkpoint.
    P0,
}

/// How the daemon is told what to run.
#[derive(Debug, Clone)]
pub enum Program {
    /// A processor of this folder, by `executableName`.
    Processor(String),
    /// A sample with its own properties file: its folder below sample-processors, and what to run instead of
    /// its `executableName`, if anything.
    Sample(&'static str, Option<String>),
}

/// A client under test.
#[derive(Debug, Clone)]
pub struct Client {
    /// What runs.
    pub program: Program,
    /// What it needs in its environment.
    pub environment: Vec<(&'static str, String)>,
    /// How it is observed.
    pub source: Source,
    /// Its protocol.
    pub speaks: Speaks,
}

impl Client {
    /// The daemon's environment.
    fn variables(&self, services: &Services) -> Properties {
        let executable = match &self.program {
            Program::Processor(command) => command,
            Program::Sample(..) => "",
        };
        let mut properties = services.properties("clients", STREAM, executable);
        if self.speaks == Speaks::P1 {
            properties = properties.set("multilangProtocol", "p1");
        }
        // Python would leave its compiled files in the source tree.
        properties = properties.environment("PYTHONDONTWRITEBYTECODE", "1");
        for (name, value) in &self.environment {
            properties = properties.environment(name, value);
        }
        properties
    }

    fn table(&self) -> String {
        match &self.program {
            Program::Processor(_) => "clients".to_owned(),
            Program::Sample(folder, _) => sample_property(folder, "applicationName"),
        }
    }

    fn start(&self, sandbox: &Sandbox, services: &Services) -> Daemon {
        let properties = self.variables(services);
        let Program::Sample(folder, executable) = &self.program else {
            return Daemon::start(sandbox, &properties, &[]);
        };
        let Source::Printed(prefix, _) = &self.source else {
            panic!("a sample is observed by what it prints");
        };
        let own = sample_property(folder, "executableName");
        // STDERR goes into one file per process; the process itself is the sample's.
        let wrapper = sandbox.write(
            "observed.sh",
            format!(
                "#!/bin/sh\nout={}.$$\ndate +%s%N >$out\nexec {} 2>>$out\n",
                prefix.display(),
                executable.as_ref().unwrap_or(&own)
            ),
        );
        let file = sample_file(folder);
        let defines = [
            format!("executableName=sh {}", wrapper.display()),
            format!("kinesisEndpoint={}", services.kinesis_endpoint()),
            format!("dynamoDBEndpoint={}", services.dynamodb_endpoint()),
            "idleTimeBetweenReadsInMillis=200".to_owned(),
            "metricsLevel=NONE".to_owned(),
        ];
        let mut arguments = vec!["--properties", file.to_str().expect("UTF-8")];
        for define in &defines {
            arguments.extend(["-D", define]);
        }
        Daemon::run(sandbox, &properties, &arguments, Stdio::null())
    }
}

/// The properties file of a sample, relative to the repository's root, where cargo runs tests.
pub fn sample_file(folder: &str) -> PathBuf {
    PathBuf::from(format!("sample-processors/{folder}/sample.properties"))
}

/// A value of it.
pub fn sample_property(folder: &str, key: &str) -> String {
    let text = std::fs::read_to_string(sample_file(folder)).expect("the sample's properties");
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .unwrap_or_else(|| panic!("{folder} has no {key}"))
        .1
        .trim()
        .to_owned()
}

/// A run with what it has seen so far.
struct Run<'a> {
    client: &'a Client,
    sandbox: &'a Sandbox,
    services: Services,
    aws: Aws,
    table: String,
    puts: Vec<Put>,
}

/// Runs the scenario.
pub fn run(client: &Client, sandbox: &Sandbox) {
    let services = Services::embedded(sandbox, &[(STREAM, 2)]);
    let aws = Aws::at(&services.endpoints());
    let table = client.table();
    let mut run = Run {
        client,
        sandbox,
        services,
        aws,
        table,
        puts: Vec::new(),
    };
    run.first_daemon();
    let before = client.source.lives().len();
    assert_eq!(
        before,
        2,
        "one process for each shard: {:#?}",
        client.source.lives()
    );
    run.second_daemon(before);
    run.account();
}

/// What one child shows holds for all, as they run the same program (PROTOCOL.md, Dialects): also for one
/// that was started before and has said nothing yet.
pub fn run_with_a_silent_shard(client: &Client, sandbox: &Sandbox) {
    let services = Services::embedded(sandbox, &[(STREAM, 2)]);
    let aws = Aws::at(&services.endpoints());
    let mut daemon = client.start(sandbox, &services);
    until("both shards have a process", PATIENCE, || {
        client.source.lives().len() == 2
    });
    let busy = aws.hash_keys(STREAM)[0];
    let puts = aws
        .put_at(STREAM, &[("one|".to_owned(), busy)])
        .expect("PutRecords");
    let stored = |row: &LeaseRow| row.key == puts[0].shard && row.checkpoint == puts[0].sequence;
    until("the checkpoint that shows the dialect", PATIENCE, || {
        aws.scan_leases(&client.table()).iter().any(stored)
    });
    daemon.stop_gracefully();
    for life in client.source.lives() {
        assert_eq!(life.asked_to_stop, client.speaks != Speaks::P0, "{life:#?}");
        assert!(
            life.lost,
            "it was told the end of its lease in its own words: {life:#?}"
        );
    }
    let log = daemon.log();
    assert!(!log.contains("Traceback"), "{log}");
}

impl Run<'_> {
    /// A new application: everything from TRIM_HORIZON.
    fn first_daemon(&mut self) {
        self.puts.extend(self.aws.put(STREAM, "first", 0, 60));
        let mut daemon = self.client.start(self.sandbox, &self.services);
        self.all_delivered(&daemon);
        self.all_stored();
        self.stop(&mut daemon, None);
        for life in self.client.source.lives() {
            assert!(
                life.start
                    .as_deref()
                    .is_none_or(|start| start == "TRIM_HORIZON"),
                "{life:#?}"
            );
            assert_eq!(
                life.asked_to_stop,
                self.client.speaks != Speaks::P0,
                "shutdownRequested: {life:#?}"
            );
            // An unannounced P1 child dies of `leaseLost` without an answer, and no harm is done.
            assert_eq!(
                life.lost,
                self.client.speaks != Speaks::P1Unannounced,
                "the end of the lease: {life:#?}"
            );
        }
    }

    /// Goes on where the first one was, and sees a shard split under load.
    fn second_daemon(&mut self, before: usize) {
        let stored = self.checkpoints();
        self.puts.extend(self.aws.put(STREAM, "second", 0, 60));
        let mut daemon = self.client.start(self.sandbox, &self.services);
        self.all_delivered(&daemon);
        for life in &self.client.source.lives()[before..] {
            let start = life.start.as_ref();
            assert!(
                start.is_none_or(|start| *start == stored[&life.shard]),
                "resumes at {stored:?}: {life:#?}"
            );
        }

        let load = Load::start(&self.services.endpoints(), STREAM, 4);
        let parent = self.aws.open_shards(STREAM).swap_remove(0);
        let children = self.aws.split(STREAM, &parent);
        assert_eq!(children.len(), 2);
        until("both child shards are processed", PATIENCE, || {
            let lives = self.client.source.lives();
            daemon_runs(&mut daemon);
            children.iter().all(|child| {
                lives
                    .iter()
                    .any(|life| life.shard == *child && life.records >= 5)
            })
        });
        self.puts.extend(load.stop());
        self.all_delivered(&daemon);
        self.all_stored();
        self.stop(&mut daemon, Some(&parent));

        let lives = self.client.source.lives();
        let lives = &lives[before..];
        let of = |shard: &str| {
            lives
                .iter()
                .filter(|life| life.shard == shard)
                .collect::<Vec<_>>()
        };
        let parents = of(&parent);
        // An unannounced P1 child dies of `shardEnded`; another one is then addressed rightly.
        let wanted = 1 + usize::from(self.client.speaks == Speaks::P1Unannounced);
        assert_eq!(
            parents.len(),
            wanted,
            "processes of the parent shard: {parents:#?}"
        );
        let ended = parents
            .last()
            .and_then(|life| life.ended)
            .expect("the last one was told that the shard ended");
        let slack = i64::try_from(self.client.source.slack().as_micros()).expect("small");
        for child in &children {
            let child = of(child);
            assert_eq!(child.len(), 1, "processes of a child shard: {child:#?}");
            assert!(
                child[0]
                    .start
                    .as_deref()
                    .is_none_or(|start| start == "TRIM_HORIZON"),
                "{child:#?}"
            );
            assert!(
                child[0].began + slack > ended,
                "a child shard begins before its parent has ended: {parents:#?} {child:#?}"
            );
        }
        for life in lives.iter().filter(|life| life.shard != parent) {
            assert_eq!(
                life.asked_to_stop,
                self.client.speaks != Speaks::P0,
                "shutdownRequested: {life:#?}"
            );
            // By now the dialect is known in any case.
            assert!(life.lost, "the end of the lease: {life:#?}");
            assert_eq!(life.ended, None, "{life:#?}");
        }
        assert_eq!(
            lives.len(),
            wanted + 3,
            "no other process was started: {lives:#?}"
        );
        if self.client.speaks != Speaks::P1Unannounced {
            let log = daemon.log();
            assert!(
                !log.contains("Traceback") && !log.contains("Error:"),
                "{log}"
            );
        }
    }

    /// SIGTERM: exit code 0 soon, no lease held, no process left.
    fn stop(&self, daemon: &mut Daemon, ended: Option<&str>) {
        daemon.stop_gracefully();
        self.sandbox.assert_no_processes(NOTHING_LEFT_WITHIN);
        for row in self.aws.scan_leases(&self.table) {
            if Some(row.key.as_str()) == ended {
                assert_eq!(row.checkpoint, "SHARD_END", "{row:#?}");
            } else {
                assert_eq!(row.owner, None, "released: {row:#?}");
            }
        }
    }

    fn all_delivered(&self, daemon: &Daemon) {
        until("every record is delivered", PATIENCE, || {
            let lives = self.client.source.lives();
            assert!(!daemon.log().contains("panicked"), "{}", daemon.log_end());
            if counts_only(&lives) {
                return records(&lives) >= self.puts.len();
            }
            let seen: HashSet<&str> = lives
                .iter()
                .flat_map(|life| &life.ids)
                .map(String::as_str)
                .collect();
            self.puts.iter().all(|put| seen.contains(put.id.as_str()))
        });
    }

    /// Every open shard's newest record is its checkpoint.
    fn all_stored(&self) {
        let open = self.aws.open_shards(STREAM);
        let mut newest: HashMap<&str, &str> = HashMap::new();
        for put in self.puts.iter().filter(|put| open.contains(&put.shard)) {
            newest.insert(&put.shard, &put.sequence);
        }
        assert_eq!(newest.len(), open.len(), "there are records in every shard");
        until("every record is covered by a checkpoint", PATIENCE, || {
            let stored = self.checkpoints();
            newest.iter().all(|(shard, sequence)| {
                stored.get(*shard).is_some_and(|stored| stored == sequence)
            })
        });
    }

    fn checkpoints(&self) -> BTreeMap<String, String> {
        let rows = self.aws.scan_leases(&self.table);
        rows.into_iter()
            .map(|row| (row.key, row.checkpoint))
            .collect()
    }

    /// Every record came once, in its shard, in order.
    fn account(&self) {
        let lives = self.client.source.lives();
        assert_eq!(
            records(&lives),
            self.puts.len(),
            "records delivered, records put"
        );
        if !counts_only(&lives) {
            let places: HashMap<&str, (usize, &Put)> = self
                .puts
                .iter()
                .enumerate()
                .map(|(place, put)| (put.id.as_str(), (place, put)))
                .collect();
            let mut seen = HashSet::new();
            for life in &lives {
                let mut last = None;
                for id in &life.ids {
                    let (place, put) = places[id.as_str()];
                    assert!(seen.insert(id), "{id} came twice");
                    assert_eq!(put.shard, life.shard, "{id}");
                    assert!(Some(place) > last, "{id} is out of order in {life:#?}");
                    last = Some(place);
                }
            }
        }
        if let Source::Ledger(path) = &self.client.source {
            let ledger = Ledger::read(path);
            if self.client.speaks != Speaks::P0 {
                // P0 clients do not tell where they start.
                ledger.assert_sound();
            }
            assert_checkpoints(&ledger, self.client.speaks);
        }
    }
}

/// Every checkpoint worked but those after the end of the lease, which have the dialect's error.
fn assert_checkpoints(ledger: &Ledger, speaks: Speaks) {
    let mut lost = HashSet::new();
    let mut worked = 0;
    for event in &ledger.events {
        match event.event.as_str() {
            "leaseLost" => {
                lost.insert(event.pid);
            }
            "checkpoint" if lost.contains(&event.pid) => {
                let wanted = if speaks == Speaks::P2 {
                    "InvalidStateException"
                } else {
                    "ShutdownException"
                };
                assert_eq!(event.error.as_deref(), Some(wanted), "{event:#?}");
            }
            "checkpoint" => {
                assert_eq!(event.error, None, "{event:#?}");
                worked += 1;
            }
            _ => {}
        }
    }
    assert!(worked > 0, "there were checkpoints");
}

fn daemon_runs(daemon: &mut Daemon) {
    if let Some(exit) = daemon.exited() {
        panic!("the daemon ended: {exit:?}\n{}", daemon.log_end());
    }
}

fn counts_only(lives: &[Life]) -> bool {
    lives.iter().all(|life| life.ids.is_empty())
}

fn records(lives: &[Life]) -> usize {
    lives.iter().map(|life| life.records).sum()
}
