//! The configured credentials providers, made real (`properties.md` §6).
//!
//! A chain asks its providers in the order given and takes the first answer, as Java's does: a
//! provider that fails for whatever reason makes way for the next. When none has any, the error names
//! each and what it said. No provider may hold up the others: each has a time limit. Caching and
//! refreshing are the SDK's, in the clients' identity cache; what is here sees to it that a load which a
//! call had no time to wait for goes on with the next call.

mod keys;
mod sts;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::aws::errors::{is_transient, root_cause};
use crate::config::credentials::{ProviderChain, ProviderSpec};
use crate::os::time::within;
use crate::ports::Clock;

use keys::{KeyNames, PropertyFile, from_keys};
use sts::Ground;
pub use sts::StsSettings;

/// How long a metadata service may take. It is on this host or next to it; off EC2 its address may
/// swallow packets.
const METADATA_LIMIT: Duration = Duration::from_secs(5);
/// How long any other provider may take: STS, SSO, an external process.
const PROVIDER_LIMIT: Duration = Duration::from_secs(15);

/// What the providers may need.
#[derive(Clone)]
pub struct CredentialsContext {
    /// The client they reach STS, SSO and metadata services with; that of the runtime they run on.
    pub http: SharedHttpClient,
    /// For time limits.
    pub clock: Arc<dyn Clock>,
    /// The region of the configuration, for STS when nothing else names one.
    pub region: Option<String>,
    /// Where STS is.
    pub sts: StsSettings,
    /// The application's name, for sessions that have none.
    pub application: String,
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
    SharedCredentialsProvider::new(Unhurried {
        chain: Arc::new(made(chain, context).await),
        under_way: tokio::sync::Mutex::new(None),
    })
}

async fn made(chain: &ProviderChain, context: &CredentialsContext) -> Chain {
    let ground = Ground::of(context).await;
    let mut providers = Vec::new();
    for spec in chain.providers() {
        providers.extend(build_one(spec, context, &ground).await);
    }
    Chain {
        providers,
        clock: Arc::clone(&context.clock),
    }
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

/// One element, real.
#[derive(Debug)]
struct Named {
    name: String,
    limit: Duration,
    provider: SharedCredentialsProvider,
}

type Load = Pin<Box<dyn Future<Output = provider::Result> + Send>>;

/// A chain that is asked by calls with little time. A renewal may have less time than an external
/// process needs; if its load were thrown away, no renewal would ever get credentials.
struct Unhurried {
    chain: Arc<Chain>,
    under_way: tokio::sync::Mutex<Option<Load>>,
}

impl fmt::Debug for Unhurried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chain.fmt(f)
    }
}

impl Unhurried {
    async fn go_on(&self) -> provider::Result {
        let mut under_way = self.under_way.lock().await;
        let load = under_way.get_or_insert_with(|| {
            let chain = Arc::clone(&self.chain);
            Box::pin(async move { chain.first_success().await })
        });
        let result = load.as_mut().await;
        *under_way = None;
        result
    }
}

impl ProvideCredentials for Unhurried {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.go_on())
    }

    /// What to go on with when asking takes too long: the instance's provider keeps its last answer.
    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.chain.fallback_on_interrupt()
    }
}

/// The first success of several providers.
struct Chain {
    providers: Vec<Named>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.providers).finish()
    }
}

/// The chain that gives the credentials with which a role is assumed.
type Source = Chain;

impl Chain {
    async fn first_success(&self) -> provider::Result {
        self.first().await.map(|(_, credentials)| credentials)
    }

