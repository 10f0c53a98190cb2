//! Writes on their way, and what the table makes of them.

use std::sync::Arc;

use kcl_daemon::core::lease::LeaseUpdate;
use kcl_daemon::core::shard_sync::child_leases;

use crate::laws;
use crate::steps::{Way, World};
use crate::worker::{Answer, Slow};
use crate::world::{Aim, Flight, Holder, NAMES, Write, key_number};

impl World {
    /// A write of which the writer learns nothing.
    pub fn send_blindly(&mut self, worker: u8, write: Write, aim: Aim, way: Way) -> Option<()> {
        let mind = self.mind(worker)?;
        let by = Holder {
            worker,
            life: mind.life,
            serial: 0,
        };
        self.send(write, aim, by, way).map(|_| ())
    }

    /// Sends a write; gives its answer unless it is slow.
    pub fn send(&mut self, write: Write, aim: Aim, by: Holder, way: Way) -> Option<Option<Answer>> {
        let flight = Flight {
            write,
            aim,
            by,
            sent: self.state.now,
        };
        let answer = match way {
            Way::Slow => None,
            Way::Swift | Way::Twice => Some(self.carry_out(&flight)),
        };
        if way != Way::Swift {
            self.fault()?;
            self.state.flights.push(flight);
        }
        Some(answer)
    }

    pub fn arrives(&mut self, index: usize) {
        let flight = self.state.flights[index].clone();
        self.state.flights.remove(index);
        let answer = self.carry_out(&flight);
        let Write::Update(update) = &flight.write else {
            return;
        };
        let shard = key_number(&update.key);
        let Some(mind) = self.mind(flight.by.worker) else {
            return;
        };
        // Whoever still waits for it is answered.
        let waits = |slow: &Slow| slow.update == *update && slow.sent == flight.sent;
        if let Some(taking) = mind.taking[shard].as_mut().map(Arc::make_mut)
            && taking.id == flight.by
            && waits(&taking.slow)
        {
            taking.slow.answer.get_or_insert(answer);
        } else if let Some(hold) = mind.held[shard].as_mut().map(Arc::make_mut)
            && hold.id == flight.by
            && let Some(slow) = hold.slow.as_mut().filter(|slow| waits(slow))
        {
            slow.answer.get_or_insert(answer);
        }
    }

    /// The table carries a write out, or refuses it.
    fn carry_out(&mut self, flight: &Flight) -> Answer {
        match &flight.write {
            Write::Update(update) => self.carry_out_update(flight, update),
            Write::Create(shard) => {
                let truth = &mut self.state.truth[*shard];
                let row = &mut self.state.rows[*shard];
                if row.is_some() {
                    return Answer::Refused(None);
                }
                truth.existed = true;
                (truth.moved, truth.changed_hands) = (self.state.now, self.state.now);
                let child = crate::world::CHILDREN
                    .iter()
                    .position(|child| child == shard);
                let leases = child_leases(&NAMES.children);
                let made = Arc::new(leases[child.unwrap_or(0)].clone());
                *row = Some(Arc::clone(&made));
                Answer::Applied(made)
            }
            Write::Delete(deletion) => {
                let shard = key_number(&deletion.key);
                let row = self.state.rows[shard].clone();
                match row.filter(|row| deletion.is_permitted_on(Some(row))) {
                    None => Answer::Refused(None),
                    Some(row) => {
                        self.judge(laws::of_delete(&self.state, &row));
                        self.state.rows[shard] = None;
                        Answer::Applied(row)
                    }
                }
            }
        }
    }

    fn carry_out_update(&mut self, flight: &Flight, update: &LeaseUpdate) -> Answer {
        let shard = key_number(&update.key);
        let before = self.state.rows[shard].clone();
        let Some(row) = before
            .clone()
            .filter(|row| update.is_permitted_on(Some(row)))
        else {
            return Answer::Refused(before);
        };
        self.judge(laws::of_update(&self.state, flight, update, &row));
        let after = Arc::new(update.applied_to(&row));
        let truth = &mut self.state.truth[shard];
        if after.counter != row.counter {
            truth.moved = self.state.now;
        }
        if after.actual_owner() != row.actual_owner() {
            truth.changed_hands = self.state.now;
        }
        use kcl_daemon::core::lease::Change;
        match (flight.aim, &update.change) {
            (Aim::Take | Aim::Steal | Aim::Adopt, _) => {
                (truth.holder, truth.acquired) = (Some(flight.by), flight.sent);
            }
            (_, Change::Release | Change::Assign { .. }) => truth.holder = None,
            _ => {}
        }
        self.state.rows[shard] = Some(Arc::clone(&after));
        if let Some(mind) = self.mind(flight.by.worker)
            && let Some(hold) = mind.held[shard].as_mut().map(Arc::make_mut)
            && hold.id == flight.by
        {
            hold.sent_ok = hold.sent_ok.max(flight.sent);
        }
        Answer::Applied(after)
    }
}
