//! `-Dname=value` before a Java class name: which of them mean something without a JVM
//! (`properties.md` §11, `decisions.md`).

use std::collections::BTreeMap;

/// What becomes of a system property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It has its effect.
    Counts,
    /// It names the logback configuration.
    Logback,
    /// It has none, but this variable has the same.
    Instead(&'static str),
    /// It has none.
    Ignored,
}

/// Keys that the credentials providers look for.
const KEYS: [&str; 5] = [
    "aws.accessKeyId",
    "aws.secretAccessKey",
    "aws.secretKey",
    "aws.sessionToken",
    "aws.region",
];

/// Those that go before a variable of the environment which the configuration reads.
const AS_VARIABLE: [(&str, &str); 8] = [
    ("aws.region", "AWS_REGION"),
    ("aws.endpointUrl", "AWS_ENDPOINT_URL"),
    ("aws.endpointUrlKinesis", "AWS_ENDPOINT_URL_KINESIS"),
    ("aws.endpointUrlDynamoDb", "AWS_ENDPOINT_URL_DYNAMODB"),
    ("aws.endpointUrlCloudWatch", "AWS_ENDPOINT_URL_CLOUDWATCH"),
    ("aws.endpointUrlSts", "AWS_ENDPOINT_URL_STS"),
    (
        "aws.ignoreConfiguredEndpointUrls",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    ),
    // Of sylvite's credentials provider.
    ("CUSTOM_PREFIX", "CUSTOM_PREFIX"),
];

/// Those whose variable the SDK reads by itself.
const INSTEAD: [(&str, &str); 14] = [
    ("aws.profile", "AWS_PROFILE"),
    ("aws.configFile", "AWS_CONFIG_FILE"),
    ("aws.sharedCredentialsFile", "AWS_SHARED_CREDENTIALS_FILE"),
    ("aws.roleArn", "AWS_ROLE_ARN"),
    ("aws.roleSessionName", "AWS_ROLE_SESSION_NAME"),
    ("aws.webIdentityTokenFile", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ("aws.disableEc2Metadata", "AWS_EC2_METADATA_DISABLED"),
    (
        "aws.ec2MetadataServiceEndpoint",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ),
    (
        "aws.containerCredentialsPath",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ),
    (
        "aws.containerCredentialsFullUri",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    ("aws.useFipsEndpoint", "AWS_USE_FIPS_ENDPOINT"),
    ("aws.useDualstackEndpoint", "AWS_USE_DUALSTACK_ENDPOINT"),
    ("http.proxyHost", "HTTP_PROXY"),
    ("https.proxyHost", "HTTPS_PROXY"),
];

/// Where logback is told its configuration.
const LOGBACK: &str = "logback.configurationFile";

/// What becomes of a system property.
pub fn judge(name: &str) -> Use {
    if KEYS.contains(&name) || AS_VARIABLE.iter().any(|(known, _)| *known == name) {
        Use::Counts
    } else if name == LOGBACK {
        Use::Logback
    } else {
        INSTEAD
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Use::Ignored, |(_, variable)| Use::Instead(variable))
    }
}

/// Whether a `-D` of a line of our own is a system property rather than one of the daemon's: those
/// who take `java` and the class out of their line leave it in.
pub fn is_for_java(name: &str) -> bool {
    judge(name) != Use::Ignored || name.starts_with("aws.")
}

/// Lays system properties over the environment, for the configuration to read.
pub fn lay_over(properties: &BTreeMap<String, String>, variables: &mut BTreeMap<String, String>) {
    for (name, variable) in AS_VARIABLE {
        if let Some(value) = properties.get(name) {
            variables.insert(variable.to_owned(), value.clone());
        }
    }
}