    /// The first success, and whose it is.
    async fn first(&self) -> Result<(String, Credentials), CredentialsError> {
        let mut attempts = Vec::with_capacity(self.providers.len());
        let mut transient = false;
        for Named {
            name,
            limit,
            provider,
        } in &self.providers
        {
            let asked = within(&*self.clock, *limit, provider.provide_credentials()).await;
            let answer =
                asked.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(*limit)));
            match answer {
                Ok(credentials) => {
                    tracing::debug!("credentials come from {name}");
                    return Ok((name.clone(), credentials));
                }
                Err(error) => {
                    let reason = match &error {
                        CredentialsError::ProviderTimedOut(_) => {
                            format!("no answer within {limit:?}")
                        }
                        // The SDK's way to say that a profile is missing or empty.
                        CredentialsError::CredentialsNotLoaded(_)
                            if error.source().is_none() && name.starts_with("Profile") =>
                        {
                            "there is no profile file (~/.aws/config, ~/.aws/credentials), or the profile holds no \
                             credentials"
                                .to_owned()
                        }
                        error => root_cause(error),
                    };
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
            .find_map(|named| named.provider.fallback_on_interrupt())
    }
}

/// One element of the configured chain, which may stand for several providers.
async fn build_one(
    spec: &ProviderSpec,
    context: &CredentialsContext,
    ground: &Ground,
) -> Vec<Named> {
    let provider = match spec {
        ProviderSpec::Default => return default_chain(context, ground),
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
            sdk_provider(&chosen, ground)
        }
        ProviderSpec::AssumeRole(role) => {
            let source = Chain {
                providers: default_chain(context, ground),
                clock: Arc::clone(&context.clock),
            };
            sts::assume_role(role, source, ground).await
        }
        ProviderSpec::WebIdentity => sts::web_identity(context, ground),
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
        ProviderSpec::Environment => environment(context),
        ProviderSpec::Profile(_) | ProviderSpec::Container | ProviderSpec::Instance => {
            sdk_provider(spec, ground)
        }
    };
    vec![named(spec, provider)]
}

fn named(spec: &ProviderSpec, provider: SharedCredentialsProvider) -> Named {
    let limit = match spec {
        ProviderSpec::Container | ProviderSpec::Instance | ProviderSpec::ContainerThenInstance => {
            METADATA_LIMIT
        }
        _ => PROVIDER_LIMIT,
    };
    Named {
        name: spec.to_string(),
        limit,
        provider,
    }
}

fn environment(context: &CredentialsContext) -> SharedCredentialsProvider {
    from_keys("environment", KeyNames::ENVIRONMENT, &context.environment)
}

/// Java's default chain in Java's order; the Rust SDK's own has the profile before web identity.
fn default_chain(context: &CredentialsContext, ground: &Ground) -> Vec<Named> {
    let mut providers = Vec::new();
    if !context.system_properties.is_empty() {
        let spec = ProviderSpec::SystemProperty;
        let provider = from_keys(
            "-D options",
            KeyNames::SYSTEM_PROPERTIES,
            &context.system_properties,
        );
        providers.push(named(&spec, provider));
    }
    for spec in [
        ProviderSpec::Environment,
        ProviderSpec::WebIdentity,
        ProviderSpec::Profile(None),
        ProviderSpec::Container,
        ProviderSpec::Instance,
    ] {
        let provider = match spec {
            ProviderSpec::Environment => environment(context),
            ProviderSpec::WebIdentity => sts::web_identity(context, ground),
            _ => sdk_provider(&spec, ground),
        };
        providers.push(named(&spec, provider));
    }
    providers
}

/// A provider that the SDK has; anything else is asked for elsewhere and is the instance here.
fn sdk_provider(spec: &ProviderSpec, ground: &Ground) -> SharedCredentialsProvider {
    let config = &ground.providers;
    match spec {
        ProviderSpec::Profile(name) => {
            let mut builder = ProfileFileCredentialsProvider::builder().configure(config);
            if let Some(name) = name {
                builder = builder.profile_name(name);
            }
            SharedCredentialsProvider::new(builder.build())
        }
        ProviderSpec::Container => SharedCredentialsProvider::new(
            EcsCredentialsProvider::builder().configure(config).build(),
        ),
        _ => SharedCredentialsProvider::new(
            ImdsCredentialsProvider::builder().configure(config).build(),
        ),
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
