//! The lease table: [`LeaseStore`] over DynamoDB (`leases.md` A.2, A.8, B.1, D.4).
//!
//! Reads are repeated once after a hiccup. Writes are tried exactly once: whether an unanswered write
//! happened is for its caller to find out by reading (I.7).

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    ReturnValue, ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TableDescription, TableStatus,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::errors::{self, Call, Cause};
use crate::aws::expression;
use crate::aws::item::{self, Item, Row, attribute};
use crate::core::ids::LeaseKey;
use crate::core::lease::{Lease, LeaseDeletion, LeaseUpdate};
use crate::ports::{Clock, Created, LeaseStore, StoreError, TableScan, Written};

/// How long a table may take to become usable (`leases.md` A.2).
const TABLE_TIMEOUT: Duration = Duration::from_mins(10);
/// First and longest pause between two looks at a table that is being made.
const FIRST_POLL: Duration = Duration::from_millis(200);
const LONGEST_POLL: Duration = Duration::from_secs(1);
/// How often switching on point-in-time recovery is tried; a new table refuses it for a moment.
const PITR_TRIES: u32 = 3;
/// DynamoDB's longest table name.
const LONGEST_TABLE_NAME: usize = 255;

/// The lease table's settings (`leases.md` A.1, A.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSettings {
    /// `tableName`, or the application's name.
    pub name: String,
    /// `coordinatorStateTableName`, or `<applicationName>-CoordinatorState`; only looked for.
    pub legacy_coordinator: String,
    /// `leaseTableDeletionProtectionEnabled`; counts when the table is created.
    pub deletion_protection: bool,
    /// `leaseTablePitrEnabled`; switched on at every start, also of an existing table.
    pub point_in_time_recovery: bool,
}

/// The lease table in DynamoDB.
#[derive(Clone)]
pub struct DynamoDbLeaseStore {
    client: Client,
    table: TableSettings,
    clock: Arc<dyn Clock>,
}

/// What DescribeTable says.
enum Described {
    Missing,
    Table(Box<TableDescription>),
}

impl DynamoDbLeaseStore {
    /// A table reached through a client, whose settings limit how long a call may take. Renewals get a
    /// store of their own, with a client on their own runtime and a time-out of F/3 (I.8).
    #[must_use]
    pub const fn new(client: Client, table: TableSettings, clock: Arc<dyn Clock>) -> Self {
        Self { client, table, clock }
    }

    fn on_table(&self) -> String {
        format!("table {}", self.table.name)
    }

    fn on_lease(&self, key: &LeaseKey) -> String {
        format!("lease {key} in table {}", self.table.name)
    }

    async fn pause(&self, length: Duration) {
        self.clock.sleep_until(self.clock.now() + length).await;
    }

    async fn describe_table(&self, name: &str) -> Result<Described, StoreError> {
        let subject = format!("table {name}");
        let call = dynamodb("DescribeTable", &subject);
        match reading(|| self.client.describe_table().table_name(name).send()).await {
            Ok(output) => Ok(output
                .table
                .map_or(Described::Missing, |table| Described::Table(Box::new(table)))),
            Err(cause) => match errors::store_error(call, &cause) {
                StoreError::TableMissing(_) => Ok(Described::Missing),
                other => Err(other),
            },
        }
    }

