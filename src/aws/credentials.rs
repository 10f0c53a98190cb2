//! The configured credentials providers, made real (`properties.md` §6).
//!
//! A chain asks its providers in the order given and takes the first answer, as Java's does: a
//! provider that fails for whatever reason makes way for the next. When none has any, the error names
//! each and what it said. Caching and refreshing are the SDK's, in the clients' identity cache.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::aws::errors::{is_transient, root_cause};
use crate::config::credentials::{AssumeRole, ProviderChain, ProviderSpec};

/// What the providers may need.
#[derive(Debug, Clone)]
pub struct CredentialsContext {
    /// The client they reach STS, SSO and metadata services with; that of the runtime they run on.
    pub http: SharedHttpClient,
    /// The region of the configuration. STS is called in the environment's region, as by Java, and in
    /// this one if the environment names none.
    pub region: Option<String>,
    /// The environment, for the providers that the SDK does not have. The SDK's read it themselves.
    pub environment: HashMap<String, String>,
    /// `-D` properties of a Java-shaped command line.
    pub system_properties: HashMap<String, String>,
}

/// Makes the providers of a chain. Nothing is asked for credentials yet.
pub async fn build(
    chain: &ProviderChain,
    context: &CredentialsContext,
) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(made(chain, context).await)
}

async fn made(chain: &ProviderChain, context: &CredentialsContext) -> Chain {
    let mut providers = Vec::new();
    for spec in chain.providers() {
        providers.extend(build_one(spec, context).await);
    }
    Chain { providers }
}

/// Which provider of a chain has credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// The provider, as the configuration names it, without secrets.
    pub provider: String,
    /// When they end, milliseconds since the epoch; `None` for keys that stay.
    pub expires_millis: Option<i64>,
}

/// Asks the providers of a chain as [`build`]'s result would, and tells which of them answered.
///
/// # Errors
/// What each of them said.
pub async fn who_provides(
    chain: &ProviderChain,
    context: &CredentialsContext,
) -> Result<Provided, String> {
    let (provider, credentials) = made(chain, context)
        .await
        .first()
        .await
        .map_err(|error| root_cause(&error))?;
    let expires = credentials
        .expiry()
        .and_then(|expiry| expiry.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(Provided {
        provider,
        expires_millis: expires.and_then(|since| i64::try_from(since.as_millis()).ok()),
    })
}

/// Credentials that never change, for emulators.
#[must_use]
pub fn fixed(access_key: &str, secret_key: &str) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(
        access_key, secret_key, None, None, "fixed",
    ))
}

/// Every provider failed.
#[derive(Debug)]
pub struct ChainFailure {
    /// Each provider and what it said, in the order they were asked.
    pub attempts: Vec<(String, String)>,
    /// Whether for one of them it was the network's fault, so that it may succeed later.
    pub transient: bool,
}

impl fmt::Display for ChainFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, reason)) in self.attempts.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{name}: {reason}")?;
        }
        Ok(())
    }
}

impl Error for ChainFailure {}

type Named = (String, SharedCredentialsProvider);

/// The first success of several providers.
#[derive(Debug)]
struct Chain {
    providers: Vec<Named>,
}

impl Chain {
    async fn first_success(&self) -> provider::Result {
        self.first().await.map(|(_, credentials)| credentials)
    }

    /// The first success, and whose it is.
    async fn first(&self) -> Result<(String, Credentials), CredentialsError> {
        let mut attempts = Vec::with_capacity(self.providers.len());
        let mut transient = false;
        for (name, provider) in &self.providers {
            match provider.provide_credentials().await {
                Ok(credentials) => {
                    tracing::debug!("credentials come from {name}");
                    return Ok((name.clone(), credentials));
                }
                Err(error) => {
                    let reason = root_cause(&error);
                    tracing::debug!("no credentials from {name}: {reason}");
                    transient |= is_transient(&error);
                    attempts.push((name.clone(), reason));
                }
            }
        }
        let failure = ChainFailure {
            attempts,
            transient,
        };
        Err(if transient {
            CredentialsError::provider_error(failure)
        } else {
            CredentialsError::not_loaded(failure)
        })
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.first_success())
    }

    /// What to go on with when asking takes too long: the instance's provider keeps its last answer.
    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.providers
            .iter()
            .find_map(|(_, provider)| provider.fallback_on_interrupt())
    }
}

