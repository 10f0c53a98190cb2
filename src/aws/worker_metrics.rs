//! Worker-metrics items: [`WorkerMetricsStore`] over DynamoDB (`leases.md` A.6).
//!
//! They are updated attribute by attribute, so that what other versions keep in them survives.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::aws::clients::twice_after_hiccup;
use crate::aws::errors::{self, Cause};
use crate::aws::item::{Item, from_decimal};
use crate::aws::metadata::{Metadata, whole};
use crate::aws::table::dynamodb;
use crate::core::ids::WorkerId;
use crate::core::worker_stats::WorkerMetricStats;
use crate::ports::{Place, StoreError, WorkerMetricsStore};

/// `entityType` of the items.
pub const ENTITY_TYPE: &str = "WORKER_METRIC_STATS";

const LAST_UPDATE: &str = "lut";
const STATS: &str = "sts";
const OPERATING_RANGE: &str = "opr";
const SUPPORT: &str = "sup";
const SUPPORT_UPDATED: &str = "slu";
/// Not Java's: the mark of a kcl-daemon ([`WorkerMetricStats::is_ours`]).
const OURS_UPDATED: &str = "kclDaemonUpdated";

/// Reads an item; `key` is the name of its key attribute. The reason when it cannot be read.
///
/// # Errors
/// Which attribute is wrong.
pub fn read(item: &Item, key: &str) -> Result<WorkerMetricStats, String> {
    let worker = item
        .get(key)
        .and_then(|value| value.as_s().ok())
        .filter(|worker| !worker.is_empty())
        .ok_or_else(|| format!("attribute {key} is missing"))?;
    Ok(WorkerMetricStats {
        worker: WorkerId::new(worker),
        last_update: whole(item, LAST_UPDATE)?,
        stats: lists(item, STATS, |text| {
            text.parse::<f64>().ok().filter(|value| value.is_finite())
        })?,
        operating_range: lists(item, OPERATING_RANGE, |text| {
            // Java writes whole numbers; a fraction is cut.
            text.parse::<f64>().ok().map(|value| value as i64)
        })?,
        support_code: whole(item, SUPPORT)?,
        support_updated: whole(item, SUPPORT_UPDATED)?,
        // Nobody else's business, and nothing to lose the whole item for.
        ours_updated: whole(item, OURS_UPDATED).unwrap_or_default(),
    })
}

/// A map of lists of numbers; absent counts as empty.
fn lists<T>(
    item: &Item,
    name: &str,
    number: impl Fn(&str) -> Option<T>,
) -> Result<BTreeMap<String, Vec<T>>, String> {
    let wrong = || format!("attribute {name} should be a map (M) of lists (L) of numbers (N)");
    let map = match item.get(name) {
        None | Some(AttributeValue::Null(_)) => return Ok(BTreeMap::new()),
        Some(AttributeValue::M(map)) => map,
        Some(_) => return Err(wrong()),
    };
    let mut read = BTreeMap::new();
    for (metric, values) in map {
        let AttributeValue::L(values) = values else {
            return Err(wrong());
        };
        let values: Option<Vec<T>> = values
            .iter()
            .map(|value| value.as_n().ok().and_then(|text| number(text)))
            .collect();
        read.insert(metric.clone(), values.ok_or_else(wrong)?);
    }
    Ok(read)
}

fn list_of<T>(
    map: &BTreeMap<String, Vec<T>>,
    number: impl Fn(&T) -> AttributeValue,
) -> AttributeValue {
    AttributeValue::M(
        map.iter()
            .map(|(metric, values)| {
                let values = values.iter().map(&number).collect();
                (metric.clone(), AttributeValue::L(values))
            })
            .collect(),
    )
}

