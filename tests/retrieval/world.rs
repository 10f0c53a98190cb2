//! The embedded Kinesis, the real SDK's clients over it, and a fetcher, all on virtual time.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use kcl_daemon::aws::clients::{self, Access, ClientSettings};
use kcl_daemon::aws::credentials;
use kcl_daemon::aws::fanout::KinesisFanOut;
use kcl_daemon::aws::kinesis::{KinesisStream, StreamRef};
use kcl_daemon::core::aggregate::RangeFilter;
use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, InitialPosition};
use kcl_daemon::core::time::Moment;
use kcl_daemon::fetch::{
    Anchor, Batch, Budget, ConsumerChoice, EncodeSettings, FetchSettings, Fetched, Fetcher,
    FetcherPorts, PaceSettings, Prefetch, Registration, RegistrationSettings, Retrieval,
};
use kcl_daemon::local::LocalAws;
use kcl_daemon::local::kinesis::{Kinesis, Options, PutEntry, ShardId as LocalShard, StreamMode};
use kcl_daemon::os::entropy::SystemEntropy;
use kcl_daemon::ports::{BoxFuture, Clock};

use super::faults::Door;

/// The stream of all tests.
pub const STREAM: &str = "orders";
/// The wall clock at the start, milliseconds.
const EPOCH: i64 = 1_700_000_000_000;

/// Tokio's time, which in these tests is paused and jumps when nothing is left to do.
pub struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        Moment::from_origin(self.0.elapsed())
    }

    fn wall_millis(&self) -> i64 {
        EPOCH + i64::try_from(self.0.elapsed().as_millis()).expect("not so long")
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.0 + moment.since_origin()))
    }
}

/// How shards are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Polling,
    FanOut(ConsumerChoice),
}

impl Way {
    pub fn fan_out() -> Self {
        Self::FanOut(ConsumerChoice::Named("app".to_owned()))
    }
}

/// Everything.
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub local: Arc<LocalAws>,
    pub door: Door,
    pub client: aws_sdk_kinesis::Client,
    pub ports: FetcherPorts,
    pub settings: FetchSettings,
}

impl World {
    pub async fn new(shards: usize, way: Way) -> Self {
        Self::with(shards, way, Options::default()).await
    }

