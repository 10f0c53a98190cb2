//! Roles, by way of STS: AssumeRole and AssumeRoleWithWebIdentity.
//!
//! Where STS is called, the first that says so wins: the arguments of the element (`endpoint=`,
//! `endpointRegion=`), the keys `stsEndpoint` and `stsRegionName`, `AWS_ENDPOINT_URL_STS` and
//! `AWS_ENDPOINT_URL`, what the profile says. Roles of a profile (`role_arn` in `~/.aws/config`) are the
//! SDK's own business: they follow the environment and `stsRegionName`, not `stsEndpoint`.

use std::time::SystemTime;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;

use super::{CredentialsContext, Source};
use crate::config::credentials::AssumeRole;

/// How STS is reached, as far as the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StsSettings {
    /// `stsRegionName`; `None` leaves it to the environment, the profile and the region of Kinesis.
    pub region: Option<String>,
    /// `stsEndpoint`, else the environment's, with scheme; `None` leaves it to profile and region.
    pub endpoint: Option<String>,
}

/// The region for calls of STS: `stsRegionName`, that of `-Daws.region`, as in Java the environment's or the profile's, and
/// at last that of Kinesis. The instance's metadata service is not asked, which off EC2 would cost
/// seconds.
pub(super) async fn region(context: &CredentialsContext) -> Option<Region> {
    let named = |region: &Option<String>| region.clone().map(Region::new);
    let of_java = context.system_properties.get("aws.region").cloned();
    RegionProviderChain::first_try(named(&context.sts.region))
        .or_else(named(&of_java))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(named(&context.region))
        .region()
        .await
}

/// What providers of one chain have in common; the profile is read once for it.
pub(super) struct Ground {
    /// For clients of STS: region, endpoint, FIPS, dual-stack; no credentials.
    sts: SdkConfig,
    /// For the SDK's own providers: profiles, container, instance.
    pub(super) providers: ProviderConfig,
}

impl Ground {
    pub(super) async fn of(context: &CredentialsContext) -> Self {
        let region = region(context).await;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(context.http.clone())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .no_credentials()
            .region(region.clone());
        if let Some(endpoint) = &context.sts.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let sts = loader.load().await;
        let providers = ProviderConfig::without_region()
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_http_client(context.http.clone())
            .with_region(region)
            .with_use_fips(sts.use_fips())
            .with_use_dual_stack(sts.use_dual_stack());
        Self { sts, providers }
    }
}

/// AssumeRole with the default chain's credentials, as Java's KCL does it.
pub(super) async fn assume_role(
    role: &AssumeRole,
    source: Source,
    ground: &Ground,
) -> SharedCredentialsProvider {
    let mut config = ground
        .sts
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(source));
    // An element's own endpoint and region go before the keys.
    if let Some(endpoint) = &role.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if let Some(region) = &role.endpoint_region {
        config = config.region(Region::new(region.clone()));
    }
    let config = config.build();
    if config.region().is_none() {
        return SharedCredentialsProvider::new(NoRegion);
    }
    let mut builder = AssumeRoleProvider::builder(&role.role_arn)
        .session_name(&role.session)
        .configure(&config);
    if let Some(id) = &role.external_id {
        builder = builder.external_id(id);
    }
    SharedCredentialsProvider::new(builder.build().await)
}

/// AssumeRoleWithWebIdentity as the environment describes it (EKS).
pub(super) fn web_identity(
    context: &CredentialsContext,
    ground: &Ground,
) -> SharedCredentialsProvider {
    let set = |name: &str| {
        context
            .environment
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    };
    SharedCredentialsProvider::new(WebIdentity {
        has_region: ground.sts.region().is_some(),
        client: Client::new(&ground.sts),
        token_file: set("AWS_WEB_IDENTITY_TOKEN_FILE"),
        role_arn: set("AWS_ROLE_ARN"),
        session: set("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| session_name(&context.application)),
    })
}

/// A session's name has 2 to 64 letters, digits and `+=,.@-_`.
fn session_name(application: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(*c);
    let name: String = application.chars().filter(allowed).take(64).collect();
    if name.len() < 2 {
        env!("CARGO_PKG_NAME").to_owned()
    } else {
        name
    }
}

const NO_REGION: &str = "no region is known for STS: write endpointRegion= into the provider's arguments, or set \
                         stsRegionName, AWS_REGION or regionName";

/// Stands for a role that cannot be assumed anywhere.
#[derive(Debug)]
struct NoRegion;

impl ProvideCredentials for NoRegion {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(NO_REGION)))
    }
}

/// The token's file is read at each load: EKS exchanges it.
#[derive(Debug)]
struct WebIdentity {
    client: Client,
    token_file: Option<String>,
    role_arn: Option<String>,
    session: String,
    has_region: bool,
}

impl WebIdentity {
    async fn load(&self) -> provider::Result {
        let missing = |name: &str| CredentialsError::not_loaded(format!("{name} is not set"));
        let file = self
            .token_file
            .as_ref()
            .ok_or_else(|| missing("AWS_WEB_IDENTITY_TOKEN_FILE"))?;
        let role = self
            .role_arn
            .as_ref()
            .ok_or_else(|| missing("AWS_ROLE_ARN"))?;
        if !self.has_region {
            return Err(CredentialsError::not_loaded(NO_REGION));
        }
        let token = tokio::fs::read_to_string(file).await.map_err(|error| {
            CredentialsError::not_loaded(format!(
                "the token file {file} (AWS_WEB_IDENTITY_TOKEN_FILE) cannot be read: {error}"
            ))
        })?;
        let answer = self
            .client
            .assume_role_with_web_identity()
            .role_arn(role)
            .role_session_name(&self.session)
            .web_identity_token(token.trim_end())
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        let keys = answer
            .credentials
            .ok_or_else(|| CredentialsError::unhandled("the answer of STS has no credentials"))?;
        let expiry = SystemTime::try_from(keys.expiration)
            .map_err(|_| CredentialsError::unhandled("STS gave an expiration that is no time"))?;
        Ok(Credentials::new(
            keys.access_key_id,
            keys.secret_access_key,
            Some(keys.session_token),
            Some(expiry),
            "web identity",
        ))
    }
}

impl ProvideCredentials for WebIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}
