//! Rows with their recent past.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::leader_lock;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::migration::ItemCondition;
use kcl_daemon::core::migration::client_version;
use kcl_daemon::ports::OwnerIndex;

use super::Legacy;
use crate::trace::{Answer, Mishap, Op, Row};
use crate::world::{Rng, S, Time};

/// How long a row's past is kept: longer than any read is stale.
const PAST: Time = 10 * S;

type Version = (Time, Option<Arc<Row>>);

/// One row's present and recent past, newest last. Never empty.
struct Versions(VecDeque<Version>);

impl Versions {
    fn current(&self) -> Option<&Arc<Row>> {
        self.0.back().and_then(|(_, row)| row.as_ref())
    }

    fn at(&self, then: Time) -> Option<&Arc<Row>> {
        let known = self.0.iter().rev().find(|(since, _)| *since <= then);
        known.and_then(|(_, row)| row.as_ref())
    }

    fn push(&mut self, now: Time, row: Option<Arc<Row>>) {
        while self.0.len() > 1 && self.0[1].0 + PAST < now {
            self.0.pop_front();
        }
        self.0.push_back((now, row));
    }
}

/// The table.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<LeaseKey, Versions>,
    /// Since when it can be used, if it was made.
    active_from: Option<Time>,
    /// How long it takes to be made.
    pub takes: Time,
    /// When the index of leases by owner can be asked, if there is one.
    index_from: Option<Time>,
    /// How long that takes.
    pub index_takes: Time,
    /// How far the index is behind the table.
    pub index_lag: Time,
    /// The tables of KCL 3.0 to 3.4, if they are there.
    pub legacy: Option<Legacy>,
    /// What DynamoDB bills for a row, roughly.
    pub row_bytes: usize,
    calls: u64,
}

/// A row before and after it was written, each if it was there.
pub type Change = (Option<Arc<Row>>, Option<Arc<Row>>);

/// What carrying out a request did.
pub struct Effect {
    /// What the caller is told.
    pub answer: Answer,
    /// The row before and after, if something was written.
    pub written: Option<Change>,
    /// How long the answer is held back.
    pub wait: Time,
    /// What is wrong with the answer.
    pub mishap: Option<Mishap>,
}

impl Effect {
    pub(super) fn written(
        answer: Answer,
        before: Option<Arc<Row>>,
        after: Option<Arc<Row>>,
    ) -> Self {
        Self {
            written: Some((before, after)),
            ..Self::nothing(answer)
        }
    }

    pub(super) fn nothing(answer: Answer) -> Self {
        Self {
            answer,
            written: None,
            wait: 0,
            mishap: None,
        }
    }

    fn but(self, mishap: Option<Mishap>) -> Self {
        Self { mishap, ..self }
    }
}

impl Table {
    /// A table that has these rows since for ever.
    pub fn with(rows: impl IntoIterator<Item = Row>) -> Self {
        let mut table = Self {
            active_from: Some(0),
            ..Self::default()
        };
        for row in rows {
            table.set(0, &row.key().clone(), Some(Arc::new(row)));
        }
        table
    }

    /// An operator's tool deletes the index of leases by owner.
    pub fn drop_index(&mut self) {
        self.index_from = None;
    }

    /// The number of the next request.
    pub fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    /// The row as it is.
    pub fn row(&self, key: &LeaseKey) -> Option<&Arc<Row>> {
        self.rows.get(key).and_then(Versions::current)
    }

