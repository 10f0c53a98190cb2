use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::core::migration::client_version::ClientVersion;
use crate::core::migration::single_table::TableStatus;
use crate::core::migration::{ItemWrite, MigrationItem};
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::hearing::Hearing;

/// What happens to calls on the lock's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    /// Reads work, writes are denied.
    ReadOnly,
    /// No answer ever comes.
    Silent,
}

/// The lock's row.
struct Row {
    item: Mutex<Option<LockItem>>,
    mood: Mutex<Mood>,
}

#[async_trait]
impl CoordinatorStore for Row {
    async fn leader(&self, _: Place) -> Result<Option<LockItem>, StoreError> {
        if *self.mood.lock().unwrap() == Mood::Silent {
            std::future::pending::<()>().await;
        }
        Ok(self.item.lock().unwrap().clone())
    }

    async fn write_leader(&self, _: Place, write: &LockWrite) -> Result<LockOutcome, StoreError> {
        match *self.mood.lock().unwrap() {
            Mood::Good => {}
            Mood::ReadOnly => return Err(StoreError::Throttled("slow down".to_owned())),
            Mood::Silent => return Ok(LockOutcome::Unknown),
        }
        let mut item = self.item.lock().unwrap();
        if !write.is_permitted_on(item.as_ref()) {
            return Ok(LockOutcome::Refused);
        }
        let after = write.applied_to(item.as_ref());
        *item = after;
        Ok(LockOutcome::Applied)
    }

    async fn client_version(
        &self,
        _: Place,
    ) -> Result<Option<MigrationItem<ClientVersion>>, StoreError> {
        Ok(None)
    }

    async fn write_client_version(
        &self,
        _: Place,
        _: &ItemWrite<ClientVersion>,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn table_status(&self) -> Result<Option<MigrationItem<TableStatus>>, StoreError> {
        Ok(None)
    }

    async fn write_table_status(&self, _: &ItemWrite<TableStatus>) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn delete_table_status(&self, _: TableStatus) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn legacy_items(&self) -> Result<Vec<String>, StoreError> {
        Ok(vec![])
    }

    async fn move_legacy_items(&self, _: &WorkerId, _: &[String]) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn complete_table_migration(
        &self,
        _: &WorkerId,
        _: &ItemWrite<TableStatus>,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }
}

struct Bench {
    row: Arc<Row>,
    clock: Arc<SystemClock>,
    leadership: Leadership,
    log: Hearing,
}

impl Bench {
    fn new(item: Option<LockItem>, mood: Mood) -> Self {
        let log = Hearing::start();
        let row = Arc::new(Row {
            item: Mutex::new(item),
            mood: Mutex::new(mood),
        });
        let clock = Arc::new(SystemClock::new());
        let leadership = Leadership::start(
            LeadershipPorts {
                store: row.clone(),
                clock: clock.clone(),
                entropy: Arc::new(SystemEntropy::from_seed(1)),
                spawner: Spawner::current().unwrap(),
            },
            WorkerId::new("me"),
            Place::LeaseTable,
            LockSettings::quick(Duration::from_secs(10)),
            Duration::from_secs(2),
        );
        Self {
            row,
            clock,
            leadership,
            log,
        }
    }

    async fn pass(&self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    /// Log lines with these words.
    fn lines(&self, with: &str) -> Vec<String> {
        let lines = self.log.events().into_iter().map(|event| event.line());
        lines.filter(|line| line.contains(with)).collect()
    }

    fn leads(&self) -> bool {
        self.leadership.is_leader(self.clock.now())
    }
}

fn of_another() -> LockItem {
    LockItem {
        owner: WorkerId::new("gone"),
        lease_duration: Duration::from_secs(120),
        version: RecordVersion::new("1"),
        released: false,
    }
}

const ALARM: &str = "no sign of a leader for";

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_before_anybody_is_alarmed() {
    let bench = Bench::new(Some(of_another()), Mood::Good);
    bench.pass(110).await;
    assert!(!bench.leads());
    bench.pass(20).await;
    assert!(bench.leads());
    bench.pass(600).await;
    assert!(bench.leads());
    assert_eq!(bench.lines(ALARM), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn three_minutes_without_a_leader_are_an_alarm_that_says_why() {
    let cases = [
        (
            None,
            Mood::ReadOnly,
            "nobody holds its lock; this worker could not take it",
        ),
        (
            Some(of_another()),
            Mood::ReadOnly,
            "worker gone holds its lock and gives no sign of life; this worker could not take it",
        ),
        (
            Some(of_another()),
            Mood::Silent,
            "its lock cannot be read: ",
        ),
    ];
    for (item, mood, why) in cases {
        let bench = Bench::new(item, mood);
        bench.pass(170).await;
        assert_eq!(bench.lines(ALARM), Vec::<String>::new());
        bench.pass(30).await;
        let alarms = bench.lines(ALARM);
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert!(alarms[0].contains(why), "{alarms:?}");
        assert!(alarms[0].contains("ERROR"), "{alarms:?}");
        bench.pass(600).await;
        assert_eq!(bench.lines(ALARM).len(), 1, "told once");
        *bench.row.mood.lock().unwrap() = Mood::Good;
        // In the third case the row counts from the first time that it could be read.
        bench.pass(140).await;
        assert!(bench.leads());
        assert_eq!(bench.lines("there is a leader again").len(), 1);
    }
}
