//! Runs seeds, and says how to run a failing one again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kcl_daemon::core::sequence::InitialPosition;

use crate::checker::{Rules, Violation, judge};
use crate::coverage::Coverage;
use crate::scenario::{Plan, RETENTION_MS, run};
use crate::trace::Trace;
use crate::world::Time;

fn micros(time: Duration) -> Time {
    Time::try_from(time.as_micros()).unwrap_or(Time::MAX)
}

/// What the checker has to know of a plan.
pub fn rules(plan: &Plan) -> Rules {
    Rules {
        failover: micros(plan.failover),
        assigned: plan.may_be_assigned(),
        hand_off_timeout: micros(plan.hand_off_timeout),
        assignment_interval: micros(plan.failover * 2),
        max_steals: plan.limits.max_steals,
        grace: Some(micros(plan.grace)),
        judges_models: false,
        retention_ms: RETENTION_MS,
        initial_timestamp_ms: match plan.position {
            InitialPosition::AtTimestamp(at_ms) => Some(at_ms),
            _ => None,
        },
    }
}

/// Lives through a plan and judges it.
pub fn try_out(plan: &Plan) -> (Trace, Vec<Violation>) {
    let trace = run(plan);
    let violations = judge(&trace, rules(plan));
    (trace, violations)
}

/// As [`try_out`], with the models of Java judged as if they were ours.
pub fn try_out_models(plan: &Plan) -> (Trace, Vec<Violation>) {
    let trace = run(plan);
    let rules = Rules {
        judges_models: true,
        ..rules(plan)
    };
    let violations = judge(&trace, rules);
    (trace, violations)
}

/// What people need to know of a failing seed.
pub fn report(plan: &Plan, trace: &Trace, violations: &[Violation], command: &str) -> String {
    let mut text = format!("\n{command}\n");
    for violation in violations.iter().take(3) {
        text += &format!(
            "\n{} broken by event {}{}: {}\n",
            violation.invariant,
            violation.index,
            violation
                .key
                .as_ref()
                .map_or_else(String::new, |key| format!(" ({key})")),
            violation.text
        );
        text += &match &violation.key {
            Some(key) => trace.about(key, violation.index, 60),
            None => trace.around(violation.index, 40, 5),
        };
    }
    text += &format!(
        "\n{} violations in all; the plan: {plan:#?}\n",
        violations.len()
    );
    text
}

/// Tries a plan and panics with a report when it breaks an invariant.
pub fn expect_sound(plan: &Plan, command: &str) -> Trace {
    let (trace, violations) = try_out(plan);
    if let Ok(path) = std::env::var("SIM_TRACE") {
        let path = format!("{path}.{}", command.replace(' ', "-"));
        std::fs::write(path, trace.render()).expect("SIM_TRACE names a file to write");
    }
    assert!(
        violations.is_empty(),
        "{}",
        report(plan, &trace, &violations, command)
    );
    trace
}

/// A number that the environment sets.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not '{text}'")),
    )
}

/// How many seeds may fail before it is known that something is badly wrong.
const ENOUGH_FAILURES: usize = 20;

/// The seeds that failed, and the whole report of the lowest: those of all would fill memory.
#[derive(Default)]
struct Failures {
    seeds: BTreeMap<u64, String>,
    first: Option<(u64, String)>,
}

impl Failures {
    fn add(&mut self, seed: u64, report: String) {
        self.seeds.insert(seed, summary(seed, &report));
        if self.first.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
            self.first = Some((seed, report));
        }
    }
}

/// What a list of failing seeds says of one.
fn summary(seed: u64, report: &str) -> String {
    let what = report.lines().find(|line| line.contains("broken by"));
    let what = what.unwrap_or("panicked");
    format!("{seed:8} {}", what.chars().take(200).collect::<String>())
}

/// Runs the mixed scenario for `SIM_SEEDS` seeds from `SIM_FROM` on, for no longer than `SIM_SECONDS`, or
/// for `SIM_SEED` alone, on all processors. After twenty failing seeds it stops, unless `SIM_KEEP_GOING`
/// is set: then each is named when it is met, and all of them in the end.
pub fn swarm(default_seeds: u64) {
    if let Some(seed) = number("SIM_SEED") {
        let plan = Plan::swarm(seed);
        let (trace, violations) = try_out(&plan);
        if let Ok(path) = std::env::var("SIM_TRACE") {
            std::fs::write(&path, trace.render()).expect("SIM_TRACE names a file to write");
        }
        println!("seed {seed}: {} events", trace.events.len());
        let command = replay(seed);
        assert!(
            violations.is_empty(),
            "{}",
            report(&plan, &trace, &violations, &command)
        );
        return;
    }
    let from = number("SIM_FROM").unwrap_or(0);
    let seeds = number("SIM_SEEDS").unwrap_or(default_seeds);
    let limit = number("SIM_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    let keep_going = std::env::var_os("SIM_KEEP_GOING").is_some();
    let next = AtomicU64::new(from);
    let failures: Mutex<Failures> = Mutex::default();
    let coverage: Mutex<Coverage> = Mutex::default();
    let started = Instant::now();
    let events = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let failed = failures.lock().expect("no panic under it").seeds.len();
                    let full = failed >= ENOUGH_FAILURES && !keep_going;
                    if full || started.elapsed() >= limit {
                        return;
                    }
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| {
                        let plan = Plan::swarm(seed);
                        let (trace, violations) = try_out(&plan);
                        events.fetch_add(trace.events.len() as u64, Ordering::Relaxed);
                        coverage.lock().expect("no panic under it").add(&trace);
                        let broken = !violations.is_empty();
                        broken.then(|| report(&plan, &trace, &violations, &replay(seed)))
                    });
                    let failure = match outcome {
                        Ok(failure) => failure,
                        Err(_) => Some(format!("\n{}\nthe simulation panicked\n", replay(seed))),
                    };
                    if let Some(text) = failure {
                        let mut failures = failures.lock().expect("no panic under it");
                        failures.add(seed, text);
                        if keep_going {
                            println!("fails: {}", failures.seeds[&seed]);
                        }
                    }
                }
            });
        }
    });
    let took = started.elapsed().as_secs_f64();
    let seeds = seeds.min(next.load(Ordering::Relaxed) - from);
    println!(
        "FIGURE: {seeds} seeds in {took:.1} s: {:.1} seeds/s, {:.0} events/s",
        seeds as f64 / took,
        events.load(Ordering::Relaxed) as f64 / took
    );
    let coverage = coverage.into_inner().expect("no panic under it");
    if std::env::var("SIM_COVERAGE").is_ok() {
        println!("seeds in which there was\n{coverage}");
    }
    // One that is rare may well be missing in a few seeds.
    let missing = match seeds {
        0..2000 => Vec::new(),
        _ => coverage.missing(1),
    };
    let failures = failures.into_inner().expect("no panic under it");
    if let Some((_, first)) = failures.first {
        let seeds: Vec<String> = failures.seeds.into_values().collect();
        panic!(
            "{first}\n{} failing seeds:\n{}",
            seeds.len(),
            seeds.join("\n")
        );
    }
    assert!(
        missing.is_empty(),
        "the swarm has lost what used to go wrong in it: {missing:?}"
    );
}

fn replay(seed: u64) -> String {
    format!("SIM_SEED={seed} cargo test --test sim swarm -- --nocapture")
}
