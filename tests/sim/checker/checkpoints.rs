//! I.15 to I.17, I.19, I.20 and I.22: what is stored, and what children are told of it.

use std::collections::BTreeMap;

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::laws;
use kcl_daemon::core::lease::{Change, Condition, Counter};
use kcl_daemon::core::sequence::Position;

use super::Violation;
use super::history::{History, Rows};
use super::lives::{Lives, Place, stored};
use crate::trace::{Answer, Op, ProcessNumber, Told, What};

/// I.15: the checkpoint of a row never goes back.
pub fn never_go_back(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for write in history.writes() {
        if !write.process().is_some_and(|p| history.is_ours(p)) {
            continue;
        }
        if let (Some(before), Some(after)) = (write.before_lease(), write.after_lease())
            && !laws::checkpoint_stays_or_advances(&before.checkpoint, &after.checkpoint)
        {
            let text = format!("{} over {}", after.checkpoint, before.checkpoint);
            wrong.push(history.violation("I.15", write.index, Some(write.key), text));
        }
    }
    wrong
}

/// I.16: a checkpoint never exceeds what was delivered to the child, or where it started.
pub fn never_exceed_what_was_delivered(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    stored(history, |index, key, to, asker| {
        let Some(life) = asker.filter(|_| !to.is_shard_end()) else {
            return;
        };
        if !laws::checkpoint_was_earned(to, life.largest(), life.told_shard_ended) {
            let text = format!("{to} was never delivered, only {}", life.largest());
            wrong.push(history.violation("I.16", index, Some(key), text));
        }
    });
    wrong
}

/// I.17: nothing is stored that no child asked for.
pub fn only_when_asked(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    stored(history, |index, key, to, asker| {
        let fits = asker.and_then(|life| life.asked.as_ref().map(|asked| (life, asked)));
        let fits = fits.is_some_and(|(life, asked)| match asked {
            _ if to.is_shard_end() => life.told_shard_ended,
            None => to == life.largest(),
            Some(place) => to == place,
        });
        if !fits {
            let text = format!("no child asked for {to}");
            wrong.push(history.violation("I.17", index, Some(key), text));
        }
    });
    wrong
}

/// I.19: SHARD_END is stored only after `shardEnded`, and only when all records of the shard were
/// delivered; nobody begins behind it (#1744).
pub fn shard_end_comes_last(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let What::Told {
            child,
            told: Told::Initialize(start),
        } = &event.what
            && start.is_shard_end()
            && let Some(child) = history.children.get(child)
            && history.is_ours(child.process)
        {
            let key = LeaseKey::of_shard(&child.shard);
            let text = "a finished shard is given to a child";
            wrong.push(history.violation("I.19", index, Some(&key), text));
        }
    }
    stored(history, |index, key, to, asker| {
        if !to.is_shard_end() {
            return;
        }
        let Some(life) = asker.filter(|life| life.told_shard_ended) else {
            let text = "the child was not told that the shard ended";
            wrong.push(history.violation("I.19", index, Some(key), text));
            return;
        };
        let Some(shard) = history.shards.get(&life.shard) else {
            return;
        };
        if shard.closed.is_none_or(|closed| closed > index) {
            let text = "the shard is open";
            wrong.push(history.violation("I.19", index, Some(key), text));
        }
        let from_latest = life.start.position == Position::Latest && life.last.is_none();
        let horizon = history.horizon_ms(history.trace.events[index].at);
        let from = match (&life.start.position, history.rules.initial_timestamp_ms) {
            (Position::AtTimestamp, Some(from)) => from.max(horizon),
            _ => horizon,
        };
        let missing = shard
            .records
            .last()
            .filter(|(place, at_ms)| !from_latest && *place > life.largest() && *at_ms >= from);
        if let Some((place, _)) = missing {
            let text = format!("{place} was not delivered");
            wrong.push(history.violation("I.19", index, Some(key), text));
        }
    });
    wrong
}

