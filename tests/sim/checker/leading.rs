//! I.33 to I.38: the leader, and what it moves. (I.37, that two leaders at a time do no harm, is that
//! all others hold.)

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::leader_lock::LockChange;
use kcl_daemon::core::lease::{Change, Condition, Counter, LeaseUpdate};

use super::Violation;
use super::history::{History, Rows};
use crate::trace::{Answer, Op, ProcessNumber, Told, What};
use crate::world::{MS, Time};

/// Who holds the lock while one goes through a trace.
#[derive(Default)]
struct Lock {
    owner: Option<WorkerId>,
    /// Who held it before, and until when.
    former: BTreeMap<WorkerId, Time>,
}

impl Lock {
    fn on(&mut self, history: &History<'_>, index: usize) {
        let Some(write) = history.write(index) else {
            return;
        };
        let was = write.before.and_then(|row| row.as_leader());
        let is = write.after.and_then(|row| row.as_leader());
        if was.is_none() && is.is_none() {
            return;
        }
        if let Some(was) = was {
            self.former.insert(was.owner.clone(), write.at);
        }
        self.owner = is.map(|lock| lock.owner.clone());
    }

    /// Whether a worker is the leader, or was so a moment ago.
    fn is_led_by(&self, worker: &WorkerId, now: Time, grace: Time) -> bool {
        self.owner.as_ref() == Some(worker)
            || self
                .former
                .get(worker)
                .is_some_and(|until| now <= *until + grace)
    }
}

/// Whether a write relies on the lease being one's own.
fn is_own(update: &LeaseUpdate, me: &WorkerId) -> bool {
    matches!(
        &update.condition,
        Condition::Owners { owner, checkpoint_owner, .. }
            if owner.as_ref() == Some(me) || checkpoint_owner.as_ref() == Some(me)
    )
}

/// I.33: in the 3.x algorithm a worker that is not the leader changes the owner of a lease only to let
/// go of its own, or to take back what carries its id.
pub fn only_the_leader_moves_leases(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if !history.rules.assigned {
        return wrong;
    }
    let mut lock = Lock::default();
    let mut rows = Rows::default();
    // Whose each lease was at a process's last look.
    let mut seen: BTreeMap<(ProcessNumber, LeaseKey), Option<WorkerId>> = BTreeMap::new();
    // The same of single rows, which are read when they are about to expire, and to look for parents.
    let mut looked_at = seen.clone();
    // Processes that take part in the election. Others follow the 2.x algorithm, or do not yet know.
    let mut elects: BTreeSet<ProcessNumber> = BTreeSet::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let What::Sent {
            op: Op::Leader | Op::WriteLeader(_),
            ..
        } = &event.what
        {
            elects.extend(event.by);
        }
        lock.on(history, index);
        if let Some(write) = history.write(index) {
            rows.after(&write);
        }
        if let (Some(process), What::Answered { answer, .. }) = (event.by, &event.what) {
            let (rows, seen) = match answer {
                Answer::Rows(rows) => (&rows[..], &mut seen),
                Answer::Row(Some(row)) | Answer::Lost(Some(row)) => {
                    (std::slice::from_ref(row), &mut looked_at)
                }
                _ => continue,
            };
            for lease in rows.iter().filter_map(|row| row.as_lease()) {
                seen.insert((process, lease.key.clone()), lease.owner.clone());
            }
        }
        let What::Sent {
            op: Op::Update(update),
            ..
        } = &event.what
        else {
            continue;
        };
        let ours = |process: &ProcessNumber| history.is_ours(*process) && elects.contains(process);
        let Some(process) = event.by.filter(ours) else {
            continue;
        };
        let me = history.name(process);
        let (place, mine) = ((process, update.key.clone()), Some(me.clone()));
        let own = is_own(update, &me)
            || seen.get(&place) == Some(&mine)
            || looked_at.get(&place) == Some(&mine)
            || rows.lease(&update.key).is_some_and(|lease| {
                lease.actual_owner() == Some(&me) || lease.owner.as_ref() == Some(&me)
            });
        // A suspended machine does not know how long it was away.
        let grace = history.rules.failover + history.suspended(process, 0, event.at);
        let leads = lock.is_led_by(&me, event.at, grace);
        let right = match &update.change {
            Change::Take { .. } => own,
            // Whoever stops passes on what is being handed to it.
            Change::Assign { .. } | Change::BeginHandOff { .. } => own || leads,
            _ => true,
        };
        if !right {
            let text = format!("{me} is not the leader and writes {:?}", update.change);
            wrong.push(history.violation("I.33", index, Some(&update.key), text));
        }
    }
    wrong
}

