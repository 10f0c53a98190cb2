//! The invariants of a correct worker (`leases.md` I.1 to I.41) and the bounds of G.5, one function
//! each, over a trace.
//!
//! | invariant | is judged by |
//! |---|---|
//! | I.1 one worker delivers | `ownership::one_worker_delivers` |
//! | I.2 nothing from a stale lease | `ownership::nothing_is_delivered_from_a_stale_lease` |
//! | I.3 only what expired is taken | `ownership::only_what_expired_is_taken` |
//! | I.4 counters move by one | `fencing::counters_move_by_one` |
//! | I.5 checkpoints of this tenure | `fencing::checkpoints_belong_to_the_tenure` |
//! | I.6 what is lost is not used | `fencing::what_is_lost_is_not_used` |
//! | I.7 doubts are resolved by reading | `fencing::doubts_are_resolved_by_reading` |
//! | I.8 renewals are never late | `fencing::renewals_are_never_late` |
//! | I.9 one process has an id | `ownership::one_process_has_an_id`, in the worlds of `twins.rs`: the swarm has no two of one id |
//! | I.10 adopted by a write | `ownership::adopted_by_a_write` |
//! | I.11 unknown attributes survive | `rows::unknown_attributes_survive` |
//! | I.12 only leases are written | `rows::only_leases_are_written` |
//! | I.13 strange rows stop nothing | `rows::strange_rows_are_left_alone`, and I.31 in seeds with such rows |
//! | I.14 nothing after the release | `fencing::nothing_is_written_after_the_release` |
//! | I.15 checkpoints never go back | `checkpoints::never_go_back` |
//! | I.16 nor ahead of what was delivered | `checkpoints::never_exceed_what_was_delivered` |
//! | I.17 only when asked | `checkpoints::only_when_asked` |
//! | I.18 no record is skipped | `delivery::no_record_is_skipped` |
//! | I.19 SHARD_END comes last | `checkpoints::shard_end_comes_last` |
//! | I.20 prepared ones are kept | `checkpoints::prepared_ones_are_kept`; that they are not told to children is a decision (`decisions.md`) |
//! | I.21 failed batches come again | `delivery::failed_batches_come_again` |
//! | I.22 a failed checkpoint changes nothing | `checkpoints::replies_are_true`, `checkpoints::copies_do_not_fall_back` |
//! | I.23 parents first | `topology::parents_first` |
//! | I.24 children exist before the end | `topology::children_exist_before_the_end` |
//! | I.25 children start at the horizon | `topology::children_start_at_the_horizon` |
//! | I.26 the hash space is covered | `topology::the_hash_space_is_covered`, and I.31 |
//! | I.27 deletes are due | `topology::deletes_are_due` |
//! | I.28 both parents of a merge | `topology::leases_name_their_parents`, and I.23 |
//! | I.29 wrong lists create nothing | `topology::wrong_lists_create_nothing` |
//! | I.30 a stream made anew | the worlds of `new_stream.rs` |
//! | I.31 everything is well in the end | `assignment::everything_is_well_in_the_end` |
//! | I.32 a balanced fleet rests | `assignment::a_balanced_fleet_rests`, `assignment::leases_do_not_wander` |
//! | I.33 only the leader moves leases | `leading::only_the_leader_moves_leases` |
//! | I.34 hand-offs end | `leading::hand_offs_end` |
//! | I.35 the next owner waits | `leading::the_next_owner_waits` |
//! | I.36 whoever leads works | `leading::whoever_leads_works` |
//! | I.37 two leaders do no harm | all others, in seeds that have two (`Mishap::TwoLeaders` counts them) |
//! | I.38 leavers are no targets | `leading::leavers_are_no_targets` |
//! | I.39 a poisoned shard holds up no other | I.8 in seeds with one, and `targets.rs` |
//! | I.40 outages | I.2, I.15, I.31 in seeds with one, and `targets.rs` for short ones |
//! | I.41 wall clocks | all others in seeds with wrong ones, and `targets.rs` |
//! | G.5 targets | `bounds.rs`, over the quiet worlds of `targets.rs` |
//! | G.6 a stop lets go, in time | `assignment::whoever_stops_lets_go`, `assignment::stops_end` |
//!
//! `history.rs` is what all of them look things up in, `lives.rs` what is known of children.
//!
//! A function looks only at what *our* processes do (`Kind::Ours`): models of Java have Java's faults,
//! and are judged by `Rules::judges_models` only, to see that the checker catches them.

