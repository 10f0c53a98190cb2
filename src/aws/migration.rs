//! The items that say how far a fleet's migrations are: `Migration3.0` and `TableMigration3.5`
//! (`leases.md` A.5, D.1, D.3), and the transactions that move everything into the lease table.

use std::collections::{HashMap, VecDeque};

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem};
use aws_smithy_types::error::operation::BuildError;

use crate::aws::clients::twice_after_hiccup;
use crate::aws::coordinator::{CONDITION_FAILED, KEY, failure, key_name, text};
use crate::aws::errors::{self, Cause};
use crate::aws::item::{self, Item};
use crate::aws::metadata::{Metadata, whole};
use crate::aws::table::dynamodb;
use crate::core::ids::WorkerId;
use crate::core::leader_lock;
use crate::core::migration::client_version::{self, ClientVersion};
use crate::core::migration::single_table::{self, TableStatus};
use crate::core::migration::{Entry, HISTORY, ItemCondition, ItemWrite, MigrationItem};
use crate::core::time::WallTime;
use crate::ports::{Place, StoreError};

const MODIFIED_BY: &str = "mb";
const MODIFIED_AT: &str = "mts";
const FORMER: &str = "h";

/// A state that such an item holds.
pub trait State: Copy + Eq + Send + Sync + 'static {
    /// The item's key.
    const KEY: &'static str;
    /// The attribute.
    const ATTRIBUTE: &'static str;
    /// `entityType`.
    const ENTITY_TYPE: &'static str;
    /// The word in the table.
    fn word(self) -> &'static str;
    /// The state of a word.
    fn of(word: &str) -> Option<Self>;
}

impl State for ClientVersion {
    const KEY: &'static str = client_version::KEY;
    const ATTRIBUTE: &'static str = "cv";
    const ENTITY_TYPE: &'static str = "CLIENT_VERSION_MIGRATION";

    fn word(self) -> &'static str {
        self.as_str()
    }

    fn of(word: &str) -> Option<Self> {
        Self::parse(word)
    }
}

impl State for TableStatus {
    const KEY: &'static str = single_table::KEY;
    const ATTRIBUTE: &'static str = "tm";
    const ENTITY_TYPE: &'static str = "TABLE_MIGRATION";

    fn word(self) -> &'static str {
        self.as_str()
    }

    fn of(word: &str) -> Option<Self> {
        Self::parse(word)
    }
}

/// Reads an item, or one of its former states.
///
/// # Errors
/// Which attribute is wrong.
fn entry<S: State>(item: &Item) -> Result<Entry<S>, String> {
    let word = |name: &str| {
        item.get(name)
            .and_then(|value| value.as_s().ok())
            .ok_or_else(|| format!("attribute {name} should be a string (S)"))
    };
    let state = word(S::ATTRIBUTE)?;
    Ok(Entry {
        state: S::of(state)
            .ok_or_else(|| format!("attribute {} is the unknown '{state}'", S::ATTRIBUTE))?,
        modified_by: item
            .get(MODIFIED_BY)
            .and_then(|value| value.as_s().ok())
            .cloned()
            .unwrap_or_default(),
        modified_at: WallTime::from_millis(whole(item, MODIFIED_AT)?.unwrap_or_default()),
    })
}

/// Reads an item.
///
/// # Errors
/// Which attribute is wrong. Former states that cannot be read are left out.
pub fn read<S: State>(item: &Item) -> Result<MigrationItem<S>, String> {
    let former = item.get(FORMER).and_then(|value| value.as_l().ok());
    let history: VecDeque<Entry<S>> = former
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_m().ok())
        .filter_map(|map| entry(map).ok())
        .take(HISTORY)
        .collect();
    Ok(MigrationItem {
        now: entry(item)?,
        history,
    })
}

fn of_entry<S: State>(entry: &Entry<S>) -> Item {
    Item::from([
        (S::ATTRIBUTE.to_owned(), text(entry.state.word())),
        (MODIFIED_BY.to_owned(), text(&entry.modified_by)),
        (
            MODIFIED_AT.to_owned(),
            AttributeValue::N(entry.modified_at.millis().to_string()),
        ),
    ])
}

