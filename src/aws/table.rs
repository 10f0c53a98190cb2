//! The lease table itself: whether it exists, making it, waiting for it (`leases.md` A.1, A.2, D.4).

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification, TableDescription,
    TableStatus,
};

use crate::aws::clients::twice_after_hiccup;
use crate::aws::errors::{self, Call, Cause};
use crate::aws::index;
use crate::aws::item::attribute;
use crate::ports::{Clock, StoreError};

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
    /// `leaseTableScanTotalSegments`; `None` goes by the size of the table.
    pub scan_segments: Option<u32>,
    /// `leaseTablePitrEnabled`; switched on at every start, also of an existing table.
    pub point_in_time_recovery: bool,
}

/// What DescribeTable says.
pub(super) enum Described {
    Missing,
    Table(Box<TableDescription>),
}

/// A table and the way to it.
#[derive(Clone)]
pub struct LeaseTable {
    /// The client for every call.
    pub client: Client,
    /// Its name, and how it is made.
    pub settings: TableSettings,
    /// For pauses while it is being made.
    pub clock: Arc<dyn Clock>,
}

/// A call to DynamoDB, for messages.
#[must_use]
pub const fn dynamodb<'a>(operation: &'static str, subject: &'a str) -> Call<'a> {
    Call {
        service: "dynamodb",
        operation,
        subject,
    }
}

impl LeaseTable {
    /// `table` and its name, for messages.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("table {}", self.settings.name)
    }

    /// Creates the table when it is missing, waits until it can be used, and switches on
    /// point-in-time recovery if that is wanted. `true` when it was created here, `with_index` or
    /// without.
    ///
    /// # Errors
    /// Whatever keeps the table from being used; recovery is never needed.
    pub async fn ensure(&self, with_index: bool) -> Result<bool, StoreError> {
        let created = self.wait_for_table(with_index).await?;
        if self.settings.point_in_time_recovery {
            self.enable_recovery().await;
        }
        Ok(created)
    }

    /// The name of the coordinator table of KCL 3.0 to 3.4, if it exists.
    ///
    /// # Errors
    /// Failures of the call, except that it is not allowed: policies made for KCL 2 name the lease
    /// table only, and a fleet that uses the other table has permission for it.
    pub async fn legacy_coordinator(&self) -> Result<Option<String>, StoreError> {
        let name = &self.settings.legacy_coordinator;
        if name.len() > LONGEST_TABLE_NAME {
            return Ok(None);
        }
        match self.describe_table(name).await {
            Ok(Described::Table(_)) => Ok(Some(name.clone())),
            Ok(Described::Missing) => Ok(None),
            Err(StoreError::Denied(why)) => {
                tracing::debug!("whether table {name} exists is unknown, taken as no: {why}");
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    async fn pause(&self, length: Duration) {
        self.clock.sleep_until(self.clock.now() + length).await;
    }

    pub(super) async fn describe_table(&self, name: &str) -> Result<Described, StoreError> {
        let subject = format!("table {name}");
        let call = dynamodb("DescribeTable", &subject);
        match twice_after_hiccup(|| self.client.describe_table().table_name(name).send()).await {
            Ok(output) => Ok(output.table.map_or(Described::Missing, |table| {
                Described::Table(Box::new(table))
            })),
            Err(cause) => match errors::store_error(call, &cause) {
                StoreError::TableMissing(_) => Ok(Described::Missing),
                other => Err(other),
            },
        }
    }

    /// `true` when this call created it, `false` when somebody else just did.
    async fn create_table(&self, with_index: bool) -> Result<bool, StoreError> {
        let name = &self.settings.name;
        let not_built =
            |error| StoreError::Fatal(format!("CreateTable of {name} could not be built: {error}"));
        let index = with_index
            .then(index::definition)
            .transpose()
            .map_err(not_built)?;
        let result = self
            .client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(index::attributes(with_index).map_err(not_built)?))
            .set_global_secondary_indexes(index.map(|index| vec![index]))
            .key_schema(
                KeySchemaElement::builder()
                    .attribute_name(attribute::KEY)
                    .key_type(KeyType::Hash)
                    .build()
                    .map_err(not_built)?,
            )
            // Not sent when off: emulators and old endpoints may not know it.
            .set_deletion_protection_enabled(self.settings.deletion_protection.then_some(true))
            .send()
            .await;
        let Err(error) = result else { return Ok(true) };
        let cause = Cause::of(&error);
        if cause.code() == Some("ResourceInUseException") {
            return Ok(false);
        }
        let subject = self.subject();
        Err(
            match errors::store_error(dynamodb("CreateTable", &subject), &cause) {
                StoreError::Denied(why) => StoreError::Denied(format!(
                    "the lease table {name} does not exist and may not be created ({why}); allow dynamodb:CreateTable, \
                 or create the table with the partition key {} of type String",
                    attribute::KEY
                )),
                other => other,
            },
        )
    }

    /// Waits for the table, creating it when it is missing. `true` when it was created here.
    async fn wait_for_table(&self, with_index: bool) -> Result<bool, StoreError> {
        let deadline = self.clock.now() + TABLE_TIMEOUT;
        let (mut asked, mut created) = (false, false);
        let mut poll = FIRST_POLL;
        loop {
            let status = match self.describe_table(&self.settings.name).await {
                Ok(Described::Table(table)) => match usability(&self.settings.name, &table)? {
                    Usability::Usable => return Ok(created),
                    Usability::Soon(status) => status,
                },
                // Just created and not yet visible everywhere.
                Ok(Described::Missing) if asked => "not visible yet".to_owned(),
                Ok(Described::Missing) => {
                    created = self.create_table(with_index).await?;
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
                    self.settings.name,
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
                .table_name(&self.settings.name)
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
                cause.sentence(dynamodb("UpdateContinuousBackups", &self.subject()))
            );
            return;
        }
    }
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
    let keys: Vec<&str> = table
        .key_schema()
        .iter()
        .map(|key| key.attribute_name.as_str())
        .collect();
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

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
