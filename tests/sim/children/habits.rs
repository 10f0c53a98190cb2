//! What a child does with a task.

use std::collections::VecDeque;

use kcl_daemon::core::sequence::{ExtendedSequenceNumber, Position};
use kcl_daemon::ports::ChildExit;
use multilang_protocol::ActionKind;

use crate::trace::Mishap;
use crate::weather::ChildWeather;
use crate::world::{MS, Rng, S, Time};

/// When a child asks for checkpoints while it processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoints {
    /// After each batch, without naming a place.
    EachBatch,
    /// After each batch, naming its last record.
    LastRecord,
    /// In the middle of each batch, naming a record there.
    Middle,
    /// After every so many batches.
    Every(u64),
    /// After each batch, naming the last record of the one before.
    Late,
    /// Only when it is asked to stop, and at the end of the shard.
    AtEndOnly,
    /// Only at the end of the shard.
    Never,
}

impl Checkpoints {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::EachBatch,
        Self::LastRecord,
        Self::Middle,
        Self::Every(3),
        Self::Late,
        Self::AtEndOnly,
        Self::Never,
    ];
}

/// What all children of a world have in common.
#[derive(Debug, Clone)]
pub struct ChildSettings {
    /// The habits children are started with, drawn for each.
    pub habits: Vec<Checkpoints>,
    /// How long a batch takes at most, when the weather is fair.
    pub batch_time: Time,
    /// `timeoutInSeconds`: a child that hangs is killed after that.
    pub timeout: Option<Time>,
    /// When children stop to hang; hanging ones answer then.
    pub calm_at: Time,
}

/// One thing a child does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for a while.
    Wait(Time),
    /// Asks for a checkpoint, and waits for the reply.
    Ask(Ask),
    /// Answers its task.
    Answer(ActionKind),
    /// Ends.
    Exit(ChildExit),
}

/// What it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The place; `None` for everything.
    pub place: Option<ExtendedSequenceNumber>,
    /// How often it asks again when it is told to try later.
    pub tries: u32,
}

/// What a child knows.
pub struct Mind {
    pub habit: Checkpoints,
    pub batches: u64,
    /// The last record it was given.
    pub last: Option<ExtendedSequenceNumber>,
}

/// What a child finds when it gets a task.
pub struct Scene<'a> {
    pub settings: &'a ChildSettings,
    pub weather: &'a ChildWeather,
    pub poisoned: bool,
    pub now: Time,
    pub rng: &'a mut Rng,
    /// What goes wrong with it.
    pub mishaps: Vec<Mishap>,
}

