//! The lease table: [`LeaseStore`] over DynamoDB (`leases.md` A.2, A.8, B.1, D.4).
//!
//! Reads are repeated once after a hiccup. Writes are tried exactly once: whether an unanswered write
//! happened is for its caller to find out by reading (I.7).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::aws::clients::twice_after_hiccup;
use crate::aws::coordinator;
use crate::aws::errors::{self, Cause};
use crate::aws::expression;
use crate::aws::item::{self, Item, Row, attribute};
use crate::aws::migration;
use crate::aws::table::{LeaseTable, dynamodb};
use crate::aws::worker_metrics;
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::leader_lock;
use crate::core::lease::{Lease, LeaseDeletion, LeaseUpdate};
use crate::core::migration::client_version::ClientVersion;
use crate::os::tasks::TaskGroup;
use crate::ports::{
    Clock, Created, ForeignItem, LeaseStore, OwnerIndex, StoreError, TableScan, UnreadableRow,
    Written,
};

pub use crate::aws::table::TableSettings;

/// The lease table in DynamoDB.
#[derive(Clone)]
pub struct DynamoDbLeaseStore {
    table: LeaseTable,
    /// Bytes in the table when it was last scanned.
    last_size: Arc<AtomicUsize>,
}

/// How much of the table one part of a parallel scan is to have, bytes. Small tables are scanned in one
/// piece: each part costs at least one call (`leases.md` H.2, #1781).
const SEGMENT: usize = 4 << 20;
/// Most parts.
const MOST_SEGMENTS: u32 = 32;

impl DynamoDbLeaseStore {
    /// A table reached through a client, whose settings limit how long a call may take. Renewals get a
    /// store of their own, with a client on their own runtime and a time-out of F/3 (I.8).
    #[must_use]
    pub fn new(client: Client, settings: TableSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            table: LeaseTable {
                client,
                settings,
                clock,
            },
            last_size: Arc::default(),
        }
    }

    fn client(&self) -> &Client {
        &self.table.client
    }

    fn name(&self) -> &str {
        &self.table.settings.name
    }

    /// In how many parts the table is scanned: as configured, else by its size when last scanned.
    fn segments(&self) -> u32 {
        let by_size = self.last_size.load(Ordering::Relaxed) / SEGMENT + 1;
        self.table
            .settings
            .scan_segments
            .unwrap_or_else(|| u32::try_from(by_size).unwrap_or(MOST_SEGMENTS))
            .clamp(1, MOST_SEGMENTS)
    }

    async fn scan_in_parallel(&self, segments: u32) -> Result<TableScan, StoreError> {
        let mut group = TaskGroup::new();
        for segment in 0..segments {
            let part = self.clone();
            group.spawn(async move {
                let scan = part.scan_segment(Some((segment, segments))).await;
                (segment, scan)
            });
        }
        let mut parts = BTreeMap::new();
        while let Some(done) = group.join_next().await {
            let (segment, part) = done.map_err(|panic| StoreError::Fatal(panic.to_string()))?;
            parts.insert(segment, part?);
        }
        let mut whole = TableScan::default();
        for part in parts.into_values() {
            whole.leases.extend(part.leases);
            whole.foreign.extend(part.foreign);
            whole.metrics.extend(part.metrics);
            whole.unreadable.extend(part.unreadable);
            whole.leader = whole.leader.or(part.leader);
            whole.client_version = whole.client_version.or(part.client_version);
            whole.bytes += part.bytes;
        }
        Ok(whole)
    }

    /// Scans the table, or one of so many parts of it.
    async fn scan_segment(&self, part: Option<(u32, u32)>) -> Result<TableScan, StoreError> {
        let subject = self.table.subject();
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let mut scan = TableScan::default();
        let mut start: Option<Item> = None;
        loop {
            let page = twice_after_hiccup(|| {
                self.client()
                    .scan()
                    .table_name(self.name())
                    .set_segment(part.map(|(segment, _)| number(segment)))
                    .set_total_segments(part.map(|(_, segments)| number(segments)))
                    .set_exclusive_start_key(start.clone())
                    .send()
            })
            .await
            .map_err(|cause| errors::store_error(dynamodb("Scan", &subject), &cause))?;
            for item in page.items.unwrap_or_default() {
                scan.bytes += size_of(&item);
                match item::read(&item) {
                    Row::Lease(lease) => scan.leases.push(*lease),
                    Row::Foreign(foreign) => {
                        sort_in(&mut scan, &item, &foreign);
                        scan.foreign.push(foreign);
                    }
                    Row::Unreadable(row) => scan.unreadable.push(row),
                }
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(scan);
            }
        }
    }

    fn on_lease(&self, key: &LeaseKey) -> String {
        format!("lease {key} in {}", self.table.subject())
    }
}

