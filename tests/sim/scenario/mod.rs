//! A seed's world from its first to its last moment.
//!
//! | file | part |
//! |---|---|
//! | `plan.rs` | what a seed stands for |
//! | `fleet.rs` | processes that come and go |
//! | `fleet/incidents.rs` | what happens to them and their world |
//! | `load.rs` | how busy hosts are |
//! | `outstanding.rs` | records that no child has processed yet |

mod fleet;
mod load;
mod outstanding;
mod plan;

pub use fleet::Fleet;
pub use plan::{Deployed, Incident, Plan};

use std::collections::BTreeMap;
use std::sync::Arc;

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::migration::MigrationItem;
use kcl_daemon::core::migration::client_version::ClientVersion;
use kcl_daemon::core::shard_sync::initial_leases;
use kcl_daemon::core::stream::ShardFilter;
use kcl_daemon::core::time::WallTime;

use crate::store::{Legacy, Table};
use crate::stream::Source;
use crate::trace::{Row, Trace, What};
use crate::world::{EPOCH_MS, MS, Rng, S, Time, World};
use outstanding::Outstanding;

/// A day: how long the stream keeps records.
pub const RETENTION_MS: i64 = 24 * 3_600_000;

/// Lives through a plan; gives what happened.
pub fn run(plan: &Plan) -> Trace {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads and sockets");
    let trace = runtime.block_on(live(plan));
    drop(runtime);
    trace
}

async fn live(plan: &Plan) -> Trace {
    let mut rng = Rng::new(plan.seed ^ 0x5EED);
    let (source, before) = begin(plan, &mut rng);
    let (table, source) = match plan.old_rows {
        true => old_table(plan, source),
        false => (Table::default(), source),
    };
    let mut table = table;
    (table.takes, table.row_bytes) = (plan.table_takes, plan.row_bytes);
    (table.index_takes, table.index_lag) = (plan.index_takes, plan.index_lag);
    if plan.legacy {
        let now = WallTime::from_millis(EPOCH_MS);
        let version =
            MigrationItem::created(ClientVersion::Init, ClientVersion::V3x, "kcl-3.4", now);
        table.legacy = Some(Legacy::left_behind(version));
    }
    let world = World::new(rng.next(), plan.weather.clone(), table, source);
    for event in before {
        world.note(event);
    }
    let fleet = Fleet::new(&world, plan);
    for (index, worker) in plan.workers.iter().enumerate() {
        let fleet = Arc::clone(&fleet);
        world.after(worker.starts_at, move |_| fleet.start(index));
    }
    for (at, incident) in &plan.incidents {
        let (fleet, incident) = (Arc::clone(&fleet), incident.clone());
        world.after(*at, move |_| fleet.happen(&incident));
    }
    produce(
        &world,
        plan.record_every,
        plan.aggregates,
        plan.calm_at + 5 * S,
    );
    world.run_until(plan.calm_at, |_| false).await;
    fleet.calm_down();
    let f = u64::try_from(plan.failover.as_micros()).unwrap_or(S);
    // Long enough that whoever still wanted to steal would have done so.
    let earliest = plan.calm_at + 3 * f + 10 * S;
    let mut outstanding = Outstanding::new(plan.position);
    let settled = |world: &Arc<World>| {
        world.now() >= earliest && {
            world.with_trace(|trace| outstanding.look(trace));
            outstanding.is_empty() && leases_amiss(world, &fleet).is_empty()
        }
    };
    world.run_until(plan.calm_at + plan.recovery, settled).await;
    if world.now() >= plan.calm_at + plan.recovery {
        world.with_trace(|trace| outstanding.look(trace));
        let leases = leases_amiss(&world, &fleet);
        if !outstanding.is_empty() || !leases.is_empty() {
            let records = outstanding.some();
            let why = format!("not processed: {records:?}; leases: {leases:?}");
            world.note(What::Unsettled(why));
        }
    }
    world.run_until(world.now() + plan.linger, |_| false).await;
    fleet.stop_all();
    let over = world.now() + u64::try_from(plan.grace.as_micros()).unwrap_or(S) + 10 * S;
    world.run_until(over, |_| fleet.living().is_empty()).await;
    let trace = world.take_trace();
    world.dissolve();
    trace
}