    pub async fn with(shards: usize, way: Way, options: Options) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock(Instant::now()));
        let local = Arc::new(LocalAws::new(options, Arc::clone(&clock)).expect("empty services"));
        local
            .with_kinesis(|engine, now| {
                engine.create_stream(STREAM, StreamMode::Provisioned, shards, now)
            })
            .expect("a stream");
        let door = Door::new(&local, Arc::clone(&clock));
        let access = Access::new(
            door.client(),
            credentials::fixed("key", "secret"),
            Duration::from_secs(5),
        );
        let settings = ClientSettings {
            region: Some("us-east-1".to_owned()),
            endpoint: Some("http://embedded.localhost".to_owned()),
            ..ClientSettings::new(Duration::from_secs(30))
        };
        let client = clients::kinesis(&settings, &access)
            .await
            .expect("a region");
        let reference = StreamRef::Name(STREAM.to_owned());
        let http = door.client();
        let fan_out = KinesisFanOut::new(
            client.clone(),
            reference.clone(),
            Arc::new(move || http.clone()),
        );
        let stream = Arc::new(
            KinesisStream::new(client.clone(), reference).compare_clocks(Arc::clone(&clock)),
        );
        let entropy = Arc::new(SystemEntropy::from_seed(7));
        let retrieval = match way {
            Way::Polling => Retrieval::Polling,
            Way::FanOut(consumer) => Retrieval::FanOut(Arc::new(Registration::new(
                Arc::new(fan_out),
                stream.clone(),
                Arc::clone(&clock),
                entropy.clone(),
                RegistrationSettings {
                    consumer,
                    stream_arn: None,
                    summary_tries: 10,
                    describe_tries: 10,
                    register_tries: 10,
                    pause: Duration::from_secs(1),
                },
            ))),
        };
        Self {
            ports: FetcherPorts {
                stream,
                retrieval,
                clock: Arc::clone(&clock),
                entropy,
                budget: Budget::new(64 << 20),
            },
            settings: FetchSettings {
                max_records: 10_000,
                pace: PaceSettings {
                    idle: Duration::from_millis(1000),
                    reduced_tps_threshold: 0,
                },
                prefetch: Prefetch {
                    batches: 4,
                    records: 30_000,
                    bytes: 8 << 20,
                },
                deliver_empty: false,
                initial_position: InitialPosition::TrimHorizon,
            },
            clock,
            local,
            door,
            client,
        }
    }

    pub fn kinesis<T>(&self, act: impl FnOnce(&mut Kinesis, i64) -> T) -> T {
        self.local.with_kinesis(act)
    }

    /// Puts records with these texts into the shard that covers the start of the hash space.
    pub fn put<S: AsRef<str>>(&self, texts: impl IntoIterator<Item = S>) {
        for text in texts {
            self.put_at(0, text.as_ref().as_bytes());
        }
    }

    /// Puts a record at a place of the hash space.
    pub fn put_at(&self, place: u128, data: &[u8]) {
        let entry = PutEntry {
            data,
            partition_key: "k",
            explicit_hash_key: Some(place),
        };
        self.kinesis(|engine, now| engine.put_record(STREAM, entry, now))
            .expect("a record");
    }

    /// Splits shard 0 in the middle.
    pub fn split(&self) {
        self.kinesis(|engine, now| engine.split_shard(STREAM, LocalShard(0), 1 << 126, now))
            .expect("a split");
    }

    /// A fetcher of a shard behind a checkpoint.
    pub fn fetch(&self, shard: u64, checkpoint: &str) -> Reading {
        self.fetch_with(shard, checkpoint, Anchor::default())
    }

    pub fn fetch_with(&self, shard: u64, checkpoint: &str, anchor: Anchor) -> Reading {
        let (position, sub_sequence) = match checkpoint.split_once('/') {
            Some((number, sub)) => (number, sub.parse().expect("a number")),
            None => (checkpoint, 0),
        };
        let checkpoint = ExtendedSequenceNumber {
            position: position.parse().expect("a position"),
            sub_sequence,
        };
        Reading {
            fetcher: Fetcher::start(
                self.ports.clone(),
                self.settings,
                EncodeSettings {
                    hash_range: HashRange::FULL,
                    filter: RangeFilter::Whole,
                },
                ShardId::new(format!("shardId-{shard:012}")),
                checkpoint,
                anchor,
            ),
            read: Vec::new(),
            children: None,
        }
    }

    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A fetcher and what it gave.
pub struct Reading {
    fetcher: Fetcher,
    /// The texts, in order.
    pub read: Vec<String>,
    /// The children, at the end.
    pub children: Option<Vec<String>>,
}

impl Reading {
    /// The next batch or end.
    pub async fn next(&mut self) -> Option<Batch> {
        match self.fetcher.next().await {
            Fetched::Batch(batch) => {
                self.read.extend(texts(&batch));
                Some(batch)
            }
            Fetched::ShardEnd(children) => {
                let children = children.into_iter().map(|child| child.id.to_string());
                self.children = Some(children.collect());
                None
            }
        }
    }

    /// The batches that lie ready, taken without letting anybody else run.
    pub fn ready(&mut self) -> Vec<Batch> {
        let mut batches = Vec::new();
        loop {
            let mut context = Context::from_waker(Waker::noop());
            match pin!(self.fetcher.next()).poll(&mut context) {
                Poll::Ready(Fetched::Batch(batch)) => {
                    self.read.extend(texts(&batch));
                    batches.push(batch);
                }
                Poll::Ready(Fetched::ShardEnd(_)) | Poll::Pending => return batches,
            }
        }
    }

    /// Reads until so many records are there in all.
    pub async fn until(&mut self, count: usize) {
        while self.read.len() < count && self.children.is_none() {
            self.next().await;
        }
    }

    /// Reads to the end of the shard.
    pub async fn read_to_end(&mut self) {
        while self.children.is_none() {
            self.next().await;
        }
    }
}

/// The data of a batch's records, as text.
pub fn texts(batch: &Batch) -> Vec<String> {
    use base64::Engine as _;
    let line: serde_json::Value =
        serde_json::from_slice(batch.encoded.bytes()).expect("a line of JSON");
    line["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|record| {
            let data = record["data"].as_str().expect("data");
            let data = base64::engine::general_purpose::STANDARD.decode(data);
            String::from_utf8(data.expect("base64")).expect("text")
        })
        .collect()
}

/// Texts `PREFIX-0` and so on.
pub fn named(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// Runs on virtual time; a test that waits for ever fails after a day of it.
pub fn on_virtual_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(86_400), work)
                .await
                .expect("it comes to an end")
        })
}
