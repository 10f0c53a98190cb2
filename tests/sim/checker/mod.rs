//! The invariants of a correct worker (`leases.md` I.1 to I.41) and the bounds of G.5, one function
//! each, over a trace.
//!
//! | file | invariants |
//! |---|---|
//! | `history.rs` | what all of them look things up in |
//! | `fencing.rs` | I.1 to I.14: fencing and ownership |
//! | `checkpoints.rs` | I.15 to I.22 |
//! | `topology.rs` | I.23 to I.29: shards |
//! | `assignment.rs` | I.31, I.32: who holds what in the end |
//! | `leading.rs` | I.33 to I.38: the leader, hand-offs |
//! | `bounds.rs` | I.39 to I.41 and G.5, for scenarios made for them |
//!
//! A function looks only at what *our* processes do (`Kind::Ours`): models of Java have Java's faults,
//! and are judged by `Rules::judges_models` only, to see that the checker catches them.

pub mod assignment;
pub mod bounds;
pub mod checkpoints;
pub mod fencing;
mod history;
pub mod leading;
pub mod topology;

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
    ("I.1", fencing::one_worker_delivers),
    ("I.2", fencing::nothing_is_delivered_from_a_stale_lease),
    ("I.3", fencing::only_what_expired_is_taken),
    ("I.4", fencing::counters_move_by_one),
    ("I.5", fencing::checkpoints_belong_to_the_tenure),
    ("I.6", fencing::what_is_lost_is_not_used),
    ("I.7", fencing::doubts_are_resolved_by_reading),
    ("I.8", fencing::renewals_are_never_late),
    ("I.9", fencing::one_process_has_an_id),
    ("I.10", fencing::adopted_by_a_write),
    ("I.11", fencing::unknown_attributes_survive),
    ("I.12", fencing::only_leases_are_written),
    ("I.13", fencing::strange_rows_are_left_alone),
    ("I.14", fencing::nothing_is_written_after_the_release),
    ("I.15", checkpoints::never_go_back),
    ("I.16", checkpoints::never_exceed_what_was_delivered),
    ("I.17", checkpoints::only_when_asked),
    ("I.18", checkpoints::no_record_is_skipped),
    ("I.19", checkpoints::shard_end_comes_last),
    ("I.20", checkpoints::prepared_ones_are_kept),
    ("I.21", checkpoints::failed_batches_come_again),
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