/// The attributes of an item but its key.
fn attributes<S: State>(item: &MigrationItem<S>) -> Item {
    let mut attributes = of_entry(&item.now);
    if !item.history.is_empty() {
        let former = item.history.iter().map(of_entry).map(AttributeValue::M);
        attributes.insert(FORMER.to_owned(), AttributeValue::L(former.collect()));
    }
    attributes
}

fn whole_item<S: State>(place: Place, item: &MigrationItem<S>) -> Item {
    let mut all = attributes(item);
    all.insert(key_name(place).to_owned(), text(S::KEY));
    all.insert("entityType".to_owned(), text(S::ENTITY_TYPE));
    all
}

impl Metadata {
    fn on_item(&self, place: Place, key: &str) -> String {
        format!("item {key} in table {}", self.coordinator_table(place))
    }

    pub(super) async fn read_migration<S: State>(
        &self,
        place: Place,
    ) -> Result<Option<MigrationItem<S>>, StoreError> {
        let item = match self.coordinator_item(place, S::KEY).await {
            Ok(item) => item,
            // A table of its own that is gone has no item in it.
            Err(StoreError::TableMissing(_)) if place == Place::Legacy => None,
            Err(error) => return Err(error),
        };
        item.map(|item| {
            read(&item).map_err(|reason| {
                let subject = self.on_item(place, S::KEY);
                StoreError::Fatal(format!("{subject} cannot be read: {reason}"))
            })
        })
        .transpose()
    }

    /// Sorts the end of a conditional write: done, refused, or an error after which the item has to be
    /// read before anything else.
    fn settled(
        &self,
        operation: &'static str,
        subject: &str,
        cause: Option<&Cause>,
    ) -> Result<bool, StoreError> {
        match cause {
            None => Ok(true),
            Some(cause) if cause.code() == Some(CONDITION_FAILED) => Ok(false),
            Some(cause) if cause.code() == Some("TransactionCanceledException") => Ok(false),
            Some(cause) => Err(errors::store_error(dynamodb(operation, subject), cause)),
        }
    }

    pub(super) async fn write_migration<S: State>(
        &self,
        place: Place,
        write: &ItemWrite<S>,
    ) -> Result<bool, StoreError> {
        let table = self.coordinator_table(place);
        let key = key_name(place);
        let subject = self.on_item(place, S::KEY);
        match &write.condition {
            ItemCondition::Absent => {
                let result = self
                    .client
                    .put_item()
                    .table_name(table)
                    .set_item(Some(whole_item(place, &write.item)))
                    .condition_expression(format!("attribute_not_exists({KEY})"))
                    .expression_attribute_names(KEY, key)
                    .send()
                    .await;
                self.settled("PutItem", &subject, failure(result).as_ref())
            }
            ItemCondition::State(state) => {
                let attributes = attributes(&write.item);
                let mut names: Vec<&String> = attributes.keys().collect();
                names.sort();
                let clauses: Vec<String> = names
                    .iter()
                    .map(|name| format!("{name} = :{name}"))
                    .collect();
                let mut values: HashMap<String, AttributeValue> = attributes
                    .iter()
                    .map(|(name, value)| (format!(":{name}"), value.clone()))
                    .collect();
                values.insert(":seen".to_owned(), text(state.word()));
                let result = self
                    .client
                    .update_item()
                    .table_name(table)
                    .set_key(Some(Self::coordinator_key(place, S::KEY)))
                    .update_expression(format!("SET {}", clauses.join(", ")))
                    .condition_expression(format!(
                        "attribute_exists({KEY}) AND {} = :seen",
                        S::ATTRIBUTE
                    ))
                    .expression_attribute_names(KEY, key)
                    .set_expression_attribute_values(Some(values))
                    .send()
                    .await;
                self.settled("UpdateItem", &subject, failure(result).as_ref())
            }
        }
    }

    pub(super) async fn delete_migration<S: State>(
        &self,
        place: Place,
        relies_on: S,
    ) -> Result<bool, StoreError> {
        let result = self
            .client
            .delete_item()
            .table_name(self.coordinator_table(place))
            .set_key(Some(Self::coordinator_key(place, S::KEY)))
            .condition_expression(format!("{} = :seen", S::ATTRIBUTE))
            .expression_attribute_values(":seen", text(relies_on.word()))
            .send()
            .await;
        let subject = self.on_item(place, S::KEY);
        self.settled("DeleteItem", &subject, failure(result).as_ref())
    }

