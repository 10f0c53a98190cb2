//! Kinesis and DynamoDB from the outside, through the real SDK clients, blocking.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, ScalingType, Shard, ShardFilter, ShardFilterType, StreamStatus,
};
use tokio::runtime::Runtime;

use super::properties::Endpoints;
use super::waiting::eventually;

/// So many records, or bytes, go into one PutRecords.
const MOST_RECORDS: usize = 500;
const MOST_BYTES: usize = 4 << 20;

/// A record that the service acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The test's own id: what comes before the first bar in the data.
    pub id: String,
    /// Where it went.
    pub shard: String,
    /// Its sequence number.
    pub sequence: String,
}

/// A row of a lease table.
#[derive(Debug, Clone)]
pub struct LeaseRow {
    /// `leaseKey`.
    pub key: String,
    /// `leaseOwner`.
    pub owner: Option<String>,
    /// `leaseCounter`.
    pub counter: u64,
    /// `checkpoint`.
    pub checkpoint: String,
    /// `checkpointSubSequenceNumber`.
    pub sub: u64,
    /// `parentShardId`.
    pub parents: Vec<String>,
    /// `childShardIds`.
    pub children: Vec<String>,
    /// Everything.
    pub item: HashMap<String, AttributeValue>,
}

/// Clients with a runtime of their own. Calls wait as long as it takes: services may be paused.
pub struct Aws {
    runtime: Runtime,
    kinesis: aws_sdk_kinesis::Client,
    dynamodb: aws_sdk_dynamodb::Client,
}

