//! Properties files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::sandbox::Sandbox;

/// Where the services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Kinesis, with scheme.
    pub kinesis: String,
    /// DynamoDB, with scheme.
    pub dynamodb: String,
}

/// A properties file in the making, and what goes into the daemon's environment beside it.
#[derive(Debug, Clone)]
pub struct Properties {
    values: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

impl Properties {
    /// The usual ones: polling five times a second from TRIM_HORIZON, in us-east-1.
    pub fn new(endpoints: &Endpoints, application: &str, stream: &str, executable: &str) -> Self {
        let pairs = [
            ("applicationName", application),
            ("streamName", stream),
            ("executableName", executable),
            (
                "AwsCredentialsProvider",
                "EnvironmentVariableCredentialsProvider",
            ),
            ("regionName", "us-east-1"),
            ("kinesisEndpoint", &endpoints.kinesis),
            ("dynamoDBEndpoint", &endpoints.dynamodb),
            ("metricsLevel", "NONE"),
            ("retrievalMode", "POLLING"),
            ("idleTimeBetweenReadsInMillis", "200"),
            ("initialPositionInStream", "TRIM_HORIZON"),
        ];
        let environment = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            values: pairs.into_iter().map(own).collect(),
            environment: environment.into_iter().map(own).collect(),
        }
    }

    /// Sets a property.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.values.insert(key.to_owned(), value.to_string());
        self
    }

    /// Takes a property out.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.values.remove(key);
        self
    }

    /// Sets a variable of the daemon's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes a variable out of the daemon's environment.
    #[must_use]
    pub fn without_environment(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// `failoverTimeMillis`.
    #[must_use]
    pub fn failover_millis(self, millis: u64) -> Self {
        self.set("failoverTimeMillis", millis)
    }

    /// A property's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The lease table: named as the application.
    pub fn table(&self) -> &str {
        self.get("tableName")
            .or_else(|| self.get("applicationName"))
            .expect("an application name")
    }

    /// The variables for the daemon's environment.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Writes the file into the sandbox.
    pub fn write(&self, sandbox: &Sandbox, name: &str) -> PathBuf {
        let lines: Vec<String> = self
            .values
            .iter()
            .map(|(key, value)| format!("{key} = {}\n", value.replace('\\', "\\\\")))
            .collect();
        sandbox.write(name, lines.concat())
    }
}