/// What a child does with a task; `records` of `processRecords`.
pub fn script(
    kind: ActionKind,
    records: &[ExtendedSequenceNumber],
    mind: &mut Mind,
    scene: &mut Scene<'_>,
) -> VecDeque<Step> {
    let Scene {
        settings,
        weather,
        poisoned,
        now,
        rng,
        mishaps,
    } = scene;
    let mut steps = VecDeque::new();
    let work = match kind {
        ActionKind::ProcessRecords if rng.chance(weather.slow) => {
            mishaps.push(Mishap::ChildSlow);
            rng.between(
                settings.batch_time,
                weather.slow_for.max(settings.batch_time),
            )
        }
        ActionKind::ProcessRecords => rng.mostly_low(500, settings.batch_time),
        _ => rng.mostly_low(500, 50 * MS),
    };
    // Before or after the work, and so before or after its checkpoint.
    let crash_at = match kind {
        ActionKind::ProcessRecords if *poisoned => {
            mishaps.push(Mishap::ChildPoisoned);
            Some(0)
        }
        _ if rng.chance(weather.crash) => {
            mishaps.push(Mishap::ChildCrashes);
            Some(rng.below(4))
        }
        _ => None,
    };
    let exit = |steps: &mut VecDeque<Step>, rng: &mut Rng| {
        steps.push_back(Step::Exit(match rng.below(3) {
            0 => ChildExit::Signalled(9),
            1 => ChildExit::BadOutput("what?".to_owned()),
            _ => ChildExit::Exited(1),
        }));
    };
    if crash_at == Some(0) {
        steps.push_back(Step::Wait(work / 2));
        exit(&mut steps, rng);
        return steps;
    }
    if rng.chance(weather.hang) {
        mishaps.push(Mishap::ChildHangs);
        match settings.timeout {
            Some(timeout) => {
                steps.push_back(Step::Wait(timeout));
                steps.push_back(Step::Exit(ChildExit::Hung {
                    action: "something",
                    seconds: timeout / S,
                }));
                return steps;
            }
            None => steps.push_back(Step::Wait(settings.calm_at.saturating_sub(*now))),
        }
    }
    steps.push_back(Step::Wait(work));
    let asks: Vec<Ask> = match kind {
        ActionKind::ProcessRecords => during_batch(records, mind, weather, rng, mishaps),
        ActionKind::ShutdownRequested if mind.habit == Checkpoints::Never => {
            mishaps.push(Mishap::CheckpointNever);
            Vec::new()
        }
        ActionKind::ShutdownRequested => vec![all()],
        ActionKind::ShardEnded => at_end(mind, weather, rng, mishaps),
        ActionKind::LeaseLost if rng.chance(weather.asks_when_lost) => {
            mishaps.push(Mishap::AsksWhenLost);
            vec![all()]
        }
        _ => Vec::new(),
    };
    for ask in asks {
        steps.push_back(Step::Ask(ask));
        if crash_at == Some(1) {
            exit(&mut steps, rng);
        }
        steps.push_back(Step::Wait(rng.mostly_low(200, 20 * MS)));
    }
    if crash_at.is_some() {
        exit(&mut steps, rng);
    }
    steps.push_back(Step::Answer(kind));
    if crash_at.is_none() && kind != ActionKind::LeaseLost && rng.chance(weather.crash / 4) {
        // While it has nothing to do.
        steps.push_back(Step::Wait(rng.between(1, 2 * S)));
        exit(&mut steps, rng);
    }
    steps
}

fn all() -> Ask {
    Ask {
        place: None,
        tries: 3,
    }
}

fn at(place: &ExtendedSequenceNumber) -> Ask {
    Ask {
        place: Some(place.clone()),
        tries: 3,
    }
}

fn during_batch(
    records: &[ExtendedSequenceNumber],
    mind: &mut Mind,
    weather: &ChildWeather,
    rng: &mut Rng,
    mishaps: &mut Vec<Mishap>,
) -> Vec<Ask> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Vec::new();
    };
    mind.batches += 1;
    let before = mind.last.replace(last.clone());
    let middle = &records[usize::try_from(rng.below(records.len() as u64)).unwrap_or(0)];
    let mut asks = match mind.habit {
        Checkpoints::EachBatch => vec![all()],
        Checkpoints::LastRecord => vec![at(last)],
        Checkpoints::Middle => vec![at(middle)],
        Checkpoints::Every(n) if mind.batches.is_multiple_of(n) => vec![all()],
        Checkpoints::Late => before.iter().map(at).collect(),
        Checkpoints::Every(_) | Checkpoints::AtEndOnly | Checkpoints::Never => Vec::new(),
    };
    if mind.habit == Checkpoints::Late && !asks.is_empty() {
        mishaps.push(Mishap::CheckpointLate);
    }
    if rng.chance(weather.odd_checkpoint) {
        let odd = match rng.below(5) {
            0 => ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
            1 => ExtendedSequenceNumber::SHARD_END,
            2 => before.unwrap_or_else(|| first.clone()),
            3 => first.clone(),
            _ => ExtendedSequenceNumber {
                sub_sequence: last.sub_sequence + 1,
                ..last.clone()
            },
        };
        mishaps.push(match odd > *last {
            true => Mishap::CheckpointAhead,
            false => Mishap::CheckpointBack,
        });
        asks.push(at(&odd));
    }
    asks
}

fn at_end(
    mind: &Mind,
    weather: &ChildWeather,
    rng: &mut Rng,
    mishaps: &mut Vec<Mishap>,
) -> Vec<Ask> {
    if rng.chance(weather.lazy_at_end) {
        mishaps.push(Mishap::LazyAtEnd);
        return Vec::new();
    }
    // Two ways to say that everything is done; the second is the one Java swallows (#211).
    match &mind.last {
        Some(last) if rng.chance(500) => vec![at(last)],
        _ => vec![all()],
    }
}
