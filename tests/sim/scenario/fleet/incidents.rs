//! What happens to a fleet and its world: incidents of a plan, edits by hand.

use std::sync::Arc;

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::migration::client_version::{self, ClientVersion};
use kcl_daemon::core::time::WallTime;
use kcl_daemon::worker::coordinator::StopRequest;

use super::Fleet;
use crate::scenario::Incident;
use crate::trace::{Item, Mishap, Row, What};
use crate::weather::Weather;
use crate::world::{S, Time};

impl Fleet {
    /// Lets an incident happen.
    pub fn happen(self: &Arc<Self>, incident: &Incident) {
        let world = &self.world;
        let lift = |length: Time, lift: fn(&mut Weather)| {
            world.after(length, move |world| lift(&mut world.weather()));
        };
        match incident {
            Incident::Kill(index) => {
                if let Some(process) = self.process(*index) {
                    world.note(What::Mishap(Mishap::Killed));
                    world.kill(&process);
                }
            }
            Incident::Stop(index, again) => self.stop(*index, StopRequest::Graceful, *again),
            Incident::StopNow(index, again) => self.stop(*index, StopRequest::AtOnce, *again),
            Incident::Freeze(index, stillness, length) => {
                if let Some(process) = self.process(*index) {
                    world.freeze(&process, *stillness, *length);
                }
            }
            Incident::Skew(index, skew_ms) => {
                if let Some(process) = self.process(*index) {
                    world.note_by(&process, What::Mishap(Mishap::ClockJumps));
                    process.skew(*skew_ms);
                }
            }
            Incident::Rolling(pause) => {
                world.note(What::Mishap(Mishap::Rolling));
                for index in 0..self.plan.workers.len() {
                    let fleet = Arc::clone(self);
                    world.after(pause * index as u64, move |_| {
                        fleet.stop(index, StopRequest::Graceful, S);
                    });
                }
            }
            Incident::TableDown(length) => {
                world.note(What::Mishap(Mishap::TableDown));
                world.note(What::Fault(format!("the table is down for {length} us")));
                world.weather().table.down = true;
                lift(*length, |weather| weather.table.down = false);
            }
            Incident::CutOff(index, length) => {
                if let Some(process) = self.process(*index) {
                    let number = process.number;
                    world.note(What::Mishap(Mishap::CutOff));
                    world.note(What::Fault(format!("#{number} is cut off for {length} us")));
                    world.weather().table.cut_off.insert(number);
                    world.after(*length, move |world| {
                        world.weather().table.cut_off.remove(&number);
                    });
                }
            }
            Incident::StreamDown(length) => {
                world.note(What::Mishap(Mishap::StreamDown));
                world.note(What::Fault(format!("the stream is down for {length} us")));
                world.weather().stream.down = true;
                lift(*length, |weather| weather.stream.down = false);
            }
            Incident::Split(which) | Incident::Merge(which) => {
                let now_ms = world.wall_ms();
                let mut source = world.source();
                let index = which % source.open().len();
                let events = match incident {
                    Incident::Split(_) => source.split(index, now_ms),
                    _ => source.merge(index, now_ms),
                };
                drop(source);
                if !events.is_empty() {
                    world.note(What::Mishap(match incident {
                        Incident::Split(_) => Mishap::Split,
                        _ => Mishap::Merge,
                    }));
                }
                for event in events {
                    world.note(event);
                }
            }
            Incident::ExpireIterators => {
                world.note(What::Mishap(Mishap::AllIteratorsExpired));
                world.source().engine.expire_iterators();
            }
            Incident::DeleteRow(which) => {
                self.edit_of(Mishap::RowDeleted, |_| true, *which, |_| None);
            }
            Incident::Disown(which) => {
                self.edit_lease(Mishap::OwnerRemoved, *which, |lease| lease.owner = None);
            }
            Incident::Give(which, to) => {
                let to = WorkerId::new(to);
                self.edit_lease(Mishap::OwnerChanged, *which, |lease| lease.owner = Some(to));
            }
            Incident::RaiseCounter(which) => {
                self.edit_lease(Mishap::CounterChanged, *which, |lease| {
                    lease.counter = lease.counter.next();
                });
            }
            Incident::HandOff(which, to) => {
                let to = WorkerId::new(to);
                self.edit_lease(Mishap::HandOffEdited, *which, |lease| {
                    lease.checkpoint_owner = lease.owner.replace(to);
                });
            }
            Incident::Replace(index, next) => {
                self.deployed.lock().expect("one thread")[*index] = *next;
                self.stop(*index, StopRequest::Graceful, S);
            }
            Incident::Tool(state) => {
                if *state == ClientVersion::V2x {
                    world.table().drop_index();
                }
                let at = WallTime::from_millis(world.wall_ms());
                let key = LeaseKey::new(client_version::KEY);
                let before = world.table().row(&key).cloned();
                let item = before.as_ref().and_then(|row| row.as_client_version());
                let after = item.map(|item| item.moved_to(*state, "KclMigrationTool", at));
                let after = after.map(Row::client_version).map(Arc::new);
                world.table().set(world.now(), &key, after.clone());
                world.note(What::Edited { before, after });
            }
            Incident::MakeAnew(gap, shards) => {
                world.note(What::Fault("the stream is deleted".to_owned()));
                let were_open = world.source().delete(world.wall_ms());
                let shards = *shards;
                world.after(*gap, move |world| {
                    let now_ms = world.wall_ms();
                    let events = world.source().make_anew(were_open, shards, now_ms);
                    events.into_iter().for_each(|event| world.note(event));
                });
            }
            Incident::DeleteLeases => {
                while self.edit_of(
                    Mishap::RowDeleted,
                    |row| row.as_lease().is_some(),
                    0,
                    |_| None,
                ) {}
            }
            Incident::Garbage | Incident::Foreign => {
                let (key, item, mishap) = match incident {
                    Incident::Garbage => ("shardId-garbage", Item::Garbage, Mishap::GarbageRow),
                    _ => {
                        let item = Item::Foreign("STREAM".to_owned());
                        ("111122223333:orders:1", item, Mishap::ForeignRow)
                    }
                };
                let key = LeaseKey::new(key);
                let row = Arc::new(Row::Item { key, item });
                world
                    .table()
                    .set(world.now(), row.key(), Some(Arc::clone(&row)));
                let (before, after) = (None, Some(row));
                world.note(What::Mishap(mishap));
                world.note(What::Edited { before, after });
            }
        }
    }

    /// Edits a lease that has an owner by hand.
    fn edit_lease(&self, mishap: Mishap, which: usize, change: impl FnOnce(&mut Lease)) {
        self.edit_of(mishap, Row::is_owned, which, |row| {
            let mut row = row.clone();
            if let Row::Lease { lease, .. } = &mut row {
                change(lease);
            }
            Some(row)
        });
    }

    /// Edits one of some rows by hand; `false` if there is none.
    fn edit_of(
        &self,
        mishap: Mishap,
        of: impl Fn(&Row) -> bool,
        which: usize,
        change: impl FnOnce(&Row) -> Option<Row>,
    ) -> bool {
        let world = &self.world;
        let now = world.now();
        let mut table = world.table();
        let rows: Vec<Arc<Row>> = table.rows().filter(|row| of(row)).cloned().collect();
        if rows.is_empty() {
            return false;
        }
        let before = Arc::clone(&rows[which % rows.len()]);
        let after = change(&before).map(Arc::new);
        table.set(now, before.key(), after.clone());
        drop(table);
        let before = Some(before);
        world.note(What::Mishap(mishap));
        world.note(What::Edited { before, after });
        true
    }
}