#[async_trait]
impl LeaseStore for DynamoDbLeaseStore {
    fn table(&self) -> &str {
        self.name()
    }

    async fn ensure_table(&self, with_index: bool) -> Result<bool, StoreError> {
        self.table.ensure(with_index).await
    }

    async fn owner_index(&self) -> Result<OwnerIndex, StoreError> {
        self.table.owner_index().await
    }

    async fn create_owner_index(&self) -> Result<(), StoreError> {
        self.table.create_owner_index().await
    }

    async fn keys_of(&self, owner: &WorkerId) -> Result<Vec<LeaseKey>, StoreError> {
        self.table.keys_of(owner).await
    }

    async fn legacy_coordinator_table(&self) -> Result<Option<String>, StoreError> {
        self.table.legacy_coordinator().await
    }

    async fn scan(&self) -> Result<TableScan, StoreError> {
        let segments = self.segments();
        let scan = if segments == 1 {
            self.scan_segment(None).await?
        } else {
            self.scan_in_parallel(segments).await?
        };
        self.last_size.store(scan.bytes, Ordering::Relaxed);
        Ok(scan)
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, StoreError> {
        let subject = self.on_lease(key);
        let output = twice_after_hiccup(|| {
            self.client()
                .get_item()
                .table_name(self.name())
                .set_key(Some(key_item(key)))
                .consistent_read(true)
                .send()
        })
        .await
        .map_err(|cause| errors::store_error(dynamodb("GetItem", &subject), &cause))?;
        match output
            .item
            .filter(|item| !item.is_empty())
            .map(|item| item::read(&item))
        {
            None => Ok(None),
            Some(Row::Lease(lease)) => Ok(Some(*lease)),
            Some(Row::Foreign(foreign)) => Err(StoreError::Fatal(format!(
                "{subject} is no lease but an item of kind {}",
                foreign.kind
            ))),
            Some(Row::Unreadable(row)) => Err(StoreError::Fatal(format!(
                "{subject} cannot be read: {}",
                row.reason
            ))),
        }
    }

    async fn create(&self, lease: &Lease) -> Result<Created, StoreError> {
        let result = self
            .client()
            .put_item()
            .table_name(self.name())
            .set_item(Some(item::write(lease)))
            .condition_expression(expression::NOT_THERE)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Created::New),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(PutItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(Created::Existed)
            }
            // Should it have happened after all, then the next try finds that it exists.
            Err(error) => Err(errors::store_error(
                dynamodb("PutItem", &self.on_lease(&lease.key)),
                &Cause::of(&error),
            )),
        }
    }

    async fn update(&self, update: &LeaseUpdate) -> Result<Written, StoreError> {
        let expressions = expression::of_update(update);
        let result = self
            .client()
            .update_item()
            .table_name(self.name())
            .set_key(Some(key_item(&update.key)))
            .update_expression(expressions.update)
            .condition_expression(expressions.condition)
            .set_expression_attribute_values(values(expressions.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let subject = self.on_lease(&update.key);
        match result {
            Ok(output) => Ok(match output.attributes.map(|item| item::read(&item)) {
                Some(Row::Lease(lease)) => Written::Applied(*lease),
                Some(Row::Unreadable(row)) => Written::Unknown(format!(
                    "UpdateItem on {subject} answered with a row that cannot be read: {}",
                    row.reason
                )),
                Some(Row::Foreign(_)) | None => Written::Unknown(format!(
                    "UpdateItem on {subject} did not answer with the row"
                )),
            }),
            Err(error) => {
                if let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
                    error.as_service_error()
                {
                    return Ok(Written::Lost(failed.item().and_then(lease_in)));
                }
                let call = dynamodb("UpdateItem", &subject);
                let cause = Cause::of(&error);
                if cause.may_have_happened() {
                    Ok(Written::Unknown(cause.sentence(call)))
                } else {
                    Err(errors::store_error(call, &cause))
                }
            }
        }
    }

    async fn delete(&self, deletion: &LeaseDeletion) -> Result<bool, StoreError> {
        let expressions = expression::of_deletion(deletion);
        let result = self
            .client()
            .delete_item()
            .table_name(self.name())
            .set_key(Some(key_item(&deletion.key)))
            .condition_expression(expressions.condition)
            .set_expression_attribute_values(values(expressions.values))
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(DeleteItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(errors::store_error(
                dynamodb("DeleteItem", &self.on_lease(&deletion.key)),
                &Cause::of(&error),
            )),
        }
    }
}

/// Reads an item of the 3.x coordination; one that cannot be read is told and left alone.
fn sort_in(scan: &mut TableScan, item: &Item, foreign: &ForeignItem) {
    let reason = match foreign.kind.as_str() {
        worker_metrics::ENTITY_TYPE => match worker_metrics::read(item, attribute::KEY) {
            Ok(stats) => {
                scan.metrics.push(stats);
                return;
            }
            Err(reason) => reason,
        },
        coordinator::LEADER if foreign.key == leader_lock::KEY => {
            match coordinator::read_leader(item) {
                Ok(lock) => {
                    scan.leader = Some(lock);
                    return;
                }
                Err(reason) => reason,
            }
        }
        <ClientVersion as migration::State>::ENTITY_TYPE => {
            match migration::read::<ClientVersion>(item) {
                Ok(version) => {
                    scan.client_version = Some(version);
                    return;
                }
                Err(reason) => reason,
            }
        }
        _ => return,
    };
    scan.unreadable.push(UnreadableRow {
        key: foreign.key.clone(),
        reason,
    });
}

fn key_item(key: &LeaseKey) -> Item {
    Item::from([(
        attribute::KEY.to_owned(),
        AttributeValue::S(key.as_str().to_owned()),
    )])
}

fn lease_in(item: &Item) -> Option<Lease> {
    match item::read(item) {
        Row::Lease(lease) => Some(*lease),
        Row::Foreign(_) | Row::Unreadable(_) => None,
    }
}

/// DynamoDB refuses an empty map of values.
fn values(values: BTreeMap<String, AttributeValue>) -> Option<HashMap<String, AttributeValue>> {
    (!values.is_empty()).then(|| values.into_iter().collect())
}

/// The size of an item as DynamoDB counts it, roughly: names and values, without overhead of nesting.
fn size_of(item: &Item) -> usize {
    fn size(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            // About two digits in a byte.
            AttributeValue::N(text) => text.len() / 2 + 1,
            AttributeValue::B(blob) => blob.as_ref().len(),
            AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
            AttributeValue::Ns(texts) => texts.iter().map(|text| text.len() / 2 + 1).sum(),
            AttributeValue::Bs(blobs) => blobs.iter().map(|blob| blob.as_ref().len()).sum(),
            AttributeValue::L(values) => {
                3 + values.iter().map(|value| 1 + size(value)).sum::<usize>()
            }
            AttributeValue::M(values) => {
                3 + values
                    .iter()
                    .map(|(name, value)| 1 + name.len() + size(value))
                    .sum::<usize>()
            }
            _ => 1,
        }
    }
    item.iter()
        .map(|(name, value)| name.len() + size(value))
        .sum()
}

#[cfg(test)]
#[path = "dynamodb_tests.rs"]
mod tests;
