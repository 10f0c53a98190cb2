//! Looking without touching, for `check --online`: what the services say of the stream, the lease table
//! and the credentials, as plain data. Nothing here writes, and nothing is judged; that is `check`'s.
//!
//! | file | what it asks |
//! |---|---|
//! | this one | Kinesis and DynamoDB, beyond what the ports tell |
//! | [`authority`] | STS: who are we; IAM's simulator: what may we do |
//! | [`dates`] | how far the services' clocks are from this host's |

pub mod authority;
pub mod dates;

use std::sync::Arc;

use aws_sdk_dynamodb::types::{AttributeValue, KeySchemaElement, TableDescription};
use aws_sdk_kinesis::types::{ConsumerStatus, EncryptionType};

use crate::aws::clients::twice_after_hiccup;
use crate::aws::errors;
use crate::aws::kinesis::{StreamRef, calling};
use crate::aws::table::dynamodb;
use crate::ports::{LeaseStore, StoreError, Stream, StreamError, StreamErrorKind};

/// What DescribeStreamSummary says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, `UPDATING`, `CREATING` or `DELETING`.
    pub status: String,
    /// Open shards.
    pub open_shards: u32,
    /// How long records are kept.
    pub retention_hours: u32,
    /// The KMS key, if records are encrypted on the server.
    pub kms_key: Option<String>,
    /// `PROVISIONED` or `ON_DEMAND`, if the service says.
    pub mode: Option<String>,
    /// Registered fan-out consumers, if the service says.
    pub consumers: Option<u32>,
}

/// A registered fan-out consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerFacts {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, `CREATING` or `DELETING`.
    pub status: String,
}

/// How a consumer is named in DescribeStreamConsumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRef {
    /// `fanoutConfig.consumerArn`.
    Arn(String),
    /// A name at a stream.
    Name {
        /// The stream's ARN.
        stream: String,
        /// `fanoutConfig.consumerName`, or the application's name.
        name: String,
    },
}

/// What DescribeTable says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// `ACTIVE`, `CREATING` and so on.
    pub status: String,
    /// Key attributes.
    pub key: Vec<KeyPart>,
    /// Capacity (read, write) per second; `None` is on-demand.
    pub provisioned: Option<(u64, u64)>,
    /// Global secondary indexes.
    pub indexes: Vec<IndexFacts>,
    /// Whether it cannot be deleted.
    pub deletion_protection: bool,
}

/// One attribute of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// The attribute.
    pub name: String,
    /// `HASH` or `RANGE`.
    pub role: String,
    /// `S`, `N` or `B`; empty if the service does not say.
    pub kind: String,
}

/// A global secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFacts {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: Vec<KeyPart>,
    /// `ACTIVE`, `CREATING` and so on.
    pub status: String,
}

/// The ways to Kinesis and DynamoDB.
pub struct Probe {
    /// The stream, as the daemon reads it.
    pub stream: Arc<dyn Stream>,
    /// The lease table, as the daemon reads it.
    pub store: Arc<dyn LeaseStore>,
    /// A client of Kinesis.
    pub kinesis: aws_sdk_kinesis::Client,
    /// How the stream is named in calls.
    pub reference: StreamRef,
    /// A client of DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
}

impl Probe {
    fn on_stream(&self) -> String {
        format!("stream {}", self.stream.name())
    }

    fn on_table(&self) -> String {
        format!("table {}", self.store.table())
    }

    /// DescribeStreamSummary.
    ///
    /// # Errors
    /// The call's.
    pub async fn stream_facts(&self) -> Result<StreamFacts, StreamError> {
        let subject = self.on_stream();
        let output = calling("DescribeStreamSummary", &subject, || {
            self.kinesis
                .describe_stream_summary()
                .set_stream_name(self.reference.name())
                .set_stream_arn(self.reference.arn())
                .send()
        })
        .await?;
        let Some(summary) = output.stream_description_summary else {
            return Err(StreamError {
                kind: StreamErrorKind::Fatal,
                message: format!("DescribeStreamSummary on {subject} answered without a summary"),
            });
        };
        let is_encrypted = summary.encryption_type == Some(EncryptionType::Kms);
        Ok(StreamFacts {
            status: summary.stream_status.as_str().to_owned(),
            open_shards: count(summary.open_shard_count),
            retention_hours: count(summary.retention_period_hours),
            kms_key: is_encrypted.then(|| summary.key_id.clone().unwrap_or_default()),
            mode: summary
                .stream_mode_details
                .as_ref()
                .map(|details| details.stream_mode.as_str().to_owned()),
            consumers: summary.consumer_count.map(count),
            arn: summary.stream_arn,
        })
    }