    /// The coordinator items of the legacy table (strongly consistent).
    pub(super) async fn legacy_rows(&self) -> Result<Vec<Item>, StoreError> {
        let table = &self.tables.legacy_coordinator;
        let subject = format!("table {table}");
        let mut rows = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let page = twice_after_hiccup(|| {
                self.client
                    .scan()
                    .table_name(table)
                    .consistent_read(true)
                    .set_exclusive_start_key(start.clone())
                    .send()
            })
            .await
            .map_err(|cause| errors::store_error(dynamodb("Scan", &subject), &cause))?;
            rows.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(rows);
            }
        }
    }

    /// The clause of a transaction that fails unless this worker is the leader.
    fn i_lead(&self, me: &WorkerId) -> Result<TransactWriteItem, BuildError> {
        let check = ConditionCheck::builder()
            .table_name(self.coordinator_table(Place::Legacy))
            .set_key(Some(Self::coordinator_key(Place::Legacy, leader_lock::KEY)))
            .condition_expression("ownerName = :me")
            .expression_attribute_values(":me", text(me.as_str()))
            .build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    fn moving(&self, me: &WorkerId, rows: &[Item]) -> Result<Vec<TransactWriteItem>, BuildError> {
        let mut actions = vec![self.i_lead(me)?];
        for row in rows {
            let mut new = row.clone();
            let Some(key) = new.remove(key_name(Place::Legacy)) else {
                continue;
            };
            let old = Item::from([(key_name(Place::Legacy).to_owned(), key.clone())]);
            new.insert(key_name(Place::LeaseTable).to_owned(), key);
            // 3.0 to 3.4 wrote none. In the lease table Java takes a row without one for a lease, and fails to
            // read it as such.
            if !new.contains_key(item::attribute::ENTITY_TYPE)
                && let Some(kind) = item::foreign_kind(&new)
            {
                new.insert(item::attribute::ENTITY_TYPE.to_owned(), text(&kind));
            }
            let put = Put::builder()
                .table_name(self.coordinator_table(Place::LeaseTable))
                .set_item(Some(new))
                .condition_expression("attribute_not_exists(leaseKey)")
                .build()?;
            let delete = Delete::builder()
                .table_name(self.coordinator_table(Place::Legacy))
                .set_key(Some(old))
                .build()?;
            actions.push(TransactWriteItem::builder().put(put).build());
            actions.push(TransactWriteItem::builder().delete(delete).build());
        }
        Ok(actions)
    }

    async fn transact(
        &self,
        actions: Result<Vec<TransactWriteItem>, BuildError>,
        what: &str,
    ) -> Result<bool, StoreError> {
        let actions = actions
            .map_err(|error| StoreError::Fatal(format!("{what} could not be built: {error}")))?;
        let result = self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .send()
            .await;
        self.settled("TransactWriteItems", what, failure(result).as_ref())
    }

    /// Moves rows of the legacy coordinator table into the lease table, at most
    /// [`single_table::BATCH`], while this worker is the leader.
    pub(super) async fn move_rows(&self, me: &WorkerId, rows: &[Item]) -> Result<bool, StoreError> {
        self.transact(self.moving(me, rows), "the move of coordinator items")
            .await
    }

    /// Writes the last state of the table migration into both tables at once.
    pub(super) async fn write_in_both(
        &self,
        me: &WorkerId,
        write: &ItemWrite<TableStatus>,
    ) -> Result<bool, StoreError> {
        let actions = || -> Result<Vec<TransactWriteItem>, BuildError> {
            let mut actions = vec![self.i_lead(me)?];
            for place in [Place::Legacy, Place::LeaseTable] {
                let put = Put::builder()
                    .table_name(self.coordinator_table(place))
                    .set_item(Some(whole_item(place, &write.item)));
                let put = match (&write.condition, place) {
                    (ItemCondition::State(state), Place::Legacy) => put
                        .condition_expression("tm = :seen")
                        .expression_attribute_values(":seen", text(state.word())),
                    _ => put,
                };
                actions.push(TransactWriteItem::builder().put(put.build()?).build());
            }
            Ok(actions)
        };
        self.transact(actions(), "the end of the table migration")
            .await
    }
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
