//! KCL 3.0 to 3.4 keep coordination in two tables of their own; 3.5 moves it into the lease table.
//!
//! The move takes an hour before DEPLOYED and at least one before COMPLETE, by `mts` in the item
//! `TableMigration3.5`; here the test sets that time back, and Java and ours go on at once.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::jars::{self, Version};
use super::peer::{Java, JavaDaemon};
use super::scene::{APPLICATION, Kinesis, PATIENCE, Scene};
use super::support::{Daemon, Properties, until};

type Item = HashMap<String, AttributeValue>;

const COORDINATOR: &str = "orders-consumer-CoordinatorState";
const METRICS: &str = "orders-consumer-WorkerMetricStats";
const STATUS: &str = "TableMigration3.5";
const HOUR: u64 = 3_600_000;

fn properties(scene: &Scene) -> Properties {
    scene
        .properties()
        .set("leaseAssignmentIntervalMillis", 3000)
        .set("workerMetricsReporterFreqInMillis", 3000)
}

fn scene(name: &str) -> Option<Scene> {
    Scene::new(name, Version::V3_1_3, Kinesis::Ferrokinesis, 4)
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}

/// Items of one of the old tables.
fn old_items(scene: &Scene, table: &str, key: &str) -> BTreeMap<String, Item> {
    let items = scene.aws.scan_items(table);
    items
        .into_iter()
        .filter_map(|item| Some((text(&item, key)?, item)))
        .collect()
}

/// Items of the lease table that are no leases.
fn items(scene: &Scene) -> BTreeMap<String, Item> {
    let items = scene.aws.scan_items(APPLICATION);
    items
        .into_iter()
        .filter(|item| !item.contains_key("leaseCounter"))
        .filter_map(|item| Some((text(&item, "leaseKey")?, item)))
        .collect()
}

fn old_leader(scene: &Scene) -> Option<String> {
    let items = old_items(scene, COORDINATOR, "key");
    text(items.get("Leader")?, "ownerName")
}

#[track_caller]
fn wait_old_leader(scene: &Scene, worker: &str) {
    until(
        &format!("{worker} leads by the lock in the old table"),
        PATIENCE,
        || old_leader(scene).as_deref() == Some(worker),
    );
}

fn status(scene: &Scene) -> Option<String> {
    let items = old_items(scene, COORDINATOR, "key");
    text(items.get(STATUS)?, "tm")
}

#[track_caller]
fn wait_status(scene: &Scene, status_word: &str) {
    let word = format!("TABLE_MIGRATION_STATUS_{status_word}");
    until(&format!("the status is {word}"), PATIENCE, || {
        status(scene).as_deref() == Some(word.as_str())
    });
}

/// Makes the status as old as if it had been written so many milliseconds earlier.
fn set_back(scene: &Scene, millis: u64) {
    let call = scene
        .aws
        .dynamodb()
        .update_item()
        .table_name(COORDINATOR)
        .key("key", AttributeValue::S(STATUS.to_owned()))
        .update_expression("SET mts = mts - :by")
        .expression_attribute_values(":by", AttributeValue::N(millis.to_string()));
    scene.aws.run(call.send()).expect("UpdateItem");
}

/// A fleet of 3.1.3 is replaced host by host and comes back; all stays where 3.1.3 reads it.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn a_3_1_fleet_moves_to_ours_and_back_in_its_three_tables() {
    let Some(scene) = scene("java-3-1") else {
        return;
    };
    let properties = properties(&scene);
    let load = scene.load(4);
    let mut java_1 = scene.java("java-1", &properties);
    scene.wait_owners(&["java-1"]);
    scene.wait_flow(4);
    let mut ours = scene.ours("ours-1", &properties);
    scene.wait_owners(&["java-1", "ours-1"]);
    scene.wait_settled();
    assert_eq!(old_leader(&scene).as_deref(), Some("java-1"));
    scene.wait_flow(4);
    java_1.terminate();
    scene.wait_owners(&["ours-1"]);
    wait_old_leader(&scene, "ours-1");
    scene.wait_flow(4);

    let mut java_2 = scene.java("java-2", &properties);
    scene.wait_owners(&["java-2", "ours-1"]);
    scene.wait_settled();
    assert_rows_are_alike(&scene, "java-2", "ours-1");
    ours.stop_gracefully();
    scene.wait_owners(&["java-2"]);
    wait_old_leader(&scene, "java-2");
    scene.wait_flow(4);
    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
    java_2.assert_alive();
    assert_eq!(
        items(&scene).keys().collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "3.1.3 cannot read such items"
    );
}

/// Leases and metrics of both kinds have the same attributes, but for what 3.5 adds, and our mark.
#[track_caller]
fn assert_rows_are_alike(scene: &Scene, java: &str, ours: &str) {
    let metrics = old_items(scene, METRICS, "wid");
    let mut mine = names(&metrics[ours]);
    for added in ["sup", "slu", "entityType", "kclDaemonUpdated"] {
        mine.remove(added);
    }
    assert_eq!(mine, names(&metrics[java]), "metrics: ours, then Java's");
    let of = |worker: &str| {
        let leases = scene.leases();
        let held = leases
            .values()
            .find(|row| row.owner.as_deref() == Some(worker));
        names(&held.expect("it has one").item)
    };
    assert_eq!(of(ours), of(java), "leases: ours, then Java's");
}