impl Aws {
    /// Clients for these endpoints.
    pub fn new(kinesis_endpoint: &str, dynamodb_endpoint: &str) -> Self {
        use aws_config::retry::RetryConfig;
        use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let load = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("us-east-1"))
            .credentials_provider(aws_credential_types::Credentials::new(
                "test", "test", None, None, "test",
            ))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled())
            .load();
        let config = runtime.block_on(load);
        let kinesis = aws_sdk_kinesis::config::Builder::from(&config)
            .endpoint_url(kinesis_endpoint)
            .build();
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&config)
            .endpoint_url(dynamodb_endpoint)
            .build();
        Self {
            runtime,
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb),
        }
    }

    /// Clients for these endpoints.
    pub fn at(endpoints: &Endpoints) -> Self {
        Self::new(&endpoints.kinesis, &endpoints.dynamodb)
    }

    /// The Kinesis client, for what is not here; [`Self::run`] runs it.
    pub fn kinesis(&self) -> &aws_sdk_kinesis::Client {
        &self.kinesis
    }

    /// The DynamoDB client, for what is not here; [`Self::run`] runs it.
    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        &self.dynamodb
    }

    /// Runs a call.
    pub fn run<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    // ---------------------------------------------------------------------------------- the stream

    /// Creates a stream and waits until it is there.
    pub fn create_stream(&self, stream: &str, shards: i32) {
        self.run(
            self.kinesis
                .create_stream()
                .stream_name(stream)
                .shard_count(shards)
                .send(),
        )
        .expect("CreateStream");
        self.wait_active(stream);
    }

    /// Waits until a stream is ACTIVE.
    pub fn wait_active(&self, stream: &str) {
        eventually(
            "the stream is ACTIVE",
            std::time::Duration::from_secs(60),
            || {
                let answer = self
                    .run(
                        self.kinesis
                            .describe_stream_summary()
                            .stream_name(stream)
                            .send(),
                    )
                    .ok()?;
                let summary = answer.stream_description_summary?;
                (summary.stream_status == StreamStatus::Active).then_some(())
            },
        );
    }

    /// Puts records `PREFIX-FROM` to `PREFIX-(FROM+COUNT-1)`, spread evenly over the open shards; each
    /// shard gets them in ascending order.
    pub fn put(&self, stream: &str, prefix: &str, from: usize, count: usize) -> Vec<Put> {
        self.put_sized(stream, prefix, from, count, 0)
    }

    /// As [`Self::put`], with records of so many bytes.
    pub fn put_sized(
        &self,
        stream: &str,
        prefix: &str,
        from: usize,
        count: usize,
        bytes: usize,
    ) -> Vec<Put> {
        let keys = self.hash_keys(stream);
        let records: Vec<(String, u128)> = (from..from + count)
            .map(|n| {
                (
                    padded(&format!("{prefix}-{n}"), bytes),
                    keys[n % keys.len()],
                )
            })
            .collect();
        self.put_at(stream, &records).expect("PutRecords")
    }

    /// Puts records at given places of the hash space.
    ///
    /// # Errors
    /// The service's, as text; what was put until then is not told.
    pub fn put_at(&self, stream: &str, records: &[(String, u128)]) -> Result<Vec<Put>, String> {
        let mut puts = Vec::with_capacity(records.len());
        let mut rest: Vec<&(String, u128)> = records.iter().collect();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest
                .iter()
                .take(MOST_RECORDS)
                .take_while(|record| {
                    bytes += record.0.len();
                    bytes <= MOST_BYTES
                })
                .count();
            let later = rest.split_off(fitting.max(1));
            let entries = rest.iter().map(|(data, hash)| {
                PutRecordsRequestEntry::builder()
                    .data(Blob::new(data.as_bytes()))
                    .partition_key(identity(data))
                    .explicit_hash_key(hash.to_string())
                    .build()
                    .expect("complete")
            });
            let call = self
                .kinesis
                .put_records()
                .stream_name(stream)
                .set_records(Some(entries.collect()));
            let answer = self
                .run(call.send())
                .map_err(|error| error.message().unwrap_or("no answer").to_owned())?;
            let mut refused = Vec::new();
            for (record, result) in rest.iter().zip(answer.records) {
                match (result.shard_id, result.sequence_number) {
                    (Some(shard), Some(sequence)) => puts.push(Put {
                        id: identity(&record.0),
                        shard,
                        sequence,
                    }),
                    _ => refused.push(*record),
                }
            }
            if !refused.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            rest = refused.into_iter().chain(later).collect();
        }
        Ok(puts)
    }

    /// Puts one record of any bytes; gives its shard and sequence number.
    pub fn put_bytes(
        &self,
        stream: &str,
        partition_key: &str,
        hash_key: u128,
        data: &[u8],
    ) -> (String, String) {
        let call = self
            .kinesis
            .put_record()
            .stream_name(stream)
            .partition_key(partition_key)
            .explicit_hash_key(hash_key.to_string())
            .data(Blob::new(data));
        let answer = self.run(call.send()).expect("PutRecord");
        (answer.shard_id, answer.sequence_number)
    }

    /// All shards, closed ones included, by id.
    pub fn list_shards(&self, stream: &str) -> Vec<Shard> {
        let mut shards = self
            .run(self.kinesis.list_shards().stream_name(stream).send())
            .expect("ListShards")
            .shards
            .unwrap_or_default();
        shards.sort_by(|a, b| a.shard_id.cmp(&b.shard_id));
        shards
    }

    /// Ids of the shards that take records, by id.
    pub fn open_shards(&self, stream: &str) -> Vec<String> {
        self.open(stream)
            .into_iter()
            .map(|shard| shard.shard_id)
            .collect()
    }

    /// A place in the middle of each open shard, by id.
    pub fn hash_keys(&self, stream: &str) -> Vec<u128> {
        self.open(stream).iter().map(middle).collect()
    }

    fn open(&self, stream: &str) -> Vec<Shard> {
        let latest = ShardFilter::builder()
            .r#type(ShardFilterType::AtLatest)
            .build()
            .expect("complete");
        let answer = self.run(
            self.kinesis
                .list_shards()
                .stream_name(stream)
                .shard_filter(latest)
                .send(),
        );
        let mut shards = answer.expect("ListShards").shards.unwrap_or_default();
        // Emulators that ignore the filter tell by the range.
        shards.retain(|shard| {
            shard
                .sequence_number_range()
                .is_none_or(|range| range.ending_sequence_number().is_none())
        });
        shards.sort_by(|a, b| a.shard_id.cmp(&b.shard_id));
        shards
    }

    /// Splits a shard in the middle; waits until that is done; gives the children.
    pub fn split(&self, stream: &str, shard: &str) -> Vec<String> {
        let all = self.list_shards(stream);
        let parent = all
            .iter()
            .find(|s| s.shard_id == shard)
            .expect("the shard exists");
        let call = self
            .kinesis
            .split_shard()
            .stream_name(stream)
            .shard_to_split(shard)
            .new_starting_hash_key((middle(parent) + 1).to_string());
        self.run(call.send()).expect("SplitShard");
        self.wait_active(stream);
        self.children_of(stream, shard)
    }

    /// Merges two adjacent shards; waits until that is done; gives the child.
    pub fn merge(&self, stream: &str, shard: &str, adjacent: &str) -> String {
        let call = self
            .kinesis
            .merge_shards()
            .stream_name(stream)
            .shard_to_merge(shard)
            .adjacent_shard_to_merge(adjacent);
        self.run(call.send()).expect("MergeShards");
        self.wait_active(stream);
        self.children_of(stream, shard)
            .pop()
            .expect("a merged shard")
    }

    /// UpdateShardCount, and waits until it is done.
    pub fn update_shard_count(&self, stream: &str, shards: i32) {
        let call = self
            .kinesis
            .update_shard_count()
            .stream_name(stream)
            .target_shard_count(shards)
            .scaling_type(ScalingType::UniformScaling);
        self.run(call.send()).expect("UpdateShardCount");
        self.wait_active(stream);
    }

    fn children_of(&self, stream: &str, parent: &str) -> Vec<String> {
        self.list_shards(stream)
            .into_iter()
            .filter(|shard| {
                shard.parent_shard_id() == Some(parent)
                    || shard.adjacent_parent_shard_id() == Some(parent)
            })
            .map(|shard| shard.shard_id)
            .collect()
    }

    // ----------------------------------------------------------------------------------- the table

    /// All rows with a `leaseCounter`, by key; empty when there is no table.
    pub fn scan_leases(&self, table: &str) -> Vec<LeaseRow> {
        let mut rows: Vec<LeaseRow> = self.scan_items(table).into_iter().filter_map(row).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// As [`Self::scan_leases`], by key.
    pub fn leases(&self, table: &str) -> BTreeMap<String, LeaseRow> {
        self.scan_leases(table)
            .into_iter()
            .map(|row| (row.key.clone(), row))
            .collect()
    }

    /// How many unfinished leases each worker has.
    pub fn owners(&self, table: &str) -> BTreeMap<String, usize> {
        let mut owners = BTreeMap::new();
        for row in self
            .scan_leases(table)
            .into_iter()
            .filter(|row| row.checkpoint != "SHARD_END")
        {
            *owners.entry(row.owner.unwrap_or_default()).or_default() += 1;
        }
        owners
    }

    /// All items as they are; empty when there is no table.
    pub fn scan_items(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let call = self
                .dynamodb
                .scan()
                .table_name(table)
                .consistent_read(true)
                .set_exclusive_start_key(start);
            let answer = match self.run(call.send()) {
                Ok(answer) => answer,
                Err(error) if error.code() == Some("ResourceNotFoundException") => return items,
                Err(error) => panic!("Scan of {table}: {error:?}"),
            };
            items.extend(answer.items.unwrap_or_default());
            start = answer.last_evaluated_key;
            if start.is_none() {
                return items;
            }
        }
    }

    /// Makes a lease table as KCL does: string key `leaseKey`.
    pub fn create_table(&self, table: &str) {
        use aws_sdk_dynamodb::types::{
            AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
        };
        let attribute = AttributeDefinition::builder()
            .attribute_name("leaseKey")
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("complete");
        let key = KeySchemaElement::builder()
            .attribute_name("leaseKey")
            .key_type(KeyType::Hash)
            .build()
            .expect("complete");
        let call = self
            .dynamodb
            .create_table()
            .table_name(table)
            .attribute_definitions(attribute)
            .key_schema(key)
            .billing_mode(BillingMode::PayPerRequest);
        self.run(call.send()).expect("CreateTable");
        eventually(
            "the table is ACTIVE",
            std::time::Duration::from_secs(30),
            || {
                let answer = self
                    .run(self.dynamodb.describe_table().table_name(table).send())
                    .ok()?;
                (answer.table?.table_status? == aws_sdk_dynamodb::types::TableStatus::Active)
                    .then_some(())
            },
        );
    }

    /// Writes an item as it is.
    pub fn put_raw_item(&self, table: &str, item: &[(&str, AttributeValue)]) {
        let item = item
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        self.run(
            self.dynamodb
                .put_item()
                .table_name(table)
                .set_item(Some(item))
                .send(),
        )
        .expect("PutItem");
    }

    /// Deletes a row of a lease table.
    pub fn delete_lease(&self, table: &str, key: &str) {
        let call = self
            .dynamodb
            .delete_item()
            .table_name(table)
            .key("leaseKey", AttributeValue::S(key.to_owned()));
        self.run(call.send()).expect("DeleteItem");
    }

    /// Deletes a table.
    pub fn delete_table(&self, table: &str) {
        self.run(self.dynamodb.delete_table().table_name(table).send())
            .expect("DeleteTable");
    }
}

