//! The smallest IAM policy for a configuration. The actions are those that KCL's documentation asks
//! for, less what the configuration does not use. Actions of the 3.x mode have statements of their own.

use serde_json::{Value, json};

use crate::config::credentials::{ProviderChain, ProviderSpec};
use crate::config::retrieval_mode::RetrievalMode;
use crate::config::{DaemonConfig, MetricsLevel};

/// Name of the lease table's index in the 3.x mode (`leases.md` A.3).
pub const INDEX: &str = "LeaseOwnerToLeaseKeyIndex";

/// Which credentials a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum For {
    /// Those of Kinesis.
    Kinesis,
    /// Those of DynamoDB.
    DynamoDb,
    /// Those of CloudWatch.
    CloudWatch,
    /// Those that a role is assumed with.
    Source,
}

/// How much an action is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The daemon does not work without it.
    Now,
    /// Something is missing without it; the daemon works.
    Useful,
    /// Only the 3.x mode of a later version needs it.
    Later,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub sid: &'static str,
    /// Whose it is.
    pub whose: For,
    /// How much it is needed.
    pub need: Need,
    /// The actions.
    pub actions: Vec<&'static str>,
    /// The resources.
    pub resources: Vec<String>,
    /// The CloudWatch namespace that it is limited to.
    pub namespace: Option<String>,
}

/// Where things are, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Region of Kinesis.
    pub kinesis_region: Option<String>,
    /// Region of DynamoDB.
    pub dynamodb_region: Option<String>,
    /// Account of the stream.
    pub stream_account: Option<String>,
    /// Account of the tables.
    pub table_account: Option<String>,
}

