//! DynamoDB's JSON protocol on the `dynoxide-rs` library.

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::local::backend::Answer;

/// What requests to DynamoDB name as their target.
pub const TARGET_PREFIX: &str = "DynamoDB_20120810.";

/// The embedded DynamoDB could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the embedded DynamoDB cannot be opened: {0}")]
pub struct OpenError(String);

/// An in-memory DynamoDB.
pub struct DynamoDb(Database);

impl DynamoDb {
    /// An empty one.
    ///
    /// # Errors
    /// [`OpenError`], e.g. when memory is short.
    pub fn open() -> Result<Self, OpenError> {
        Database::memory()
            .map(Self)
            .map_err(|error| OpenError(error.to_string()))
    }

    /// Carries out one call. Blocks for some 0.1 ms.
    #[must_use]
    pub fn handle(&self, operation: &str, body: &[u8]) -> Answer {
        let db = &self.0;
        match operation {
            "CreateTable" => call(body, |r| db.create_table(r)),
            "DeleteTable" => call(body, |r| db.delete_table(r)),
            "DescribeTable" => call(body, |r| db.describe_table(r)),
            "UpdateTable" => call(body, |r| db.update_table(r)),
            "ListTables" => call(body, |r| db.list_tables(r)),
            "PutItem" => call(body, |r| db.put_item(r)),
            "GetItem" => call(body, |r| db.get_item(r)),
            "DeleteItem" => call(body, |r| db.delete_item(r)),
            "UpdateItem" => call(body, |r| db.update_item(r)),
            "BatchGetItem" => call(body, |r| db.batch_get_item(r)),
            "BatchWriteItem" => call(body, |r| db.batch_write_item(r)),
            "Query" => call(body, |r| db.query(r)),
            "Scan" => call(body, |r| db.scan(r)),
            "TransactWriteItems" => call(body, |r| db.transact_write_items(r)),
            "TransactGetItems" => call(body, |r| db.transact_get_items(r)),
            "UpdateTimeToLive" => call(body, |r| db.update_time_to_live(r)),
            "DescribeTimeToLive" => call(body, |r| db.describe_time_to_live(r)),
            "TagResource" => call(body, |r| db.tag_resource(r)),
            "UntagResource" => call(body, |r| db.untag_resource(r)),
            "ListTagsOfResource" => call(body, |r| db.list_tags_of_resource(r)),
            "ExecuteStatement" => call(body, |r| db.execute_statement(r)),
            "BatchExecuteStatement" => call(body, |r| db.batch_execute_statement(r)),
            // Point-in-time recovery means nothing for a table in memory.
            "UpdateContinuousBackups" | "DescribeContinuousBackups" => Answer::json(
                200,
                br#"{"ContinuousBackupsDescription":{"ContinuousBackupsStatus":"ENABLED","PointInTimeRecoveryDescription":{"PointInTimeRecoveryStatus":"ENABLED"}}}"#.to_vec(),
            ),
            other => Answer::error(
                400,
                "UnknownOperationException",
                &format!("the embedded DynamoDB does not know the operation {other}"),
            ),
        }
    }
}

fn call<Request, Response>(
    body: &[u8],
    run: impl FnOnce(Request) -> Result<Response, DynoxideError>,
) -> Answer
where
    Request: DeserializeOwned,
    Response: Serialize,
{
    let request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => {
            return Answer::error(400, "SerializationException", &error.to_string());
        }
    };
    match run(request) {
        Ok(response) => match serde_json::to_vec(&response) {
            Ok(body) => Answer::json(200, body),
            Err(error) => Answer::error(500, "InternalServerError", &error.to_string()),
        },
        Err(error) => Answer::json(error.status_code(), error.to_json().into_bytes()),
    }
}
