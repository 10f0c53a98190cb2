//! Coordinator items: [`CoordinatorStore`] over DynamoDB (`leases.md` A.5). Here also the leader's row
//! (C.1), to the letter as Java's lock client keeps it; `migration.rs` has the others.

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
use crate::core::migration::client_version::ClientVersion;
use crate::core::migration::single_table::{BATCH, ITEM_LIVES_IN, TableStatus, movable};
use crate::core::migration::{ItemWrite, MigrationItem};
use crate::ports::{CoordinatorStore, Place, StoreError};

/// `entityType` of the leader's row.
pub const LEADER: &str = "LEADER";

const OWNER: &str = "ownerName";
const DURATION: &str = "leaseDuration";
const VERSION: &str = "recordVersionNumber";
const RELEASED: &str = "isReleased";
/// What `isReleased` says when it is.
const IS_RELEASED: &str = "1";

pub(super) const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Milliseconds as text, as the lock client writes them.
fn duration(duration: Duration) -> AttributeValue {
    AttributeValue::S(duration.as_millis().to_string())
}

/// The name of the key attribute of coordinator items.
pub(super) const fn key_name(place: Place) -> &'static str {
    match place {
        Place::LeaseTable => "leaseKey",
        Place::Legacy => "key",
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

/// The key attribute in expressions: `key` is a reserved word.
pub(super) const KEY: &str = "#key";

/// Condition and values of a write.
fn condition(condition: &LockCondition) -> (String, HashMap<String, AttributeValue>) {
    match condition {
        LockCondition::Absent => (format!("attribute_not_exists({KEY})"), HashMap::new()),
        LockCondition::Released => (
            format!("attribute_exists({KEY}) AND {RELEASED} = :released"),
            HashMap::from([(":released".to_owned(), text(IS_RELEASED))]),
        ),
        LockCondition::Version(version) => (
            format!("attribute_exists({KEY}) AND {VERSION} = :seen"),
            HashMap::from([(":seen".to_owned(), text(version.as_str()))]),
        ),
        LockCondition::Mine(version, me) => (
            format!("attribute_exists({KEY}) AND {VERSION} = :seen AND {OWNER} = :me"),
            HashMap::from([
                (":seen".to_owned(), text(version.as_str())),
                (":me".to_owned(), text(me.as_str())),
            ]),
        ),
    }
}

fn leader_item(place: Place, lock: &LockItem) -> Item {
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
    pub(super) fn coordinator_table(&self, place: Place) -> &str {
        match place {
            Place::LeaseTable => &self.tables.lease,
            Place::Legacy => &self.tables.legacy_coordinator,
        }
    }

    pub(super) fn coordinator_key(place: Place, key: &str) -> Item {
        Item::from([(key_name(place).to_owned(), text(key))])
    }

    /// Reads an item, strongly consistent.
    pub(super) async fn coordinator_item(
        &self,
        place: Place,
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
    async fn leader(&self, place: Place) -> Result<Option<LockItem>, StoreError> {
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
        place: Place,
        write: &LockWrite,
    ) -> Result<LockOutcome, StoreError> {
        let table = self.coordinator_table(place);
        let (condition, mut values) = condition(&write.condition);
        let key = Some(Self::coordinator_key(place, leader_lock::KEY));
        let (operation, cause) = match &write.change {
            LockChange::Put(lock) => {
                let result = self
                    .client
                    .put_item()
                    .table_name(table)
                    .set_item(Some(leader_item(place, lock)))
                    .condition_expression(condition)
                    .expression_attribute_names(KEY, key_name(place))
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
                    .expression_attribute_names(KEY, key_name(place))
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
                    .expression_attribute_names(KEY, key_name(place))
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

    async fn client_version(
        &self,
        place: Place,
    ) -> Result<Option<MigrationItem<ClientVersion>>, StoreError> {
        self.read_migration(place).await
    }

    async fn write_client_version(
        &self,
        place: Place,
        write: &ItemWrite<ClientVersion>,
    ) -> Result<bool, StoreError> {
        self.write_migration(place, write).await
    }

    async fn table_status(&self) -> Result<Option<MigrationItem<TableStatus>>, StoreError> {
        self.read_migration(ITEM_LIVES_IN).await
    }

    async fn write_table_status(&self, write: &ItemWrite<TableStatus>) -> Result<bool, StoreError> {
        self.write_migration(ITEM_LIVES_IN, write).await
    }

    async fn delete_table_status(&self, relies_on: TableStatus) -> Result<bool, StoreError> {
        self.delete_migration(ITEM_LIVES_IN, relies_on).await
    }

    async fn legacy_items(&self) -> Result<Vec<String>, StoreError> {
        Ok(self
            .legacy_rows()
            .await?
            .iter()
            .map(legacy_key)
            .filter(|key| movable(key))
            .collect())
    }

    async fn move_legacy_items(&self, me: &WorkerId, keys: &[String]) -> Result<bool, StoreError> {
        let mut rows = self.legacy_rows().await?;
        rows.retain(|row| keys.contains(&legacy_key(row)));
        rows.truncate(BATCH);
        self.move_rows(me, &rows).await
    }

    async fn complete_table_migration(
        &self,
        me: &WorkerId,
        write: &ItemWrite<TableStatus>,
    ) -> Result<bool, StoreError> {
        self.write_in_both(me, write).await
    }
}

/// The key of a row of the legacy coordinator table.
fn legacy_key(row: &Item) -> String {
    row.get(key_name(Place::Legacy))
        .and_then(|value| value.as_s().ok())
        .cloned()
        .unwrap_or_default()
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