    /// All rows as they are.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.values().filter_map(Versions::current)
    }

    /// All leases as they are.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.rows().filter_map(|row| row.as_lease())
    }

    /// Puts a row, or deletes it.
    pub fn set(&mut self, now: Time, key: &LeaseKey, row: Option<Arc<Row>>) {
        let fresh = || Versions(VecDeque::from([(0, None)]));
        let versions = self.rows.entry(key.clone()).or_insert_with(fresh);
        versions.push(now, row);
    }

    fn write(
        &mut self,
        now: Time,
        key: &LeaseKey,
        after: Option<Arc<Row>>,
        answer: Answer,
    ) -> Effect {
        let before = self.row(key).cloned();
        self.set(now, key, after.clone());
        Effect {
            answer,
            written: Some((before, after)),
            wait: 0,
            mishap: None,
        }
    }

    /// Carries out a request; eventual reads see each row as it was up to `staleness` ago.
    pub fn carry_out(&mut self, now: Time, op: &Op, staleness: Time, rng: &mut Rng) -> Effect {
        let creating = Some(Mishap::TableCreating);
        if !matches!(op, Op::Open(_)) && self.active_from.is_none_or(|from| now < from) {
            return Effect::nothing(Answer::Unavailable).but(creating);
        }
        match op {
            Op::Open(with_index) => {
                let new = self.active_from.is_none();
                let from = *self.active_from.get_or_insert(now + self.takes);
                if new && *with_index {
                    self.index_from = Some(from + self.index_takes);
                }
                // Whoever opens it looks again and again until it is there.
                let wait = from.saturating_sub(now);
                Effect {
                    wait,
                    ..Effect::nothing(Answer::Created(new)).but(creating.filter(|_| wait > 0))
                }
            }
            Op::Index => {
                let index = match self.index_from {
                    None => OwnerIndex::Absent,
                    Some(from) if now < from => OwnerIndex::Building,
                    Some(_) => OwnerIndex::Active,
                };
                let absent = (index != OwnerIndex::Active).then_some(Mishap::IndexAbsent);
                Effect::nothing(Answer::Index(index)).but(absent)
            }
            Op::CreateIndex => {
                self.index_from.get_or_insert(now + self.index_takes);
                Effect::nothing(Answer::Done)
            }
            Op::Query(owner) => {
                if self.index_from.is_none_or(|from| now < from) {
                    return Effect::nothing(Answer::Unavailable).but(Some(Mishap::IndexAbsent));
                }
                let then = now.saturating_sub(rng.below(self.index_lag + 1));
                let owned = |then: Time| {
                    let rows = self.rows.iter().filter(move |(_, versions)| {
                        let lease = versions.at(then).and_then(|row| row.as_lease());
                        lease.is_some_and(|lease| lease.owner.as_ref() == Some(owner))
                    });
                    rows.map(|(key, _)| key.clone())
                };
                let keys: Vec<LeaseKey> = owned(then).collect();
                let behind = then < now && !owned(now).eq(keys.iter().cloned());
                Effect::nothing(Answer::Keys(keys)).but(behind.then_some(Mishap::IndexBehind))
            }
            Op::Leader => {
                let row = self.row(&LeaseKey::new(leader_lock::KEY)).cloned();
                Effect::nothing(Answer::Row(row))
            }
            Op::WriteLeader(write) => {
                let key = LeaseKey::new(leader_lock::KEY);
                let current = self.row(&key).cloned();
                let lock = current.as_deref().and_then(Row::as_leader);
                if !write.is_permitted_on(lock) {
                    return Effect::nothing(Answer::Lost(current));
                }
                let after = write.applied_to(lock).map(Row::leader).map(Arc::new);
                self.write(now, &key, after, Answer::Done)
            }
            Op::ClientVersion => {
                let row = self.row(&LeaseKey::new(client_version::KEY)).cloned();
                Effect::nothing(Answer::Row(row))
            }
            Op::Legacy(op) => self.carry_out_legacy(now, op),
            Op::WriteClientVersion(write) => {
                let key = LeaseKey::new(client_version::KEY);
                let current = self.row(&key).cloned();
                let state = current.as_deref().and_then(Row::as_client_version);
                let holds = match (&write.condition, state) {
                    (ItemCondition::Absent, state) => state.is_none(),
                    (ItemCondition::State(wanted), Some(item)) => item.now.state == *wanted,
                    (ItemCondition::State(_), None) => false,
                };
                if !holds {
                    return Effect::nothing(Answer::Lost(current));
                }
                let after = Arc::new(Row::client_version(write.item.clone()));
                self.write(now, &key, Some(after), Answer::Done)
            }
            Op::PutMetrics(stats) => {
                let row = Arc::new(Row::metrics(stats.clone()));
                let key = row.key().clone();
                self.write(now, &key, Some(row), Answer::Done)
            }
            Op::DeleteMetrics(stats) => {
                let key = LeaseKey::new(stats.worker.as_str());
                let current = self.row(&key).and_then(|row| row.as_metrics());
                if current.is_some_and(|current| current.last_update == stats.last_update) {
                    self.write(now, &key, None, Answer::Deleted(true))
                } else {
                    Effect::nothing(Answer::Deleted(false))
                }
            }
            Op::Scan => {
                let mut rows = Vec::with_capacity(self.rows.len());
                let mut stale = false;
                for versions in self.rows.values() {
                    let seen = versions.at(now.saturating_sub(rng.below(staleness + 1)));
                    let current = versions.current().map(Arc::as_ptr);
                    stale |= seen.map(Arc::as_ptr) != current;
                    rows.extend(seen.cloned());
                }
                Effect::nothing(Answer::Rows(rows)).but(stale.then_some(Mishap::StaleRead))
            }
            Op::Get(key, strong) => {
                let age = if *strong { 0 } else { rng.below(staleness + 1) };
                let versions = self.rows.get(key);
                let row = versions.and_then(|versions| versions.at(now.saturating_sub(age)));
                Effect::nothing(Answer::Row(row.cloned()))
            }
            Op::Create(row) => match self.row(row.key()) {
                Some(_) => Effect::nothing(Answer::Created(false)),
                None => {
                    let key = row.key().clone();
                    self.write(now, &key, Some(Arc::clone(row)), Answer::Created(true))
                }
            },
            Op::Update(update) => {
                let current = self.row(&update.key).cloned();
                let (lease, extra) = match current.as_deref() {
                    Some(Row::Lease { lease, extra }) => (Some(lease), extra.clone()),
                    _ => (None, BTreeMap::new()),
                };
                match lease.filter(|_| update.is_permitted_on(lease)) {
                    None => Effect::nothing(Answer::Lost(current)),
                    Some(lease) => {
                        let after = Arc::new(Row::Lease {
                            lease: update.applied_to(lease),
                            extra,
                        });
                        let answer = Answer::Applied(Arc::clone(&after));
                        self.write(now, &update.key, Some(after), answer)
                    }
                }
            }
            Op::Delete(deletion) => {
                let current = self.row(&deletion.key).and_then(|row| row.as_lease());
                if deletion.is_permitted_on(current) {
                    self.write(now, &deletion.key, None, Answer::Deleted(true))
                } else {
                    Effect::nothing(Answer::Deleted(false))
                }
            }
        }
    }
}
