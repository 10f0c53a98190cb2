//! The table of `retrieval.md` F as data: each error at each call. Whatever happens, every record comes
//! exactly once and in order, and the shard ends with its children; what is done, and after what pause,
//! stands in `tests/cases/retrieval/errors.json`, beside what Java does.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::faults::{Call, Fault, Plan};
use super::world::{Reading, Way, World, named, on_virtual_time};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    actions: BTreeMap<String, Action>,
    errors: Vec<ErrorRow>,
}

/// What is done about an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    #[allow(dead_code, reason = "for people")]
    what: String,
    /// Shortest and longest time from a failure to the next call of the same operation, for the first
    /// and the second failure in a row.
    pause_ms: Vec<(u64, u64)>,
    /// Whether GetShardIterator is called again.
    #[serde(default)]
    new_iterator: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorRow {
    /// The service's code, or what happens instead of an answer.
    error: String,
    status: u16,
    #[allow(dead_code, reason = "for people")]
    java: String,
    does: BTreeMap<String, String>,
}

const IN_THE_STREAM: &str = "SubscribeToShard, in the stream";

/// The failures in a row.
const FAILURES: usize = 2;

#[test]
fn each_error_at_each_call() {
    let table: Table =
        serde_json::from_str(include_str!("../cases/retrieval/errors.json")).expect("the table");
    let mut wrong = Vec::new();
    let mut cases = 0;
    for row in &table.errors {
        for (call, action) in &row.does {
            cases += 1;
            let action = &table.actions[action];
            if let Err(what) = case(row, call, action) {
                wrong.push(format!("{} at {call}: {what}", row.error));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(cases > 150, "{cases}");
}

fn case(row: &ErrorRow, call: &str, action: &Action) -> Result<(), String> {
    let fault = Fault::parse(&row.error, row.status);
    let (operation, after_frames) = match call {
        // The initial response and one event.
        IN_THE_STREAM => ("SubscribeToShard", Some(2)),
        "GetShardIterator" => ("GetShardIterator", None),
        "GetRecords" => ("GetRecords", None),
        "SubscribeToShard" => ("SubscribeToShard", None),
        "ListShards" => ("ListShards", None),
        "DescribeStreamSummary" => ("DescribeStreamSummary", None),
        "DescribeStreamConsumer" => ("DescribeStreamConsumer", None),
        "RegisterStreamConsumer" => ("RegisterStreamConsumer", None),
        other => panic!("there is no call {other}"),
    };
    let plan = Plan {
        operation,
        after_frames,
        fault,
        moments: FAILURES,
    };
    on_virtual_time(async {
        let polled = matches!(
            operation,
            "GetShardIterator" | "GetRecords" | "ListShards" | "DescribeStreamSummary"
        );
        let way = if polled { Way::Polling } else { Way::fan_out() };
        let world = World::new(1, way).await;
        world.put(named("a", 5));
        match operation {
            // Asked only where the end of the shard is not told as it should be.
            "ListShards" => world.kinesis(|engine, _| engine.faults.omit_child_shards = true),
            // Asked only after a ResourceNotFound.
            "DescribeStreamSummary" => {
                world.door.fail(Plan {
                    operation: "GetRecords",
                    after_frames: None,
                    fault: Fault::parse("ResourceNotFoundException", 400),
                    moments: 1,
                });
            }
            _ => {}
        }
        world.door.fail(plan);
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        go_through(&world, &mut reading).await;
        check(&world, &reading, operation, action)
    })
}

/// Records before, between and after the failures, then the end of the shard.
async fn go_through(world: &World, reading: &mut Reading) {
    reading.until(5).await;
    for round in ["b", "c"] {
        world.put(named(round, 5));
        reading.until(reading.read.len() + 5).await;
    }
    world.put(named("d", 5));
    world.split();
    reading.read_to_end().await;
}

fn check(world: &World, reading: &Reading, operation: &str, action: &Action) -> Result<(), String> {
    let expected: Vec<String> = ["a", "b", "c", "d"]
        .iter()
        .flat_map(|p| named(p, 5))
        .collect();
    if reading.read != expected {
        return Err(format!("it gave {:?}", reading.read));
    }
    let children = reading.children.as_deref().unwrap_or_default();
    if children != ["shardId-000000000001", "shardId-000000000002"] {
        return Err(format!("the children are {children:?}"));
    }
    let calls = world.door.calls_of(operation);
    // Calls of one moment are one attempt.
    let mut attempts: Vec<&Call> = Vec::new();
    for call in &calls {
        if attempts.last().is_none_or(|last| last.at != call.at) {
            attempts.push(call);
        }
    }
    let failed = attempts.iter().filter(|call| call.failed).count();
    if action.pause_ms.is_empty() {
        return if failed > 0 {
            Ok(())
        } else {
            Err("the call was never made".to_owned())
        };
    }
    if failed != FAILURES {
        return Err(format!("{failed} attempts failed"));
    }
    let first = attempts.iter().position(|call| call.failed).unwrap_or(0);
    for (nth, (shortest, longest)) in action.pause_ms.iter().enumerate() {
        let (Some(before), Some(after)) =
            (attempts.get(first + nth), attempts.get(first + nth + 1))
        else {
            return Err("the call was not made again".to_owned());
        };
        let pause = u64::try_from((after.at - before.at).as_millis()).unwrap_or(u64::MAX);
        // A call without an answer takes as long as it is allowed to.
        let pause = if pause >= 30_000 {
            pause - 30_000
        } else {
            pause
        };
        // Tokio's timers have a grain of a millisecond.
        if pause + 1 < *shortest || pause > *longest + 3 {
            return Err(format!(
                "pause {nth} is {pause} ms and not {shortest} to {longest} ms"
            ));
        }
    }
    let iterators = world.door.calls_of("GetShardIterator").len();
    if operation == "GetRecords" && (iterators > 1) != action.new_iterator {
        return Err(format!("{iterators} iterators were asked for"));
    }
    Ok(())
}