    /// `true` when this call created it, `false` when somebody else just did.
    async fn create_table(&self) -> Result<bool, StoreError> {
        let name = &self.table.name;
        let not_built = |error| StoreError::Fatal(format!("CreateTable of {name} could not be built: {error}"));
        let result = self
            .client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(attribute::KEY)
                    .attribute_type(ScalarAttributeType::S)
                    .build()
                    .map_err(not_built)?,
            )
            .key_schema(
                KeySchemaElement::builder()
                    .attribute_name(attribute::KEY)
                    .key_type(KeyType::Hash)
                    .build()
                    .map_err(not_built)?,
            )
            // Not sent when off: emulators and old endpoints may not know it.
            .set_deletion_protection_enabled(self.table.deletion_protection.then_some(true))
            .send()
            .await;
        let Err(error) = result else { return Ok(true) };
        let cause = Cause::of(&error);
        if cause.code() == Some("ResourceInUseException") {
            return Ok(false);
        }
        let subject = self.on_table();
        Err(match errors::store_error(dynamodb("CreateTable", &subject), &cause) {
            StoreError::Denied(why) => StoreError::Denied(format!(
                "the lease table {name} does not exist and may not be created ({why}); allow dynamodb:CreateTable, \
                 or create the table with the partition key {} of type String",
                attribute::KEY
            )),
            other => other,
        })
    }

    /// Waits for the table, creating it when it is missing. `true` when it was created here.
    async fn wait_for_table(&self) -> Result<bool, StoreError> {
        let deadline = self.clock.now() + TABLE_TIMEOUT;
        let (mut asked, mut created) = (false, false);
        let mut poll = FIRST_POLL;
        loop {
            let status = match self.describe_table(&self.table.name).await {
                Ok(Described::Table(table)) => match usability(&self.table.name, &table)? {
                    Usability::Usable => return Ok(created),
                    Usability::Soon(status) => status,
                },
                // Just created and not yet visible everywhere.
                Ok(Described::Missing) if asked => "not visible yet".to_owned(),
                Ok(Described::Missing) => {
                    created = self.create_table().await?;
                    asked = true;
                    continue;
                }
                // While waiting, what passes by itself is waited for too.
                Err(error) if asked && error.is_transient() => error.to_string(),
                Err(error) => return Err(error),
            };
            if self.clock.now() >= deadline {
                return Err(StoreError::Unavailable(format!(
                    "table {} was not usable after {} s: {status}",
                    self.table.name,
                    TABLE_TIMEOUT.as_secs()
                )));
            }
            self.pause(poll).await;
            poll = (poll * 2).min(LONGEST_POLL);
        }
    }

    /// Switches on point-in-time recovery; nothing depends on it, so that failures are only reported.
    async fn enable_recovery(&self) {
        let Ok(wanted) = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(true)
            .build()
        else {
            return;
        };
        for attempt in 1..=PITR_TRIES {
            let result = self
                .client
                .update_continuous_backups()
                .table_name(&self.table.name)
                .point_in_time_recovery_specification(wanted.clone())
                .send()
                .await;
            let Err(error) = result else { return };
            let cause = Cause::of(&error);
            let is_too_early = cause.code() == Some("ContinuousBackupsUnavailableException");
            if is_too_early && attempt < PITR_TRIES {
                self.pause(LONGEST_POLL).await;
                continue;
            }
            tracing::warn!(
                "leaseTablePitrEnabled: {}; the daemon goes on without and tries again at its next start",
                cause.sentence(dynamodb("UpdateContinuousBackups", &self.on_table()))
            );
            return;
        }
    }
}

#[async_trait]
impl LeaseStore for DynamoDbLeaseStore {
    fn table(&self) -> &str {
        &self.table.name
    }

    async fn ensure_table(&self) -> Result<bool, StoreError> {
        let created = self.wait_for_table().await?;
        if self.table.point_in_time_recovery {
            self.enable_recovery().await;
        }
        Ok(created)
    }

