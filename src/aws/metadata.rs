//! Where the items of the 3.x coordination live, and what reading them has in common
//! (`leases.md` A.1, A.5 to A.7).

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::aws::item::Item;

/// Names of the tables that can hold such items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataTables {
    /// The lease table, where 3.5 and later keep everything.
    pub lease: String,
    /// `coordinatorStateTableName`: made by KCL 3.0 to 3.4 only.
    pub legacy_coordinator: String,
    /// `workerMetricsTableName`: likewise.
    pub legacy_metrics: String,
}

/// Coordinator items and worker metrics in DynamoDB.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub(super) client: Client,
    pub(super) tables: MetadataTables,
}

impl Metadata {
    /// Tables reached through a client.
    #[must_use]
    pub const fn new(client: Client, tables: MetadataTables) -> Self {
        Self { client, tables }
    }
}

/// A whole number; Java writes none with an exponent here, but may read one back from other tools.
pub(super) fn whole(item: &Item, name: &str) -> Result<Option<i64>, String> {
    match item.get(name) {
        None | Some(AttributeValue::Null(_)) => Ok(None),
        Some(AttributeValue::N(text)) => text
            .parse::<i64>()
            .ok()
            .or_else(|| {
                text.parse::<f64>()
                    .ok()
                    .filter(|value| value.is_finite())
                    .map(|value| value as i64)
            })
            .map(Some)
            .ok_or_else(|| format!("attribute {name} should be a number and is '{text}'")),
        Some(_) => Err(format!("attribute {name} should be a number (N)")),
    }
}
