//! The index of leases by owner, `LeaseOwnerToLeaseKeyIndex` (`leases.md` A.3): making it, and asking it.
//!
//! It is declared when the table is created, or added later; nobody waits for it. Until it is ACTIVE
//! the whole table is read instead.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, CreateGlobalSecondaryIndexAction,
    GlobalSecondaryIndex, GlobalSecondaryIndexUpdate, IndexStatus, KeySchemaElement, KeyType,
    Projection, ProjectionType, ProvisionedThroughput, ScalarAttributeType, TableDescription,
};
use aws_smithy_types::error::operation::BuildError;

use crate::aws::clients::twice_after_hiccup;
use crate::aws::errors::{self, Cause};
use crate::aws::item::{Item, attribute, key_of};
use crate::aws::table::{Described, LeaseTable, dynamodb};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::ports::{OwnerIndex, StoreError};

/// Its name.
pub const NAME: &str = "LeaseOwnerToLeaseKeyIndex";

/// The attributes that keys of the table and of the index are made of.
pub(super) fn attributes(with_index: bool) -> Result<Vec<AttributeDefinition>, BuildError> {
    let text = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
    };
    let mut attributes = vec![text(attribute::KEY)?];
    if with_index {
        attributes.push(text(attribute::OWNER)?);
    }
    Ok(attributes)
}

fn keys() -> Result<Vec<KeySchemaElement>, BuildError> {
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
    };
    Ok(vec![
        key(attribute::OWNER, KeyType::Hash)?,
        key(attribute::KEY, KeyType::Range)?,
    ])
}

fn projection() -> Projection {
    Projection::builder()
        .projection_type(ProjectionType::KeysOnly)
        .build()
}

/// The index as CreateTable takes it.
pub(super) fn definition() -> Result<GlobalSecondaryIndex, BuildError> {
    GlobalSecondaryIndex::builder()
        .index_name(NAME)
        .set_key_schema(Some(keys()?))
        .projection(projection())
        .build()
}

fn state(table: &TableDescription) -> OwnerIndex {
    let index = table
        .global_secondary_indexes()
        .iter()
        .find(|index| index.index_name() == Some(NAME));
    match index.map(|index| index.index_status()) {
        None => OwnerIndex::Absent,
        Some(Some(IndexStatus::Active | IndexStatus::Updating)) => OwnerIndex::Active,
        Some(Some(IndexStatus::Deleting)) => OwnerIndex::Deleting,
        Some(_) => OwnerIndex::Building,
    }
}

/// The base table's capacity, which its index gets too unless the table is on demand.
fn capacity(table: &TableDescription) -> Result<Option<ProvisionedThroughput>, BuildError> {
    let on_demand = table
        .billing_mode_summary()
        .is_some_and(|summary| summary.billing_mode() == Some(&BillingMode::PayPerRequest));
    let of_table = table.provisioned_throughput().and_then(|capacity| {
        let read = capacity.read_capacity_units()?;
        let write = capacity.write_capacity_units()?;
        (read > 0 && write > 0).then_some((read, write))
    });
    match of_table {
        Some((read, write)) if !on_demand => ProvisionedThroughput::builder()
            .read_capacity_units(read)
            .write_capacity_units(write)
            .build()
            .map(Some),
        _ => Ok(None),
    }
}

impl LeaseTable {
    fn not_built(&self, error: &BuildError) -> StoreError {
        StoreError::Fatal(format!(
            "the index {NAME} of {} could not be described: {error}",
            self.subject()
        ))
    }

    async fn describe(&self) -> Result<TableDescription, StoreError> {
        match self.describe_table(&self.settings.name).await? {
            Described::Table(table) => Ok(*table),
            Described::Missing => Err(StoreError::TableMissing(format!(
                "the lease {} does not exist any more",
                self.subject()
            ))),
        }
    }

    /// Whether the index is there.
    ///
    /// # Errors
    /// Failures of DescribeTable.
    pub async fn owner_index(&self) -> Result<OwnerIndex, StoreError> {
        self.describe().await.map(|table| state(&table))
    }

    /// Asks for the index unless it is there; does not wait for it.
    ///
    /// # Errors
    /// Failures of DescribeTable and UpdateTable.
    pub async fn create_owner_index(&self) -> Result<(), StoreError> {
        let table = self.describe().await?;
        if state(&table) != OwnerIndex::Absent {
            return Ok(());
        }
        let update = || -> Result<_, BuildError> {
            let create = CreateGlobalSecondaryIndexAction::builder()
                .index_name(NAME)
                .set_key_schema(Some(keys()?))
                .projection(projection())
                .set_provisioned_throughput(capacity(&table)?)
                .build()?;
            Ok((
                attributes(true)?,
                GlobalSecondaryIndexUpdate::builder().create(create).build(),
            ))
        };
        let (attributes, update) = update().map_err(|error| self.not_built(&error))?;
        let result = self
            .client
            .update_table()
            .table_name(&self.settings.name)
            .set_attribute_definitions(Some(attributes))
            .global_secondary_index_updates(update)
            .send()
            .await;
        let Err(error) = result else { return Ok(()) };
        let cause = Cause::of(&error);
        if cause.code() == Some("ResourceInUseException") {
            // Somebody else asked a moment ago, or the table is busy with something else.
            return Err(StoreError::Unavailable(
                cause.sentence(dynamodb("UpdateTable", &self.subject())),
            ));
        }
        Err(errors::store_error(
            dynamodb("UpdateTable", &self.subject()),
            &cause,
        ))
    }

    /// The keys of the leases that have this owner, as the index knows them (eventually consistent).
    ///
    /// # Errors
    /// Failures of Query; a missing index is one.
    pub async fn keys_of(&self, owner: &WorkerId) -> Result<Vec<LeaseKey>, StoreError> {
        let subject = format!("index {NAME} of {}", self.subject());
        let mut keys = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let page = twice_after_hiccup(|| {
                self.client
                    .query()
                    .table_name(&self.settings.name)
                    .index_name(NAME)
                    .key_condition_expression(format!("{} = :owner", attribute::OWNER))
                    .expression_attribute_values(
                        ":owner",
                        AttributeValue::S(owner.as_str().to_owned()),
                    )
                    .set_exclusive_start_key(start.clone())
                    .send()
            })
            .await
            .map_err(|cause| errors::store_error(dynamodb("Query", &subject), &cause))?;
            let items = page.items.unwrap_or_default();
            keys.extend(items.iter().map(|item| LeaseKey::new(key_of(item))));
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(keys);
            }
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