    /// ListStreamConsumers, all pages.
    ///
    /// # Errors
    /// The call's.
    pub async fn consumers(&self, stream: &str) -> Result<Vec<ConsumerFacts>, StreamError> {
        let mut consumers = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let output = calling("ListStreamConsumers", &self.on_stream(), || {
                self.kinesis
                    .list_stream_consumers()
                    .stream_arn(stream)
                    .set_next_token(token.clone())
                    .send()
            })
            .await?;
            let page = output.consumers.unwrap_or_default();
            consumers.extend(page.into_iter().map(|consumer| ConsumerFacts {
                name: consumer.consumer_name,
                arn: consumer.consumer_arn,
                status: status_of(&consumer.consumer_status),
            }));
            match output.next_token.filter(|next| !next.is_empty()) {
                // A token that repeats itself would go round for ever.
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                _ => return Ok(consumers),
            }
        }
    }

    /// DescribeStreamConsumer; `None` when it is not registered.
    ///
    /// # Errors
    /// The call's, except that there is no such consumer.
    pub async fn consumer(
        &self,
        which: &ConsumerRef,
    ) -> Result<Option<ConsumerFacts>, StreamError> {
        let (arn, stream, name) = match which {
            ConsumerRef::Arn(arn) => (Some(arn.clone()), None, None),
            ConsumerRef::Name { stream, name } => (None, Some(stream.clone()), Some(name.clone())),
        };
        let called = calling("DescribeStreamConsumer", &self.on_stream(), || {
            self.kinesis
                .describe_stream_consumer()
                .set_consumer_arn(arn.clone())
                .set_stream_arn(stream.clone())
                .set_consumer_name(name.clone())
                .send()
        })
        .await;
        match called {
            Ok(output) => Ok(output.consumer_description.map(|consumer| ConsumerFacts {
                name: consumer.consumer_name,
                arn: consumer.consumer_arn,
                status: status_of(&consumer.consumer_status),
            })),
            Err(error) if error.kind == StreamErrorKind::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// DescribeTable of the lease table; `None` when it does not exist.
    ///
    /// # Errors
    /// The call's, except that there is no such table.
    pub async fn table_facts(&self) -> Result<Option<TableFacts>, StoreError> {
        let called = twice_after_hiccup(|| {
            self.dynamodb
                .describe_table()
                .table_name(self.store.table())
                .send()
        })
        .await;
        match called {
            Ok(output) => Ok(output.table.as_ref().map(table_facts)),
            Err(cause) => {
                match errors::store_error(dynamodb("DescribeTable", &self.on_table()), &cause) {
                    StoreError::TableMissing(_) => Ok(None),
                    other => Err(other),
                }
            }
        }
    }

    /// Query on an index of the lease table for the leases of one owner, one item at most.
    ///
    /// # Errors
    /// The call's.
    pub async fn query_index(&self, index: &str, owner: &str) -> Result<(), StoreError> {
        let subject = format!("index {index} of {}", self.on_table());
        twice_after_hiccup(|| {
            self.dynamodb
                .query()
                .table_name(self.store.table())
                .index_name(index)
                .key_condition_expression("leaseOwner = :owner")
                .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
                .limit(1)
                .send()
        })
        .await
        .map(drop)
        .map_err(|cause| errors::store_error(dynamodb("Query", &subject), &cause))
    }
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn status_of(status: &ConsumerStatus) -> String {
    status.as_str().to_owned()
}

fn table_facts(table: &TableDescription) -> TableFacts {
    let key = |schema: &[KeySchemaElement]| -> Vec<KeyPart> {
        schema
            .iter()
            .map(|element| KeyPart {
                name: element.attribute_name.clone(),
                role: element.key_type.as_str().to_owned(),
                kind: table
                    .attribute_definitions()
                    .iter()
                    .find(|definition| definition.attribute_name == element.attribute_name)
                    .map(|definition| definition.attribute_type.as_str().to_owned())
                    .unwrap_or_default(),
            })
            .collect()
    };
    let units = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
    // On-demand tables carry zeros here.
    let provisioned = table.provisioned_throughput().and_then(|throughput| {
        let capacity = (
            units(throughput.read_capacity_units),
            units(throughput.write_capacity_units),
        );
        (capacity != (0, 0)).then_some(capacity)
    });
    TableFacts {
        status: table
            .table_status()
            .map_or_else(String::new, |status| status.as_str().to_owned()),
        key: key(table.key_schema()),
        provisioned,
        indexes: table
            .global_secondary_indexes()
            .iter()
            .map(|index| IndexFacts {
                name: index.index_name().unwrap_or_default().to_owned(),
                key: key(index.key_schema()),
                status: index
                    .index_status()
                    .map_or_else(String::new, |status| status.as_str().to_owned()),
            })
            .collect(),
        deletion_protection: table.deletion_protection_enabled().unwrap_or(false),
    }
}

#[cfg(test)]
mod tests;
