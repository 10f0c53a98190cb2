//! Keys of credentials, regions and endpoints (§5.3, §5.4, §6, §7).

use super::{AliasKind, Group, Holding, KeySpec, ValueType, alias};
use AliasKind::SylviteOnly;
use Group::{Credentials, Endpoints};
use Holding::{Object, Ours, Wrapper};

const fn provider(name: &'static str) -> KeySpec {
    KeySpec::new(name, Credentials, ValueType::Credentials, Object)
}

const fn uri(name: &'static str, holding: Holding) -> KeySpec {
    KeySpec::new(name, Endpoints, ValueType::Uri, holding)
        .absent("by region")
        .java("An endpoint without scheme is refused or fails at the first call.")
}

const fn region(name: &'static str, holding: Holding) -> KeySpec {
    KeySpec::new(name, Endpoints, ValueType::Region, holding).absent("`regionName`")
}

const fn switch(name: &'static str) -> KeySpec {
    KeySpec::bool(name, Endpoints, Wrapper)
        .since("2.7.0 / 3.0")
        .absent("as the SDK's environment and profile say")
}

pub(super) const KEYS: &[KeySpec] = &[
    provider("AwsCredentialsProvider")
        .aliases(&[alias("kinesisCredentialsProvider", SylviteOnly)])
        .absent("the SDK's default chain, with an INFO line")
        .effect("Credentials for Kinesis, and for the other two services unless they have their own. The name may be written in any case. See *Credentials*.")
        .java("Required. Names of SDK v1 and misspelt ones stop the start without saying which is wrong."),
    provider("AwsCredentialsProviderDynamoDB")
        .aliases(&[alias("dynamoDBCredentialsProvider", SylviteOnly)])
        .absent("`AwsCredentialsProvider`")
        .since("1.7.1 / 2.1")
        .effect("Credentials for the lease table."),
    provider("AwsCredentialsProviderCloudWatch")
        .aliases(&[alias("cloudWatchCredentialsProvider", SylviteOnly)])
        .absent("`AwsCredentialsProvider`")
        .since("1.7.1 / 2.1")
        .effect("Credentials for metrics.").not_yet("metrics are not published"),
    KeySpec::new("regionName", Endpoints, ValueType::Region, Object)
        .absent("`AWS_REGION`, `AWS_DEFAULT_REGION`, profile, instance metadata")
        .effect("Region of all services."),
    uri("kinesisEndpoint", Object).effect("Endpoint of Kinesis. Without a scheme `https://` is assumed, for this host `http://`."),
    uri("dynamoDBEndpoint", Object).since("1.7.1").effect("Endpoint of DynamoDB."),
    uri("cloudWatchEndpoint", Ours)
        .aliases(&[alias("metricsEndpoint", AliasKind::JavaIgnores)])
        .since("kcl-daemon")
        .effect("Endpoint of CloudWatch.").not_yet("metrics are not published")
        .java("Only `cloudWatchClient.endpointOverride` works."),
    uri("stsEndpoint", Ours)
        .since("kcl-daemon")
        .effect("Endpoint of STS, for roles that are assumed and for web identity. `endpoint=` in a provider's arguments beats it, it beats `AWS_ENDPOINT_URL_STS`. Roles of a profile follow the profile and the environment.")
        .java("Only `endpoint=` inside the provider's arguments works."),
    region("kinesisRegionName", Ours).since("kcl-daemon").effect("Region of Kinesis."),
    region("dynamoDBRegionName", Ours).since("kcl-daemon").effect("Region of the lease table."),
    KeySpec::new("stsRegionName", Endpoints, ValueType::Region, Ours)
        .absent("`AWS_REGION`, `AWS_DEFAULT_REGION`, profile, the region of Kinesis")
        .since("kcl-daemon")
        .effect("Region of STS, for roles that are assumed and for web identity. `endpointRegion=` in a provider's arguments beats it.")
        .java("Only `endpointRegion=` inside the provider's arguments works; `regionName` does not count."),
    region("cloudWatchRegionName", Ours).since("kcl-daemon").effect("Region of metrics.").not_yet("metrics are not published"),
    region("kinesisClient.region", Object).since("2.7.0 / 3.0").effect("Region of Kinesis; beats `regionName` and `kinesisRegionName`."),
    uri("kinesisClient.endpointOverride", Object).since("2.7.0 / 3.0").effect("Endpoint of Kinesis; beats `kinesisEndpoint`."),
    switch("kinesisClient.fipsEnabled").effect("Use the FIPS endpoint of Kinesis."),
    switch("kinesisClient.dualstackEnabled").effect("Use the dual-stack endpoint of Kinesis."),
    region("dynamoDbClient.region", Object).since("2.7.0 / 3.0").effect("Region of DynamoDB; beats `regionName` and `dynamoDBRegionName`."),
    uri("dynamoDbClient.endpointOverride", Object).since("2.7.0 / 3.0").effect("Endpoint of DynamoDB; beats `dynamoDBEndpoint`."),
    switch("dynamoDbClient.fipsEnabled").effect("Use the FIPS endpoint of DynamoDB."),
    switch("dynamoDbClient.dualstackEnabled").effect("Use the dual-stack endpoint of DynamoDB."),
    region("cloudWatchClient.region", Object).since("2.7.0 / 3.0").effect("Region of CloudWatch; beats `regionName` and `cloudWatchRegionName`.").not_yet("metrics are not published"),
    uri("cloudWatchClient.endpointOverride", Object).since("2.7.0 / 3.0").effect("Endpoint of CloudWatch; beats `cloudWatchEndpoint`.").not_yet("metrics are not published"),
    switch("cloudWatchClient.fipsEnabled").effect("Use the FIPS endpoint of CloudWatch.").not_yet("metrics are not published"),
    switch("cloudWatchClient.dualstackEnabled").effect("Use the dual-stack endpoint of CloudWatch.").not_yet("metrics are not published"),
];