/// One element of the configured chain, which may stand for several providers.
async fn build_one(spec: &ProviderSpec, context: &CredentialsContext) -> Vec<Named> {
    let provider = match spec {
        ProviderSpec::Default => return default_chain(context).await,
        ProviderSpec::ContainerThenInstance => {
            let in_container = [
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            ]
            .iter()
            .any(|name| context.environment.contains_key(*name));
            let chosen = if in_container {
                ProviderSpec::Container
            } else {
                ProviderSpec::Instance
            };
            sdk_provider(&chosen, context).await
        }
        ProviderSpec::AssumeRole(role) => assume_role(role, context).await,
        ProviderSpec::SystemProperty => from_keys(
            "-D options",
            KeyNames::SYSTEM_PROPERTIES,
            &context.system_properties,
        ),
        ProviderSpec::CustomEnvironment { prefix } => {
            let names = KeyNames {
                access: &[&format!("{prefix}_AWS_ACCESS_KEY_ID")],
                secret: &[&format!("{prefix}_AWS_SECRET_ACCESS_KEY")],
                token: &[&format!("{prefix}_AWS_SESSION_TOKEN")],
            };
            from_keys("environment", names, &context.environment)
        }
        ProviderSpec::PropertyFile { path } => {
            SharedCredentialsProvider::new(PropertyFile { path: path.clone() })
        }
        // The SDK cannot leave out signatures for services that ask for one; keys that nobody has come
        // to the same: emulators do not look at them, AWS refuses both.
        ProviderSpec::Anonymous => fixed("anonymous", "anonymous"),
        ProviderSpec::Environment
        | ProviderSpec::Profile(_)
        | ProviderSpec::WebIdentity
        | ProviderSpec::Container
        | ProviderSpec::Instance => sdk_provider(spec, context).await,
    };
    vec![(spec.to_string(), provider)]
}

/// Java's default chain in Java's order; the Rust SDK's own has the profile before web identity.
async fn default_chain(context: &CredentialsContext) -> Vec<Named> {
    let mut providers = Vec::new();
    if !context.system_properties.is_empty() {
        let spec = ProviderSpec::SystemProperty;
        let provider = from_keys(
            "-D options",
            KeyNames::SYSTEM_PROPERTIES,
            &context.system_properties,
        );
        providers.push((spec.to_string(), provider));
    }
    for spec in [
        ProviderSpec::Environment,
        ProviderSpec::WebIdentity,
        ProviderSpec::Profile(None),
        ProviderSpec::Container,
        ProviderSpec::Instance,
    ] {
        let provider = sdk_provider(&spec, context).await;
        providers.push((spec.to_string(), provider));
    }
    providers
}

/// A provider that the SDK has; anything else is asked for elsewhere and is the environment here.
async fn sdk_provider(
    spec: &ProviderSpec,
    context: &CredentialsContext,
) -> SharedCredentialsProvider {
    let config = provider_config(context).await;
    match spec {
        ProviderSpec::Profile(name) => {
            let mut builder = ProfileFileCredentialsProvider::builder().configure(&config);
            if let Some(name) = name {
                builder = builder.profile_name(name);
            }
            SharedCredentialsProvider::new(builder.build())
        }
        ProviderSpec::WebIdentity => SharedCredentialsProvider::new(
            WebIdentityTokenCredentialsProvider::builder()
                .configure(&config)
                .build(),
        ),
        ProviderSpec::Container => SharedCredentialsProvider::new(
            EcsCredentialsProvider::builder().configure(&config).build(),
        ),
        ProviderSpec::Instance => SharedCredentialsProvider::new(
            ImdsCredentialsProvider::builder()
                .configure(&config)
                .build(),
        ),
        _ => SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()),
    }
}

