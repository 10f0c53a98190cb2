//! Children that take the steps of their script.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, SequenceNumber};
use kcl_daemon::ports::{ChildExit, Ending, Heard, Processor, ProcessorFactory, Task};
use multilang_protocol::{CheckpointReply, CheckpointRequest, Dialect, EncodedBatch};
use tokio::sync::oneshot;

use super::habits::{Ask, ChildSettings, Mind, Scene, Step, script};
use crate::trace::{ChildNumber, Mishap, Told, What};
use crate::world::{MS, Process, S, Time, World};

/// Starts children for one process.
pub struct SimFactory {
    world: Arc<World>,
    process: Arc<Process>,
    settings: Arc<ChildSettings>,
}

impl SimFactory {
    pub fn new(world: &Arc<World>, process: &Arc<Process>, settings: &Arc<ChildSettings>) -> Self {
        Self {
            world: Arc::clone(world),
            process: Arc::clone(process),
            settings: Arc::clone(settings),
        }
    }
}

#[async_trait]
impl ProcessorFactory for SimFactory {
    async fn start(&self, shard: &ShardId) -> Result<Box<dyn Processor>, ChildExit> {
        if !self.world.act(&self.process) {
            pending::<()>().await;
        }
        let (takes, fails) = {
            let no_start = self.world.weather().children.no_start;
            let mut rng = self.world.rng();
            (rng.mostly_low(5 * MS, 300 * MS), rng.chance(no_start))
        };
        pause(&self.world, &self.process, takes).await;
        if fails {
            let mishap = What::Mishap(Mishap::ChildNotStarted);
            self.world.note_by(&self.process, mishap);
            return Err(ChildExit::NotStarted("no such file".to_owned()));
        }
        let number = self.world.next_child();
        let started = What::ChildStarted {
            child: number,
            shard: shard.clone(),
        };
        self.world.note_by(&self.process, started);
        let habit = self.world.rng().pick(&self.settings.habits);
        Ok(Box::new(SimChild {
            world: Arc::clone(&self.world),
            process: Arc::clone(&self.process),
            settings: Arc::clone(&self.settings),
            shard: shard.clone(),
            number,
            steps: VecDeque::new(),
            waiting: None,
            asked: None,
            gone: None,
            mind: Mind {
                habit,
                batches: 0,
                last: None,
            },
        }))
    }
}

async fn pause(world: &Arc<World>, process: &Arc<Process>, time: Time) {
    let (sender, receiver) = oneshot::channel();
    world.after_for(process, time, move |_| {
        let _ = sender.send(());
    });
    if receiver.await.is_err() {
        // The process is dead.
        pending::<()>().await;
    }
}

struct SimChild {
    world: Arc<World>,
    process: Arc<Process>,
    settings: Arc<ChildSettings>,
    shard: ShardId,
    number: ChildNumber,
    steps: VecDeque<Step>,
    /// The end of the wait it is in.
    waiting: Option<oneshot::Receiver<()>>,
    /// What it waits for the reply to.
    asked: Option<Ask>,
    gone: Option<ChildExit>,
    mind: Mind,
}

impl SimChild {
    fn note(&self, what: What) {
        self.world.note_by(&self.process, what);
    }

    fn is_gone(&mut self, exit: ChildExit, how: &'static str) -> ChildExit {
        if self.gone.is_none() {
            let child = self.number;
            self.note(What::ChildGone { child, how });
        }
        self.gone.get_or_insert(exit).clone()
    }

    fn wait(&mut self, time: Time) {
        let (sender, receiver) = oneshot::channel();
        self.world.after_for(&self.process, time, move |_| {
            let _ = sender.send(());
        });
        self.waiting = Some(receiver);
    }
}

#[async_trait]
impl Processor for SimChild {
    fn pid(&self) -> Option<u32> {
        Some(self.number)
    }

    fn dialect(&self) -> Dialect {
        Dialect::P2
    }