/// I.34: once nothing goes wrong, a hand-off ends in time: at once when the old owner has no child for
/// the shard.
pub fn hand_offs_end(history: &History<'_>) -> Vec<Violation> {
    struct HandOff {
        since: Time,
        had_child: bool,
    }
    let mut wrong = Vec::new();
    let mut pending: BTreeMap<LeaseKey, HandOff> = BTreeMap::new();
    let mut children: BTreeMap<LeaseKey, BTreeSet<u32>> = BTreeMap::new();
    let Some(calm) = history.calm else {
        return wrong;
    };
    let rules = history.rules;
    let mut late = |index: usize, now: Time, key: &LeaseKey, hand_off: &HandOff| {
        let limit = match hand_off.had_child {
            true => rules.hand_off_timeout + rules.failover,
            false => rules.failover * 2,
        };
        if now > hand_off.since + limit {
            let text = format!("in hand-off for {} ms", (now - hand_off.since) / MS);
            wrong.push(history.violation("I.34", index, Some(key), text));
        }
    };
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::ChildStarted { child, shard } => {
                let key = LeaseKey::of_shard(shard);
                if let Some(hand_off) = pending.get_mut(&key) {
                    hand_off.had_child = true;
                }
                children.entry(key).or_default().insert(*child);
            }
            What::ChildGone { child, .. } => {
                children.values_mut().for_each(|of| {
                    of.remove(child);
                });
            }
            // What began before gets its whole time again: a new leader gives it so.
            What::Calm => pending.values_mut().for_each(|p| p.since = event.at),
            _ => {}
        }
        let Some(write) = history.write(index) else {
            continue;
        };
        let handing = write.after_lease().is_some_and(|lease| {
            // A worker of Java renews for ever what it has no consumer for (C.9).
            let old = lease.checkpoint_owner.as_ref();
            lease.in_hand_off() && old.is_some_and(|old| history.is_worker_of_ours(old))
        });
        if !handing {
            if let Some(hand_off) = pending.remove(write.key)
                && index > calm
            {
                late(index, event.at, write.key, &hand_off);
            }
        } else if !pending.contains_key(write.key) {
            let had_child = children.get(write.key).is_some_and(|of| !of.is_empty());
            let since = event.at;
            pending.insert(write.key.clone(), HandOff { since, had_child });
        }
    }
    let last = history.trace.events.len().saturating_sub(1);
    let end = history.trace.events.last().map_or(0, |event| event.at);
    for (key, hand_off) in &pending {
        late(last, end, key, hand_off);
    }
    wrong
}

/// I.35: while a hand-off is under way the next owner neither renews nor delivers.
pub fn the_next_owner_waits(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut rows = Rows::default();
    // Whoever edits owners by hand, counters untouched, cannot ask for this.
    let mut edited: BTreeMap<&LeaseKey, Option<Counter>> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let What::Told {
            child,
            told: Told::Records(_),
        } = &event.what
            && let Some(child) = history.children.get(child)
            && history.is_ours(child.process)
        {
            let key = LeaseKey::of_shard(&child.shard);
            let me = history.name(child.process);
            let waits = rows.lease(&key).is_some_and(|lease| {
                lease.owner.as_ref() == Some(&me)
                    && lease
                        .checkpoint_owner
                        .as_ref()
                        .is_some_and(|old| *old != me)
            });
            if waits && !edited.contains_key(&key) && !history.has_slept(child.process, event.at) {
                let text = format!("{me} delivers before the old owner let go");
                wrong.push(history.violation("I.35", index, Some(&key), text));
            }
        }
        let Some(write) = history.write(index) else {
            continue;
        };
        if write.call.is_none() {
            let counter = write.after_lease().map(|lease| lease.counter);
            edited.insert(write.key, counter);
        }
        if let (Some(process), Some(before), Some(Change::Renew)) =
            (write.process(), write.before_lease(), write.change())
            && history.is_ours(process)
            && before.in_hand_off()
            // Nor can the first renewal after that fail.
            && edited.get(write.key) != Some(&Some(before.counter))
            && before.actual_owner() != Some(&history.name(process))
        {
            let text = "renewed by somebody else than the old owner";
            wrong.push(history.violation("I.35", index, Some(write.key), text));
        }
        rows.after(&write);
    }
    wrong
}

/// I.36: whoever keeps the lock alive looks at the table, or gives the lock up.
pub fn whoever_leads_works(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if !history.rules.assigned {
        return wrong;
    }
    let limit = history.rules.assignment_interval * 4;
    // Since when a process leads without having seen the table.
    let mut idle: BTreeMap<ProcessNumber, Time> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        let Some(process) = event.by.filter(|process| history.is_ours(*process)) else {
            continue;
        };
        match &event.what {
            What::Answered {
                answer: Answer::Rows(_),
                ..
            } => {
                idle.insert(process, event.local);
            }
            What::Applied { call, after, .. } => {
                let Some(call) = history.call(*call) else {
                    continue;
                };
                let lock = after.as_ref().and_then(|row| row.as_leader());
                let Op::WriteLeader(write) = call.op else {
                    continue;
                };
                if lock.is_none() {
                    continue;
                }
                if matches!(write.change, LockChange::Put(_)) {
                    // Begins to lead now.
                    idle.insert(process, event.local);
                }
                let since = *idle.entry(process).or_insert(event.local);
                if event.local > since + limit {
                    let text = format!(
                        "keeps the lock, and has not seen the table for {} ms",
                        (event.local - since) / MS
                    );
                    wrong.push(history.violation("I.36", index, None, text));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// I.38: nothing is given to a worker of which the leader knows that it left: it had seen no metrics of
/// it at its last look.
pub fn leavers_are_no_targets(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<ProcessNumber, BTreeSet<WorkerId>> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        let Some(process) = event.by.filter(|process| history.is_ours(*process)) else {
            continue;
        };
        match &event.what {
            What::Answered {
                answer: Answer::Rows(rows),
                ..
            } => {
                let workers = rows.iter().filter_map(|row| row.as_metrics());
                let workers = workers.map(|stats| stats.worker.clone()).collect();
                seen.insert(process, workers);
            }
            What::Sent {
                op: Op::Update(update),
                ..
            } => {
                let to = match &update.change {
                    Change::Assign { owner, .. } => owner,
                    Change::BeginHandOff { to, .. } => to,
                    _ => continue,
                };
                // Whoever lets go of its own lease chose when it began to stop, or the leader chose; and
                // one knows oneself.
                let me = history.name(process);
                let finishes = is_own(update, &me);
                let knows = seen.get(&process).is_some_and(|seen| seen.contains(to));
                if !finishes && !knows && *to != me {
                    let text = format!("given to {to}, which has no metrics");
                    wrong.push(history.violation("I.38", index, Some(&update.key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}