async fn provider_config(context: &CredentialsContext) -> ProviderConfig {
    ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
        .with_http_client(context.http.clone())
        .with_region(sts_region(context).await)
}

/// The region for calls of STS: that of `-Daws.region`, the environment's or the profile's, else the
/// configuration's. The instance's metadata service is not asked, which off EC2 would cost seconds.
async fn sts_region(context: &CredentialsContext) -> Option<Region> {
    let of_java = context.system_properties.get("aws.region").cloned();
    RegionProviderChain::first_try(of_java.map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(context.region.clone().map(Region::new))
        .region()
        .await
}

/// AssumeRole with the default chain's credentials, as Java's KCL does it.
async fn assume_role(role: &AssumeRole, context: &CredentialsContext) -> SharedCredentialsProvider {
    let source = Chain {
        providers: default_chain(context).await,
    };
    let region = match &role.endpoint_region {
        Some(region) => Some(Region::new(region.clone())),
        None => sts_region(context).await,
    };
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(context.http.clone())
        .credentials_provider(source)
        .region(region);
    if let Some(endpoint) = &role.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let mut builder = AssumeRoleProvider::builder(&role.role_arn)
        .session_name(&role.session)
        .configure(&loader.load().await);
    if let Some(id) = &role.external_id {
        builder = builder.external_id(id);
    }
    SharedCredentialsProvider::new(builder.build().await)
}

// ------------------------------------------------------------------------------------ keys in plain sight

/// Under which names keys are found; the first that is there counts.
struct KeyNames<'a> {
    access: &'a [&'a str],
    secret: &'a [&'a str],
    token: &'a [&'a str],
}

impl KeyNames<'static> {
    const SYSTEM_PROPERTIES: Self = Self {
        access: &["aws.accessKeyId"],
        // SDK v1 had the second name.
        secret: &["aws.secretAccessKey", "aws.secretKey"],
        token: &["aws.sessionToken"],
    };
    const PROPERTY_FILE: Self = Self {
        access: &["accessKey"],
        secret: &["secretKey"],
        token: &["sessionToken"],
    };
}

/// Looks keys up now; the answer does not change later.
fn from_keys(
    place: &'static str,
    names: KeyNames<'_>,
    values: &HashMap<String, String>,
) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(FoundKeys(keys(place, names, values)))
}

fn keys(
    place: &'static str,
    names: KeyNames<'_>,
    values: &HashMap<String, String>,
) -> Result<Credentials, String> {
    let find = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| values.get(*name))
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let missing = |names: &[&str]| {
        names
            .first()
            .map(|name| format!("{name} is not set in the {place}"))
    };
    match (find(names.access), find(names.secret)) {
        (Some(access), Some(secret)) => Ok(Credentials::new(
            access,
            secret,
            find(names.token),
            None,
            place,
        )),
        (None, _) => Err(missing(names.access).unwrap_or_default()),
        (_, None) => Err(missing(names.secret).unwrap_or_default()),
    }
}

#[derive(Debug)]
struct FoundKeys(Result<Credentials, String>);

impl ProvideCredentials for FoundKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.0.clone().map_err(CredentialsError::not_loaded))
    }
}

/// A properties file; read again each time, so that keys can be exchanged under a running daemon.
#[derive(Debug)]
struct PropertyFile {
    path: String,
}

impl PropertyFile {
    fn read(&self) -> provider::Result {
        let file = std::fs::read(&self.path)
            .map_err(|error| CredentialsError::not_loaded(format!("{}: {error}", self.path)))?;
        // What java-properties says of a bad line may quote it, and a line may be a secret.
        let values = java_properties::read(file.as_slice()).map_err(|_| {
            CredentialsError::invalid_configuration(format!("{} is no properties file", self.path))
        })?;
        keys("file", KeyNames::PROPERTY_FILE, &values).map_err(CredentialsError::not_loaded)
    }
}

impl ProvideCredentials for PropertyFile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.read())
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