/// Names of attributes with their types.
fn names(item: &Item) -> BTreeMap<String, String> {
    item.iter()
        .map(|(name, value)| {
            let value = format!("{value:?}");
            let kind = value.split('(').next().unwrap_or_default();
            (name.clone(), kind.to_owned())
        })
        .collect()
}

/// Who leads the move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    Java,
    Ours,
}

/// One worker of each kind.
struct Pair<'a> {
    scene: &'a Scene,
    launcher: String,
    leads: Leads,
    java: Option<JavaDaemon>,
    ours: Option<Daemon>,
}

impl Pair<'_> {
    fn start_java(&mut self, migrate: bool) {
        let java = Java::launcher(&self.launcher).core("migrateAllEntitiesToLeaseTable", migrate);
        let properties = properties(self.scene);
        self.java = Some(self.scene.java_of(&java, "java-1", &properties));
    }

    fn start_ours(&mut self, migrate: bool) {
        let properties = properties(self.scene).set("migrateAllEntitiesToLeaseTable", migrate);
        self.ours = Some(self.scene.ours("ours-1", &properties));
    }

    fn leader(&self) -> &'static str {
        match self.leads {
            Leads::Java => "java-1",
            Leads::Ours => "ours-1",
        }
    }

    /// Stops what runs, the follower first, and starts both, the leader first.
    fn start(&mut self, migrate: bool) {
        if self.leads == Leads::Java {
            self.stop_ours();
            self.stop_java();
            self.start_java(migrate);
        } else {
            self.stop_java();
            self.stop_ours();
            self.start_ours(migrate);
        }
        wait_old_leader(self.scene, self.leader());
        if self.leads == Leads::Java {
            self.start_ours(migrate);
        } else {
            self.start_java(migrate);
        }
        self.scene.wait_owners(&["java-1", "ours-1"]);
        self.scene.wait_settled();
        self.scene.wait_flow(4);
    }

    fn stop_java(&mut self) {
        if let Some(mut java) = self.java.take() {
            java.terminate();
        }
    }

    fn stop_ours(&mut self) {
        if let Some(mut ours) = self.ours.take() {
            ours.stop_gracefully();
        }
    }
}

/// From 3.1.3 to a single table, beside each other. What the items look like at each stage, by name.
fn moves_into_one_table(
    name: &str,
    leads: Leads,
) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let scene = scene(name)?;
    let launcher = jars::launcher(&scene.sandbox)?;
    let load = scene.load(4);
    let mut old = scene.java("java-0", &properties(&scene));
    scene.wait_owners(&["java-0"]);
    scene.wait_flow(4);
    old.terminate();
    let mut pair = Pair {
        scene: &scene,
        launcher,
        leads,
        java: None,
        ours: None,
    };
    let mut seen = BTreeMap::new();

    // Both can read the new layout, and say so.
    pair.start(false);
    wait_status(&scene, "INIT");
    set_back(&scene, HOUR);
    wait_status(&scene, "DEPLOYED");
    note(
        &mut seen,
        "deployed, old",
        old_items(&scene, COORDINATOR, "key"),
    );
    assert!(items(&scene).is_empty(), "all is in the old tables");

    // Both write it.
    pair.start(true);
    wait_status(&scene, "PENDING");
    note(
        &mut seen,
        "pending, old",
        old_items(&scene, COORDINATOR, "key"),
    );
    note(&mut seen, "pending, new", items(&scene));
    assert!(!items(&scene).contains_key("Leader"), "the lock moves last");
    scene.wait_flow(4);

    // By default Java waits a day.
    set_back(&scene, 25 * HOUR);
    wait_status(&scene, "COMPLETE");
    until("there is a leader in the lease table", PATIENCE, || {
        scene.leader().is_some()
    });
    scene.wait_flow(4);
    scene.wait_owners(&["java-1", "ours-1"]);
    note(&mut seen, "complete, new", items(&scene));
    let mut kept = old_items(&scene, COORDINATOR, "key");
    // The lock that was there is released, by deleting it.
    kept.retain(|key, _| key != "Leader");
    note(&mut seen, "complete, old", kept);

    // Either kind finds its way after a restart.
    pair.stop_java();
    scene.wait_owners(&["ours-1"]);
    scene.wait_leader("ours-1");
    pair.start_java(true);
    scene.wait_owners(&["java-1", "ours-1"]);
    pair.stop_ours();
    scene.wait_owners(&["java-1"]);
    scene.wait_leader("java-1");
    scene.wait_flow(4);
    let ids = load.stop_ids();
    scene.assert_all_delivered(&ids);
    Some(seen)
}

/// Keeps names, types and states of items.
fn note(
    seen: &mut BTreeMap<String, BTreeMap<String, String>>,
    stage: &str,
    items: BTreeMap<String, Item>,
) {
    for (key, item) in items {
        let mut shape = names(&item);
        for state in ["tm", "cv", "entityType"] {
            if let Some(word) = text(&item, state) {
                shape.insert(state.to_owned(), word);
            }
        }
        seen.insert(format!("{stage}: {key}"), shape);
    }
}

/// The items are the same whoever leads.
#[test]
#[ignore = "takes minutes; tests/java/run-all runs it"]
fn a_mixed_fleet_moves_into_one_table_whoever_leads() {
    let Some(by_java) = moves_into_one_table("java-one-table", Leads::Java) else {
        return;
    };
    let Some(by_us) = moves_into_one_table("ours-one-table", Leads::Ours) else {
        return;
    };
    assert_eq!(by_us, by_java, "when we lead, then when Java does");
}