    fn send(&mut self, task: Task) {
        let kind = task.kind();
        let told = match task {
            Task::Initialize { checkpoint, .. } => Told::Initialize(checkpoint),
            Task::ProcessRecords(batch) => Told::Records(places(&batch)),
            Task::ShutdownRequested => Told::ShutdownRequested,
            Task::LeaseLost => Told::LeaseLost,
            Task::ShardEnded => Told::ShardEnded,
        };
        let records = match &told {
            Told::Records(records) => records.clone(),
            _ => Vec::new(),
        };
        let child = self.number;
        if !self.world.act_and(&self.process, |world| {
            world.note_by(&self.process, What::Told { child, told });
        }) || self.gone.is_some()
        {
            return;
        }
        let now = self.world.now();
        let weather = self.world.weather();
        let poisoned = weather.children.poisoned.contains(self.shard.as_str());
        let mut rng = self.world.rng();
        let mut scene = Scene {
            settings: &self.settings,
            weather: &weather.children,
            poisoned,
            now,
            rng: &mut rng,
            mishaps: Vec::new(),
        };
        self.steps = script(kind, &records, &mut self.mind, &mut scene);
        let mishaps = scene.mishaps;
        drop((rng, weather));
        for mishap in mishaps {
            self.note(What::Mishap(mishap));
        }
        self.waiting = None;
    }

    fn reply(&mut self, reply: CheckpointReply) {
        let Some(mut ask) = self.asked.take() else {
            return;
        };
        self.note(What::Replied {
            child: self.number,
            error: reply.error.clone(),
        });
        let later = matches!(
            reply.error.as_deref(),
            Some("ThrottlingException" | "KinesisClientLibDependencyException")
        );
        if later && ask.tries > 0 {
            ask.tries -= 1;
            self.steps.push_front(Step::Ask(ask));
            self.steps.push_front(Step::Wait(S / 2));
        }
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(exit) = &self.gone {
                return Heard::Ended(exit.clone());
            }
            if let Some(waiting) = &mut self.waiting {
                if waiting.await.is_err() {
                    // The process is dead.
                    pending::<()>().await;
                }
                self.waiting = None;
            }
            if self.asked.is_some() {
                // Nothing but the reply goes on.
                pending::<()>().await;
            }
            match self.steps.pop_front() {
                None => pending::<()>().await,
                Some(Step::Wait(time)) => self.wait(time),
                Some(Step::Answer(kind)) => {
                    self.note(What::Did { child: self.number });
                    return Heard::Answered(kind);
                }
                Some(Step::Exit(exit)) => {
                    return Heard::Ended(self.is_gone(exit, "by itself"));
                }
                Some(Step::Ask(ask)) => {
                    self.note(What::Asked {
                        child: self.number,
                        place: ask.place.clone(),
                    });
                    let request = CheckpointRequest {
                        sequence_number: ask.place.as_ref().map(|p| p.position.to_string()),
                        sub_sequence_number: ask
                            .place
                            .as_ref()
                            .map(|p| i64::try_from(p.sub_sequence).unwrap_or(i64::MAX)),
                        legacy: false,
                    };
                    self.asked = Some(ask);
                    return Heard::Checkpoint(request);
                }
            }
        }
    }

    async fn end(&mut self, how: Ending) -> ChildExit {
        if let Some(exit) = &self.gone {
            return exit.clone();
        }
        let takes = match how {
            Ending::Gently => self.world.rng().mostly_low(MS, S),
            Ending::AtOnce => self.world.rng().mostly_low(MS, 50 * MS),
        };
        pause(&self.world, &self.process, takes).await;
        self.is_gone(ChildExit::Ended, "ended by its worker")
    }
}

impl Drop for SimChild {
    fn drop(&mut self) {
        if self.gone.is_none() {
            let child = self.number;
            let how = "with its worker";
            self.world
                .note_of(&self.process, What::ChildGone { child, how });
        }
    }
}

/// The records of a batch, as the child reads them.
fn places(batch: &EncodedBatch) -> Vec<ExtendedSequenceNumber> {
    const SEQUENCE: &[u8] = br#""sequenceNumber":""#;
    const SUB: &[u8] = br#""subSequenceNumber":"#;
    let mut rest = batch.bytes();
    let mut places = Vec::with_capacity(batch.records());
    while let Some((digits, after)) = number_after(rest, SEQUENCE) {
        let (sub, after) = number_after(after, SUB).unwrap_or((b"0", after));
        let text = |digits: &[u8]| String::from_utf8_lossy(digits).into_owned();
        if let (Ok(number), Ok(sub)) = (SequenceNumber::parse(&text(digits)), text(sub).parse()) {
            places.push(ExtendedSequenceNumber::record(number, sub));
        }
        rest = after;
    }
    assert_eq!(places.len(), batch.records(), "a batch could not be read");
    places
}

/// The digits behind the next `name`, and what follows them.
fn number_after<'a>(text: &'a [u8], name: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(name.len()).position(|window| window == name)?;
    let rest = &text[at + name.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    Some(rest.split_at(end))
}