    async fn legacy_coordinator_table(&self) -> Result<Option<String>, StoreError> {
        let name = &self.table.legacy_coordinator;
        if name.len() > LONGEST_TABLE_NAME {
            return Ok(None);
        }
        match self.describe_table(name).await {
            Ok(Described::Table(_)) => Ok(Some(name.clone())),
            Ok(Described::Missing) => Ok(None),
            // Policies made for KCL 2 name the lease table only; a fleet that uses the other table has
            // permission for it.
            Err(StoreError::Denied(why)) => {
                tracing::debug!("whether table {name} exists is unknown, taken as no: {why}");
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    async fn scan(&self) -> Result<TableScan, StoreError> {
        let subject = self.on_table();
        let mut scan = TableScan::default();
        let mut start: Option<Item> = None;
        loop {
            let page = reading(|| {
                self.client
                    .scan()
                    .table_name(&self.table.name)
                    .set_exclusive_start_key(start.clone())
                    .send()
            })
            .await
            .map_err(|cause| errors::store_error(dynamodb("Scan", &subject), &cause))?;
            for item in page.items.unwrap_or_default() {
                scan.bytes += size_of(&item);
                match item::read(&item) {
                    Row::Lease(lease) => scan.leases.push(*lease),
                    Row::Foreign(foreign) => scan.foreign.push(foreign),
                    Row::Unreadable(row) => scan.unreadable.push(row),
                }
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(scan);
            }
        }
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, StoreError> {
        let subject = self.on_lease(key);
        let output = reading(|| {
            self.client
                .get_item()
                .table_name(&self.table.name)
                .set_key(Some(key_item(key)))
                .consistent_read(true)
                .send()
        })
        .await
        .map_err(|cause| errors::store_error(dynamodb("GetItem", &subject), &cause))?;
        match output.item.filter(|item| !item.is_empty()).map(|item| item::read(&item)) {
            None => Ok(None),
            Some(Row::Lease(lease)) => Ok(Some(*lease)),
            Some(Row::Foreign(foreign)) => Err(StoreError::Fatal(format!(
                "{subject} is no lease but an item of kind {}",
                foreign.kind
            ))),
            Some(Row::Unreadable(row)) => {
                Err(StoreError::Fatal(format!("{subject} cannot be read: {}", row.reason)))
            }
        }
    }

    async fn create(&self, lease: &Lease) -> Result<Created, StoreError> {
        let result = self
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(item::write(lease)))
            .condition_expression(expression::NOT_THERE)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Created::New),
            Err(error) if matches!(error.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) => {
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
            .client
            .update_item()
            .table_name(&self.table.name)
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
                Some(Row::Unreadable(row)) => {
                    Written::Unknown(format!("UpdateItem on {subject} answered with a row that cannot be read: {}", row.reason))
                }
                Some(Row::Foreign(_)) | None => {
                    Written::Unknown(format!("UpdateItem on {subject} did not answer with the row"))
                }
            }),
            Err(error) => {
                if let Some(UpdateItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
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
            .client
            .delete_item()
            .table_name(&self.table.name)
            .set_key(Some(key_item(&deletion.key)))
            .condition_expression(expressions.condition)
            .set_expression_attribute_values(values(expressions.values))
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.as_service_error(), Some(DeleteItemError::ConditionalCheckFailedException(_))) =>
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

const fn dynamodb<'a>(operation: &'static str, subject: &'a str) -> Call<'a> {
    Call {
        service: "dynamodb",
        operation,
        subject,
    }
}

/// Reads, and once more after a hiccup.
async fn reading<T, E, F, Fut>(mut send: F) -> Result<T, Cause>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let first = match send().await {
        Ok(output) => return Ok(output),
        Err(error) => Cause::of(&error),
    };
    if !first.is_hiccup() {
        return Err(first);
    }
    send().await.map_err(|error| Cause::of(&error))
}

/// How a table that exists can be used.
#[derive(Debug, PartialEq, Eq)]
enum Usability {
    Usable,
    Soon(String),
}

fn usability(name: &str, table: &TableDescription) -> Result<Usability, StoreError> {
    let status = table.table_status.clone().unwrap_or(TableStatus::Creating);
    match &status {
        // UPDATING is usable: an index is being built or settings change (`leases.md` A.3).
        TableStatus::Active | TableStatus::Updating => {}
        TableStatus::Archived | TableStatus::Archiving => {
            return Err(StoreError::Fatal(format!(
                "table {name} is {}: it was taken out of use, restore it or name another with tableName",
                status.as_str()
            )));
        }
        TableStatus::InaccessibleEncryptionCredentials => {
            return Err(StoreError::Denied(format!(
                "table {name} cannot be used because its KMS key is not accessible; check the key and its policy"
            )));
        }
        other => return Ok(Usability::Soon(other.as_str().to_owned())),
    }
    let keys: Vec<&str> = table.key_schema().iter().map(|key| key.attribute_name.as_str()).collect();
    if keys == [attribute::KEY] {
        Ok(Usability::Usable)
    } else {
        Err(StoreError::Fatal(format!(
            "table {name} exists and is no lease table: its key is ({}) and not ({}); name another with tableName or applicationName",
            keys.join(", "),
            attribute::KEY
        )))
    }
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
fn values(
    values: std::collections::BTreeMap<String, AttributeValue>,
) -> Option<HashMap<String, AttributeValue>> {
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
            AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + size(value)).sum::<usize>(),
            AttributeValue::M(values) => 3 + values.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>(),
            _ => 1,
        }
    }
    item.iter().map(|(name, value)| name.len() + size(value)).sum()
}

#[cfg(test)]
#[path = "dynamodb_tests.rs"]
mod tests;
