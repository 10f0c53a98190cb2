//! The leader's row: [`CoordinatorStore`] over DynamoDB (`leases.md` A.5, C.1), kept to the letter as
//! Java's lock client keeps it.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::clients::twice_after_hiccup;
use crate::aws::errors::{self, Cause};
use crate::aws::item::Item;
use crate::aws::metadata::Metadata;
use crate::aws::table::dynamodb;
use crate::core::ids::WorkerId;
use crate::core::leader_lock::{
    self, LockChange, LockCondition, LockItem, LockOutcome, LockWrite, RecordVersion,
};
use crate::ports::{CoordinatorStore, MetadataPlace, StoreError};

/// `entityType` of the leader's row.
pub const LEADER: &str = "LEADER";

const OWNER: &str = "ownerName";
const DURATION: &str = "leaseDuration";
const VERSION: &str = "recordVersionNumber";
const RELEASED: &str = "isReleased";
/// What `isReleased` says when it is.
const IS_RELEASED: &str = "1";

const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Milliseconds as text, as the lock client writes them.
fn duration(duration: Duration) -> AttributeValue {
    AttributeValue::S(duration.as_millis().to_string())
}

/// The name of the key attribute of coordinator items.
pub(super) const fn key_name(place: MetadataPlace) -> &'static str {
    match place {
        MetadataPlace::LeaseTable => "leaseKey",
        MetadataPlace::LegacyTable => "key",
    }
}

/// Reads the leader's row.
///
/// # Errors
/// Which attribute is wrong.
pub fn read_leader(item: &Item) -> Result<LockItem, String> {
    let required = |name: &str| {
        item.get(name)
            .and_then(|value| value.as_s().ok())
            .ok_or_else(|| format!("attribute {name} should be a string (S)"))
    };
    let millis = required(DURATION)?;
    Ok(LockItem {
        owner: WorkerId::new(required(OWNER)?),
        lease_duration: millis.parse().map(Duration::from_millis).map_err(|_| {
            format!("attribute {DURATION} should be milliseconds and is '{millis}'")
        })?,
        version: RecordVersion::new(required(VERSION)?.clone()),
        released: item
            .get(RELEASED)
            .and_then(|value| value.as_s().ok())
            .is_some_and(|value| value == IS_RELEASED),
    })
}

/// Condition and values of a write.
fn condition(
    place: MetadataPlace,
    condition: &LockCondition,
) -> (String, HashMap<String, AttributeValue>) {
    let key = key_name(place);
    match condition {
        LockCondition::Absent => (format!("attribute_not_exists({key})"), HashMap::new()),
        LockCondition::Released => (
            format!("attribute_exists({key}) AND {RELEASED} = :released"),
            HashMap::from([(":released".to_owned(), text(IS_RELEASED))]),
        ),
        LockCondition::Version(version) => (
            format!("attribute_exists({key}) AND {VERSION} = :seen"),
            HashMap::from([(":seen".to_owned(), text(version.as_str()))]),
        ),
        LockCondition::Mine(version, me) => (
            format!("attribute_exists({key}) AND {VERSION} = :seen AND {OWNER} = :me"),
            HashMap::from([
                (":seen".to_owned(), text(version.as_str())),
                (":me".to_owned(), text(me.as_str())),
            ]),
        ),
    }
}

fn leader_item(place: MetadataPlace, lock: &LockItem) -> Item {
    let mut item = Item::from([
        (key_name(place).to_owned(), text(leader_lock::KEY)),
        ("entityType".to_owned(), text(LEADER)),
        (OWNER.to_owned(), text(lock.owner.as_str())),
        (DURATION.to_owned(), duration(lock.lease_duration)),
        (VERSION.to_owned(), text(lock.version.as_str())),
    ]);
    if lock.released {
        item.insert(RELEASED.to_owned(), text(IS_RELEASED));
    }
    item
}

