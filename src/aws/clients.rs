//! Settings of one service → its client.
//!
//! The SDK reads what it reads in any program: `AWS_PROFILE`, `AWS_ENDPOINT_URL*`,
//! `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT` and so on (`properties.md` §11). What the
//! configuration says goes first. Two things are fixed here whatever the environment says: the SDK
//! never repeats a call by itself (`AWS_MAX_ATTEMPTS` has no effect; see [`twice_after_hiccup`]), because a repeated conditional
//! write looks like a lost lease (`leases.md` B.1) and fetchers do their own backing off; and every call
//! ends within the time its client was made for.

use std::future::Future;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, FrameworkMetadata, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::SharedIdentityCache;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::errors::Cause;

/// How long a body may come in without a byte before the call counts as broken. Twice the SDK's
/// default: a busy host must not mistake its own pauses for the service's.
const STALL_GRACE: Duration = Duration::from_secs(10);

/// What all clients on one runtime share: connections and credentials.
#[derive(Debug, Clone)]
pub struct Access {
    http: SharedHttpClient,
    credentials: SharedCredentialsProvider,
    identities: SharedIdentityCache,
}

impl Access {
    /// Puts the two together. Credentials are loaded at the first call that needs them; whoever asks
    /// meanwhile waits for the same answer, at most `load_timeout`.
    #[must_use]
    pub fn new(
        http: SharedHttpClient,
        credentials: SharedCredentialsProvider,
        load_timeout: Duration,
    ) -> Self {
        Self {
            http,
            credentials,
            identities: IdentityCache::lazy().load_timeout(load_timeout).build(),
        }
    }
}

/// The settings of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The region; `None` leaves it to the environment, the profile and, last, the instance.
    pub region: Option<String>,
    /// The endpoint, with scheme; `None` leaves it to the environment and the region.
    pub endpoint: Option<String>,
    /// FIPS endpoints; `None` leaves it to the environment.
    pub fips: Option<bool>,
    /// Dual-stack endpoints; `None` leaves it to the environment.
    pub dual_stack: Option<bool>,
    /// The longest a call may take, from signing to the last byte of the answer.
    pub call_timeout: Duration,
}

impl ClientSettings {
    /// Settings that leave everything but the time-out to the environment.
    #[must_use]
    pub const fn new(call_timeout: Duration) -> Self {
        Self {
            region: None,
            endpoint: None,
            fips: None,
            dual_stack: None,
            call_timeout,
        }
    }
}

/// No region anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no AWS region is known: set regionName in the properties file, or AWS_REGION, or a region in the profile \
     (the instance's metadata service has none either)"
)]
pub struct NoRegion;

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is put into the SDK's user agent.
#[must_use]
pub fn user_agent() -> String {
    format!("lib/{NAME}/{VERSION}")
}

/// What a service's client is made of. Reads the environment and the profile, and asks the instance's
/// metadata service only when nothing else names a region; asks for no credentials.
///
/// # Errors
/// [`NoRegion`].
pub async fn sdk_config(settings: &ClientSettings, access: &Access) -> Result<SdkConfig, NoRegion> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(access.http.clone())
        .no_credentials()
        .identity_cache(access.identities.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_timeout(settings.call_timeout)
                .build(),
        )
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALL_GRACE)
                .build(),
        );
    if let Ok(name) = FrameworkMetadata::new(NAME, Some(VERSION)) {
        loader = loader.framework_metadata(name);
    }
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(fips) = settings.fips {
        loader = loader.use_fips(fips);
    }
    if let Some(dual_stack) = settings.dual_stack {
        loader = loader.use_dual_stack(dual_stack);
    }
    // The loader would wrap the provider anew for each client, and the shared cache tell them apart.
    let config = loader
        .load()
        .await
        .into_builder()
        .credentials_provider(access.credentials.clone())
        .build();
    // The SDK takes an empty AWS_REGION for a region.
    if config
        .region()
        .is_none_or(|region| region.as_ref().is_empty())
    {
        return Err(NoRegion);
    }
    Ok(config)
}

/// A client of DynamoDB.
///
/// # Errors
/// [`NoRegion`].
pub async fn dynamodb(
    settings: &ClientSettings,
    access: &Access,
) -> Result<aws_sdk_dynamodb::Client, NoRegion> {
    Ok(aws_sdk_dynamodb::Client::new(
        &sdk_config(settings, access).await?,
    ))
}

/// A client of Kinesis.
///
/// # Errors
/// [`NoRegion`].
pub async fn kinesis(
    settings: &ClientSettings,
    access: &Access,
) -> Result<aws_sdk_kinesis::Client, NoRegion> {
    Ok(aws_sdk_kinesis::Client::new(
        &sdk_config(settings, access).await?,
    ))
}

/// Calls, and once more after a hiccup ([`Cause::is_hiccup`]). For reads: a write that got no answer is
/// not repeated.
///
/// # Errors
/// The cause of the last failure.
pub async fn twice_after_hiccup<T, E, F, Fut>(mut send: F) -> Result<T, Cause>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let first = match send().await {
        Ok(output) => return Ok(output),
        Err(error) => Cause::of(&error),
    };
    if !first.is_hiccup() {
        return Err(first);
    }
    tracing::debug!("a call is tried once more: {first:?}");
    send().await.map_err(|error| Cause::of(&error))
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