mod assignment;
pub mod bounds;
mod checkpoints;
mod delivery;
mod fencing;
mod history;
mod leading;
mod lives;
mod ownership;
mod rows;
mod topology;

pub use history::History;

use kcl_daemon::core::ids::LeaseKey;

use crate::trace::Trace;
use crate::world::Time;

/// What the checker has to know of the fleet's settings.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `failoverTimeMillis`.
    pub failover: Time,
    /// `maxLeasesToStealAtOneTime`.
    pub max_steals: usize,
    /// Whether a leader assigns the leases.
    pub assigned: bool,
    /// `gracefulLeaseHandoffTimeoutMillis`.
    pub hand_off_timeout: Time,
    /// `leaseAssignmentIntervalMillis`.
    pub assignment_interval: Time,
    /// How long the stream keeps records, milliseconds.
    pub retention_ms: i64,
    /// `shutdownGraceMillis`, while it counts.
    pub grace: Option<Time>,
    /// Whether models of Java are judged too, as the museum does.
    pub judges_models: bool,
    /// The timestamp of AT_TIMESTAMP, if reading starts there.
    pub initial_timestamp_ms: Option<i64>,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant: `I.15`.
    pub invariant: &'static str,
    /// The event that breaks it.
    pub index: usize,
    /// The lease it is about.
    pub key: Option<LeaseKey>,
    /// What is wrong.
    pub text: String,
}

/// An invariant: a trace in, what breaks it out.
pub type Invariant = fn(&History<'_>) -> Vec<Violation>;

/// All invariants that hold of any trace.
const ALL: &[(&str, Invariant)] = &[
    ("I.1", ownership::one_worker_delivers),
    ("I.2", ownership::nothing_is_delivered_from_a_stale_lease),
    ("I.3", ownership::only_what_expired_is_taken),
    ("I.4", fencing::counters_move_by_one),
    ("I.5", fencing::checkpoints_belong_to_the_tenure),
    ("I.6", fencing::what_is_lost_is_not_used),
    ("I.7", fencing::doubts_are_resolved_by_reading),
    ("I.8", fencing::renewals_are_never_late),
    ("I.9", ownership::one_process_has_an_id),
    ("I.10", ownership::adopted_by_a_write),
    ("I.11", rows::unknown_attributes_survive),
    ("I.12", rows::only_leases_are_written),
    ("I.13", rows::strange_rows_are_left_alone),
    ("I.14", fencing::nothing_is_written_after_the_release),
    ("I.15", checkpoints::never_go_back),
    ("I.16", checkpoints::never_exceed_what_was_delivered),
    ("I.17", checkpoints::only_when_asked),
    ("I.18", delivery::no_record_is_skipped),
    ("I.19", checkpoints::shard_end_comes_last),
    ("I.20", checkpoints::prepared_ones_are_kept),
    ("I.21", delivery::failed_batches_come_again),
    ("I.22", checkpoints::replies_are_true),
    ("I.22", checkpoints::copies_do_not_fall_back),
    ("I.23", topology::parents_first),
    ("I.24", topology::children_exist_before_the_end),
    ("I.25", topology::children_start_at_the_horizon),
    ("I.26", topology::the_hash_space_is_covered),
    ("I.27", topology::deletes_are_due),
    ("I.28", topology::leases_name_their_parents),
    ("I.29", topology::wrong_lists_create_nothing),
    ("I.31", assignment::everything_is_well_in_the_end),
    ("I.32", assignment::a_balanced_fleet_rests),
    ("I.32", assignment::leases_do_not_wander),
    ("I.33", leading::only_the_leader_moves_leases),
    ("I.34", leading::hand_offs_end),
    ("I.35", leading::the_next_owner_waits),
    ("I.36", leading::whoever_leads_works),
    ("I.38", leading::leavers_are_no_targets),
    ("G.6", assignment::whoever_stops_lets_go),
    ("G.6", assignment::stops_end),
];

/// Judges a trace by all invariants.
pub fn judge(trace: &Trace, rules: Rules) -> Vec<Violation> {
    let history = History::of(trace, rules);
    ALL.iter()
        .flat_map(|(_, invariant)| invariant(&history))
        .collect()
}