/// What is set by a write, by attribute.
fn written(stats: &WorkerMetricStats) -> Vec<(&'static str, AttributeValue)> {
    let number = |number: i64| AttributeValue::N(number.to_string());
    let mut set = vec![
        (STATS, list_of(&stats.stats, |value| from_decimal(*value))),
        (
            OPERATING_RANGE,
            list_of(&stats.operating_range, |value| number(*value)),
        ),
        ("entityType", AttributeValue::S(ENTITY_TYPE.to_owned())),
    ];
    let optional = [
        (LAST_UPDATE, stats.last_update),
        (SUPPORT, stats.support_code),
        (SUPPORT_UPDATED, stats.support_updated),
        (OURS_UPDATED, stats.ours_updated),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            set.push((name, number(value)));
        }
    }
    set
}

/// The name of the key attribute (`leases.md` A.6).
pub(super) const fn key_name(place: Place) -> &'static str {
    match place {
        Place::LeaseTable => "leaseKey",
        Place::Legacy => "wid",
    }
}

impl Metadata {
    fn metrics_table(&self, place: Place) -> &str {
        match place {
            Place::LeaseTable => &self.tables.lease,
            Place::Legacy => &self.tables.legacy_metrics,
        }
    }

    fn metrics_key(place: Place, worker: &WorkerId) -> Item {
        Item::from([(
            key_name(place).to_owned(),
            AttributeValue::S(worker.as_str().to_owned()),
        )])
    }
}

#[async_trait]
impl WorkerMetricsStore for Metadata {
    async fn put(&self, place: Place, stats: &WorkerMetricStats) -> Result<(), StoreError> {
        let set = written(stats);
        let clauses: Vec<String> = set
            .iter()
            .map(|(name, _)| format!("{name} = :{name}"))
            .collect();
        let values: HashMap<String, AttributeValue> = set
            .into_iter()
            .map(|(name, value)| (format!(":{name}"), value))
            .collect();
        let table = self.metrics_table(place);
        let result = self
            .client
            .update_item()
            .table_name(table)
            .set_key(Some(Self::metrics_key(place, &stats.worker)))
            .update_expression(format!("SET {}", clauses.join(", ")))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        result.map(drop).map_err(|error| {
            let subject = format!("metrics of worker {} in table {table}", stats.worker);
            errors::store_error(dynamodb("UpdateItem", &subject), &Cause::of(&error))
        })
    }

    async fn delete(&self, place: Place, stats: &WorkerMetricStats) -> Result<bool, StoreError> {
        let table = self.metrics_table(place);
        let delete = self
            .client
            .delete_item()
            .table_name(table)
            .set_key(Some(Self::metrics_key(place, &stats.worker)));
        let delete = match stats.last_update {
            Some(written) => delete
                .condition_expression(format!("{LAST_UPDATE} = :seen"))
                .expression_attribute_values(":seen", AttributeValue::N(written.to_string())),
            None => delete.condition_expression(format!("attribute_not_exists({LAST_UPDATE})")),
        };
        match delete.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(DeleteItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(false)
            }
            Err(error) => {
                let subject = format!("metrics of worker {} in table {table}", stats.worker);
                Err(errors::store_error(
                    dynamodb("DeleteItem", &subject),
                    &Cause::of(&error),
                ))
            }
        }
    }

    async fn list_legacy(&self) -> Result<Vec<WorkerMetricStats>, StoreError> {
        let table = &self.tables.legacy_metrics;
        let subject = format!("table {table}");
        let mut all = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let page = twice_after_hiccup(|| {
                self.client
                    .scan()
                    .table_name(table)
                    .set_exclusive_start_key(start.clone())
                    .send()
            })
            .await;
            let page = match page {
                Ok(page) => page,
                Err(cause) => match errors::store_error(dynamodb("Scan", &subject), &cause) {
                    // Not every fleet with a coordinator table has this one: 2.x tools delete it.
                    StoreError::TableMissing(_) => return Ok(all),
                    other => return Err(other),
                },
            };
            for item in page.items.unwrap_or_default() {
                match read(&item, key_name(Place::Legacy)) {
                    Ok(stats) => all.push(stats),
                    Err(reason) => {
                        tracing::debug!("an item of {subject} cannot be read: {reason}");
                    }
                }
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
#[path = "worker_metrics_tests.rs"]
mod tests;