/// I.20: a prepared checkpoint of a Java worker stays until the next checkpoint, which removes it.
pub fn prepared_ones_are_kept(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for write in history.writes() {
        if !write.process().is_some_and(|p| history.is_ours(p)) {
            continue;
        }
        let (Some(before), Some(after)) = (write.before_lease(), write.after_lease()) else {
            continue;
        };
        let right = match write.change() {
            Some(Change::Checkpoint(_)) => after.pending.is_none(),
            _ => after.pending == before.pending,
        };
        if !right {
            let text = "the prepared checkpoint is not as it should be";
            wrong.push(history.violation("I.20", write.index, Some(write.key), text));
        }
    }
    wrong
}

/// I.22, and the meaning of a reply: "stored" is said only of what the table has; a legal request is
/// never said to be illegal, whatever failed before.
pub fn replies_are_true(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut lives = Lives::default();
    let mut rows = Rows::default();
    let mut owned: BTreeMap<(ProcessNumber, LeaseKey), Place> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let Some(write) = history.write(index) {
            rows.after(&write);
            if let (Some(process), Some(after)) = (write.process(), write.after_lease()) {
                owned.insert((process, write.key.clone()), after.checkpoint.clone());
            }
        }
        if let What::Replied { child, error } = &event.what
            && let Some(life) = lives.lives.get(child)
            && history.is_ours(life.process)
            && let Some(asked) = &life.asking
        {
            let key = LeaseKey::of_shard(&life.shard);
            let wanted = asked.as_ref().unwrap_or_else(|| life.largest());
            let has = owned
                .get(&(life.process, key.clone()))
                .unwrap_or(&life.start);
            match error.as_deref() {
                // At the end of a shard, its last record stands for the end (#211).
                None if life.told_shard_ended
                    && wanted >= life.largest()
                    && !has.is_shard_end() =>
                {
                    let text =
                        format!("the shard ended and is said to be done, the table has {has}");
                    wrong.push(history.violation("I.22", index, Some(&key), text));
                }
                None if has < wanted => {
                    let text = format!("{wanted} is said to be stored, the table has {has}");
                    wrong.push(history.violation("I.22", index, Some(&key), text));
                }
                Some("IllegalArgumentException") if wanted >= has && wanted <= life.largest() => {
                    let text = format!(
                        "{wanted} is refused though it lies between {has} and {}",
                        life.largest()
                    );
                    wrong.push(history.violation("I.22", index, Some(&key), text));
                }
                _ => {}
            }
        }
        lives.on(history, &event.what);
    }
    wrong
}

/// I.22: what a worker holds of a lease never falls back behind a write of its own of which it had the
/// answer, whatever failed since.
pub fn copies_do_not_fall_back(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut newest: BTreeMap<(ProcessNumber, LeaseKey), Counter> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        // A row that was deleted or edited by hand may begin anew.
        if let Some(write) = history.write(index)
            && (write.call.is_none() || write.after.is_none())
        {
            newest.retain(|(_, key), _| key != write.key);
        }
        let Some(process) = event.by.filter(|process| history.is_ours(*process)) else {
            continue;
        };
        match &event.what {
            What::Answered {
                call,
                answer: Answer::Applied(row),
            } => {
                // What leaves the counter alone is nothing that the owner wrote as such.
                let is_note = |change: &Change| {
                    matches!(
                        change,
                        Change::SetChildren(_)
                            | Change::SetHashRange(_)
                            | Change::BeginHandOff { .. }
                    )
                };
                if let Some(lease) = row.as_lease()
                    && history
                        .update(*call)
                        .is_none_or(|(_, update)| !is_note(&update.change))
                {
                    newest.insert((process, lease.key.clone()), lease.counter);
                }
            }
            What::Sent {
                op: Op::Update(update),
                ..
            } => {
                // What is adopted was read, eventually consistent, and not held.
                let (Condition::Counter(known) | Condition::CounterAndOwner(known, _)) =
                    &update.condition
                else {
                    continue;
                };
                if !matches!(update.change, Change::Renew | Change::Checkpoint(_)) {
                    continue;
                }
                let place = (process, update.key.clone());
                if let Some(newest) = newest.get(&place).filter(|newest| known < *newest) {
                    let text = format!("relies on counter {} after {}", known.0, newest.0);
                    wrong.push(history.violation("I.22", index, Some(&update.key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}