/// A policy and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The statements.
    pub statements: Vec<Statement>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl Scope {
    /// What the configuration itself tells.
    #[must_use]
    pub fn of(config: &DaemonConfig) -> Self {
        let arn = config.identity.stream.arn.as_ref();
        let role = |chain: &ProviderChain| {
            let mut accounts = chain.providers().iter().map(|provider| match provider {
                ProviderSpec::AssumeRole(role) => role.role_arn.split(':').nth(4),
                _ => None,
            });
            let first = accounts.next().flatten()?;
            (is_account(first) && accounts.all(|account| account == Some(first)))
                .then(|| first.to_owned())
        };
        let stream_account = arn.map(|arn| arn.account.clone());
        Self {
            kinesis_region: config.endpoints.kinesis.region.clone(),
            dynamodb_region: config.endpoints.dynamodb.region.clone(),
            // Tables belong to whoever creates them; streams may be somebody else's.
            table_account: role(&config.credentials.dynamodb).or_else(|| stream_account.clone()),
            stream_account: stream_account.or_else(|| role(&config.credentials.kinesis)),
        }
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn partition(region: Option<&str>) -> &'static str {
    match region {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        Some(_) => "aws",
        None => "*",
    }
}

/// The policy of a configuration.
#[must_use]
pub fn build(config: &DaemonConfig, scope: &Scope) -> Policy {
    let mut statements = kinesis(config, scope);
    statements.extend(tables(config, scope));
    if config.metrics.level != MetricsLevel::None {
        statements.push(Statement {
            sid: "Metrics",
            whose: For::CloudWatch,
            need: Need::Useful,
            actions: vec!["cloudwatch:PutMetricData"],
            resources: vec!["*".to_owned()],
            namespace: Some(config.identity.application_name.clone()),
        });
    }
    let roles = roles(config);
    if !roles.is_empty() {
        statements.push(Statement {
            sid: "AssumeRole",
            whose: For::Source,
            need: Need::Now,
            actions: vec!["sts:AssumeRole"],
            resources: roles,
            namespace: None,
        });
    }
    Policy {
        notes: notes(config, scope, &statements),
        statements,
    }
}

fn kinesis(config: &DaemonConfig, scope: &Scope) -> Vec<Statement> {
    let stream = match &config.identity.stream.arn {
        Some(arn) => arn.to_string(),
        None => format!(
            "arn:{}:kinesis:{}:{}:stream/{}",
            partition(scope.kinesis_region.as_deref()),
            scope.kinesis_region.as_deref().unwrap_or("*"),
            scope.stream_account.as_deref().unwrap_or("*"),
            config.identity.stream.name
        ),
    };
    let statement = |sid, actions, resource| Statement {
        sid,
        whose: For::Kinesis,
        need: Need::Now,
        actions,
        resources: vec![resource],
        namespace: None,
    };
    let choice = &config.retrieval.choice;
    let mut actions = vec!["kinesis:DescribeStreamSummary", "kinesis:ListShards"];
    if choice.mode == RetrievalMode::Polling {
        actions.extend(["kinesis:GetShardIterator", "kinesis:GetRecords"]);
    }
    let mut statements = vec![statement("ReadStream", actions, stream.clone())];
    if choice.mode == RetrievalMode::Fanout {
        statements.extend(match &config.retrieval.fanout.consumer_arn {
            // A consumer that is named by its ARN is used as it is (`retrieval.md` B.1).
            Some(arn) => vec![statement(
                "FanOutConsumer",
                vec!["kinesis:SubscribeToShard"],
                arn.clone(),
            )],
            None => vec![
                statement(
                    "FanOutRegistration",
                    vec!["kinesis:RegisterStreamConsumer"],
                    stream.clone(),
                ),
                statement(
                    "FanOutConsumer",
                    vec!["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"],
                    format!(
                        "{stream}/consumer/{}:*",
                        config.retrieval.fanout.consumer_name
                    ),
                ),
            ],
        });
    }
    statements
}

fn tables(config: &DaemonConfig, scope: &Scope) -> Vec<Statement> {
    let table = |name: &str| {
        format!(
            "arn:{}:dynamodb:{}:{}:table/{name}",
            partition(scope.dynamodb_region.as_deref()),
            scope.dynamodb_region.as_deref().unwrap_or("*"),
            scope.table_account.as_deref().unwrap_or("*"),
        )
    };
    let leases = table(&config.identity.lease_table);
    let statement = |sid, need, actions, resources| Statement {
        sid,
        whose: For::DynamoDb,
        need,
        actions,
        resources,
        namespace: None,
    };
    let mut statements = vec![statement(
        "LeaseTable",
        Need::Now,
        vec![
            "dynamodb:DescribeTable",
            "dynamodb:CreateTable",
            "dynamodb:Scan",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
        ],
        vec![leases.clone()],
    )];
    if config.leases.point_in_time_recovery {
        statements.push(statement(
            "LeaseTableRecovery",
            Need::Useful,
            vec!["dynamodb:UpdateContinuousBackups"],
            vec![leases.clone()],
        ));
    }
    statements.extend([
        statement(
            "Kcl3LeaseTableIndex",
            Need::Later,
            vec!["dynamodb:UpdateTable"],
            vec![leases.clone()],
        ),
        statement(
            "Kcl3LeaseTableIndexRead",
            Need::Later,
            vec!["dynamodb:Query"],
            vec![format!("{leases}/index/{INDEX}")],
        ),
        statement(
            "Kcl30To34Tables",
            Need::Later,
            vec![
                "dynamodb:DescribeTable",
                "dynamodb:Scan",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
                "dynamodb:DeleteItem",
            ],
            vec![
                table(&config.coordinator_state_table.name),
                table(&config.worker_metrics_table.name),
            ],
        ),
    ]);
    statements
}

/// The roles that are assumed, each once.
fn roles(config: &DaemonConfig) -> Vec<String> {
    let chains = &config.credentials;
    let mut roles: Vec<String> = [&chains.kinesis, &chains.dynamodb, &chains.cloudwatch]
        .into_iter()
        .flat_map(|chain| chain.providers())
        .filter_map(|provider| match provider {
            ProviderSpec::AssumeRole(role) if role.role_arn.starts_with("arn:") => {
                Some(role.role_arn.clone())
            }
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn notes(config: &DaemonConfig, scope: &Scope, statements: &[Statement]) -> Vec<String> {
    let mut notes = Vec::new();
    let has = |wanted: &str| statements.iter().any(|s| s.sid == wanted);
    if scope.stream_account.is_none() || scope.table_account.is_none() {
        notes.push(
            "the account is not known from the file, so it is '*': put yours in, or set streamArn"
                .to_owned(),
        );
    }
    if scope.kinesis_region.is_none() || scope.dynamodb_region.is_none() {
        notes.push(
            "the region is not known from the file, so it is '*': put yours in, or set regionName"
                .to_owned(),
        );
    }
    if config.identity.stream.arn.is_some() && scope.table_account == scope.stream_account {
        notes.push(
            "tables are taken to be in the stream's account; if the stream belongs to another account, correct the \
             table ARNs, and the stream needs a resource policy that lets yours read it"
                .to_owned(),
        );
    }
    notes.push(
        "a stream that is encrypted with a customer-managed KMS key needs kms:Decrypt on that key too; the AWS-managed \
         key aws/kinesis needs nothing"
            .to_owned(),
    );
    notes.push(
        "statements whose Sid begins with Kcl3 are for the 3.x mode of the next release, and what Java KCL 3 needs; a \
         fleet that stays with KCL 2.x does without"
            .to_owned(),
    );
    if has("AssumeRole") {
        notes.push(
            "the statement AssumeRole is for the credentials that the role is assumed with; all others are for the role \
             itself, whose trust policy must name those credentials"
                .to_owned(),
        );
    }
    let chains = &config.credentials;
    if chains.dynamodb != chains.kinesis || chains.cloudwatch != chains.kinesis {
        notes.push(
            "the services have different credentials: each needs only the statements about its service"
                .to_owned(),
        );
    }
    notes.push(
        "check --online itself also asks for kinesis:ListStreamConsumers and iam:SimulatePrincipalPolicy, and does \
         without them"
            .to_owned(),
    );
    notes
}

/// The policy document.
#[must_use]
pub fn document(policy: &Policy) -> Value {
    let statements: Vec<Value> = policy
        .statements
        .iter()
        .map(|statement| {
            let mut value = json!({
                "Sid": statement.sid,
                "Effect": "Allow",
                "Action": statement.actions,
                "Resource": statement.resources,
            });
            if let (Some(namespace), Some(object)) = (&statement.namespace, value.as_object_mut()) {
                let condition = json!({"StringEquals": {"cloudwatch:namespace": namespace}});
                object.insert("Condition".to_owned(), condition);
            }
            value
        })
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

#[cfg(test)]
mod tests;