/// A string attribute.
pub fn string(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// A number attribute.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// `id` with a bar and padding up to so many bytes.
pub fn padded(id: &str, bytes: usize) -> String {
    format!("{id}|{}", "x".repeat(bytes.saturating_sub(id.len() + 1)))
}

fn identity(data: &str) -> String {
    data.split('|').next().unwrap_or_default().to_owned()
}

fn middle(shard: &Shard) -> u128 {
    let range = shard.hash_key_range().expect("every shard has a range");
    let parse = |text: &str| text.parse::<u128>().expect("a number");
    let (start, end) = (
        parse(range.starting_hash_key()),
        parse(range.ending_hash_key()),
    );
    start + (end - start) / 2
}

fn row(item: HashMap<String, AttributeValue>) -> Option<LeaseRow> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let count = |name: &str| {
        item.get(name)
            .and_then(|value| value.as_n().ok())
            .and_then(|n| n.parse().ok())
    };
    let set = |name: &str| {
        let mut values = item
            .get(name)
            .and_then(|value| value.as_ss().ok())
            .cloned()
            .unwrap_or_default();
        values.sort();
        values
    };
    Some(LeaseRow {
        key: text("leaseKey")?,
        owner: text("leaseOwner"),
        counter: count("leaseCounter")?,
        checkpoint: text("checkpoint").unwrap_or_default(),
        sub: count("checkpointSubSequenceNumber").unwrap_or(0),
        parents: set("parentShardId"),
        children: set("childShardIds"),
        item,
    })
}