impl Metadata {
    pub(super) fn coordinator_table(&self, place: MetadataPlace) -> &str {
        match place {
            MetadataPlace::LeaseTable => &self.tables.lease,
            MetadataPlace::LegacyTable => &self.tables.legacy_coordinator,
        }
    }

    pub(super) fn coordinator_key(place: MetadataPlace, key: &str) -> Item {
        Item::from([(key_name(place).to_owned(), text(key))])
    }

    /// Reads an item, strongly consistent.
    pub(super) async fn coordinator_item(
        &self,
        place: MetadataPlace,
        key: &str,
    ) -> Result<Option<Item>, StoreError> {
        let table = self.coordinator_table(place);
        let output = twice_after_hiccup(|| {
            self.client
                .get_item()
                .table_name(table)
                .set_key(Some(Self::coordinator_key(place, key)))
                .consistent_read(true)
                .send()
        })
        .await
        .map_err(|cause| {
            let subject = format!("item {key} in table {table}");
            errors::store_error(dynamodb("GetItem", &subject), &cause)
        })?;
        Ok(output.item.filter(|item| !item.is_empty()))
    }
}

#[async_trait]
impl CoordinatorStore for Metadata {
    async fn leader(&self, place: MetadataPlace) -> Result<Option<LockItem>, StoreError> {
        let Some(item) = self.coordinator_item(place, leader_lock::KEY).await? else {
            return Ok(None);
        };
        read_leader(&item).map(Some).map_err(|reason| {
            StoreError::Fatal(format!(
                "item {} in table {} cannot be read: {reason}",
                leader_lock::KEY,
                self.coordinator_table(place)
            ))
        })
    }

    async fn write_leader(
        &self,
        place: MetadataPlace,
        write: &LockWrite,
    ) -> Result<LockOutcome, StoreError> {
        let table = self.coordinator_table(place);
        let (condition, mut values) = condition(place, &write.condition);
        let key = Some(Self::coordinator_key(place, leader_lock::KEY));
        let (operation, cause) = match &write.change {
            LockChange::Put(lock) => {
                let result = self
                    .client
                    .put_item()
                    .table_name(table)
                    .set_item(Some(leader_item(place, lock)))
                    .condition_expression(condition)
                    .set_expression_attribute_values((!values.is_empty()).then_some(values))
                    .send()
                    .await;
                ("PutItem", failure(result))
            }
            LockChange::Heartbeat {
                version,
                lease_duration,
            } => {
                values.insert(":next".to_owned(), text(version.as_str()));
                values.insert(":duration".to_owned(), duration(*lease_duration));
                let result = self
                    .client
                    .update_item()
                    .table_name(table)
                    .set_key(key)
                    .update_expression(format!("SET {DURATION} = :duration, {VERSION} = :next"))
                    .condition_expression(condition)
                    .set_expression_attribute_values(Some(values))
                    .send()
                    .await;
                ("UpdateItem", failure(result))
            }
            LockChange::Delete => {
                let result = self
                    .client
                    .delete_item()
                    .table_name(table)
                    .set_key(key)
                    .condition_expression(condition)
                    .set_expression_attribute_values((!values.is_empty()).then_some(values))
                    .send()
                    .await;
                ("DeleteItem", failure(result))
            }
        };
        match cause {
            None => Ok(LockOutcome::Applied),
            Some(cause) if cause.code() == Some(CONDITION_FAILED) => Ok(LockOutcome::Refused),
            Some(cause) if cause.may_have_happened() => Ok(LockOutcome::Unknown),
            Some(cause) => {
                let subject = format!("item {} in table {table}", leader_lock::KEY);
                Err(errors::store_error(dynamodb(operation, &subject), &cause))
            }
        }
    }
}

/// Why a call failed, if it did.
pub(super) fn failure<T, E>(
    result: Result<
        T,
        aws_smithy_runtime_api::client::result::SdkError<
            E,
            aws_smithy_runtime_api::client::orchestrator::HttpResponse,
        >,
    >,
) -> Option<Cause>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    result.err().map(|error| Cause::of(&error))
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