/// The stream at the beginning. With a history, it has a day-old past that retention is about to
/// reach.
fn begin(plan: &Plan, rng: &mut Rng) -> (Source, Vec<What>) {
    if !plan.history {
        let (source, opened) =
            Source::new(plan.seed, plan.shards, plan.last_records_with_end, EPOCH_MS);
        return (source, vec![opened]);
    }
    let start = EPOCH_MS - RETENTION_MS;
    let (mut source, opened) = Source::new(
        plan.seed,
        plan.shards,
        plan.last_records_with_end,
        start - 10_000,
    );
    let mut events = vec![opened];
    let mut at = start - 5_000;
    for _ in 0..rng.between(2, 25) {
        at += i64::try_from(rng.between(1, 8_000)).unwrap_or(1);
        let which = usize::try_from(rng.below(20)).unwrap_or(0) % source.open().len();
        match rng.below(6) {
            0 => events.extend(source.split(which, at)),
            1 => events.extend(source.merge(which, at)),
            _ => events.push(source.put(hash_key(rng), 1, at)),
        }
    }
    (source, events)
}

/// A table as KCL 1.x left it: leases without hash ranges, with an attribute that nobody knows.
fn old_table(plan: &Plan, mut source: Source) -> (Table, Source) {
    let filter = kcl_daemon::core::shard_sync::initial_filter(plan.position);
    let shards = source
        .list(filter, EPOCH_MS)
        .or_else(|_| source.list(ShardFilter::All, EPOCH_MS))
        .expect("the stream is there");
    let leases = initial_leases(&shards, plan.position).expect("the list is whole");
    let rows = leases.into_iter().map(|lease| Row::Lease {
        lease: Lease {
            hash_range: None,
            ..lease
        },
        extra: BTreeMap::from([("teamName".to_owned(), "orders".to_owned())]),
    });
    (Table::with(rows), source)
}

fn hash_key(rng: &mut Rng) -> u128 {
    u128::from(rng.next()) << 64 | u128::from(rng.next())
}

/// Puts records until `end`.
fn produce(world: &Arc<World>, every: Time, aggregates: u32, end: Time) {
    let pause = world.rng().between(every / 2, every * 3 / 2);
    world.after(pause, move |world| {
        let (hash_key, parts) = {
            let mut rng = world.rng();
            let parts = match rng.chance(aggregates) {
                true => rng.between(2, 4),
                false => 1,
            };
            (hash_key(&mut rng), parts)
        };
        let now_ms = world.wall_ms();
        let put = {
            let mut source = world.source();
            let is_there = !source.open().is_empty();
            is_there.then(|| source.put(hash_key, parts, now_ms))
        };
        if let Some(put) = put {
            world.note(put);
        }
        if world.now() + MS < end {
            produce(world, every, aggregates, end);
        }
    });
}

/// What is wrong with the leases: open shards without one, leases without a living owner, leases
/// that are not finished though their shards are closed.
fn leases_amiss(world: &Arc<World>, fleet: &Fleet) -> Vec<String> {
    let living = fleet.living();
    let table = world.table();
    let source = world.source();
    let mut amiss = Vec::new();
    for shard in source.open() {
        if table.row(&LeaseKey::of_shard(&shard.id)).is_none() {
            amiss.push(format!("{} has none", shard.id));
        }
    }
    for lease in table.leases().filter(|lease| !lease.is_finished()) {
        let key = &lease.key;
        if source.open().iter().all(|open| open.id != lease.shard_id()) {
            amiss.push(format!("{key} is not finished"));
        }
        match &lease.owner {
            None => amiss.push(format!("{key} has no owner")),
            Some(owner) if living.iter().all(|name| name != owner.as_str()) => {
                amiss.push(format!("{key} is owned by {owner}, who is dead"));
            }
            Some(_) => {}
        }
    }
    amiss
}
