use super::*;
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::hearing::Hearing;
use crate::worker::testing::{LockMood, MemoryStore};

struct Bench {
    store: Arc<MemoryStore>,
    clock: Arc<SystemClock>,
    leadership: Leadership,
    log: Hearing,
}

impl Bench {
    fn new(item: Option<LockItem>, mood: LockMood) -> Self {
        let log = Hearing::start();
        let store = Arc::new(MemoryStore::default());
        *store.lock.lock().unwrap() = item;
        *store.lock_mood.lock().unwrap() = mood;
        let clock = Arc::new(SystemClock::new());
        let leadership = Leadership::start(
            LeadershipPorts {
                store: store.clone(),
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
            store,
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
    let bench = Bench::new(Some(of_another()), LockMood::Good);
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
            LockMood::ReadOnly,
            "nobody holds its lock; this worker could not take it",
        ),
        (
            Some(of_another()),
            LockMood::ReadOnly,
            "worker gone holds its lock and gives no sign of life; this worker could not take it",
        ),
        (
            Some(of_another()),
            LockMood::Silent,
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
        *bench.store.lock_mood.lock().unwrap() = LockMood::Good;
        // In the third case the row counts from the first time that it could be read.
        bench.pass(140).await;
        assert!(bench.leads());
        assert_eq!(bench.lines("there is a leader again").len(), 1);
    }
}
