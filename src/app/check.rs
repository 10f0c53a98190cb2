//! `kcl-daemon check`: what it looks at, put together. Starts nothing, and writes nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::app::wiring::{self, Connections, Place};
use crate::aws::clients::{Access, ClientSettings};
use crate::aws::credentials;
use crate::aws::probe::authority::Authority;
use crate::aws::probe::dates::Dates;
use crate::check::calls::Size;
use crate::check::online::{self, Asking, Found, STEP_LIMIT};
use crate::check::permissions::Identity;
use crate::check::policy::For;
use crate::child;
use crate::config::credentials::ProviderChain;
use crate::config::{DaemonConfig, ServiceEndpoint};
use crate::os::clock::SystemClock;
use crate::os::environment::{self, Environment};
use crate::os::runtime;
use crate::os::tasks::TaskGroup;
use crate::ports::Clock;

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// The file that the executable's name leads to, as at the daemon's start.
///
/// # Errors
/// One sentence.
pub fn executable(config: &DaemonConfig, environment: &Environment) -> Result<String, String> {
    let cwd = environment::working_directory()
        .map_err(|error| format!("the working directory cannot be used: {error}"))?;
    child::resolve(&config.child.executable, environment.get_os("PATH"), &cwd)
        .map(|file| file.display().to_string())
        .map_err(|error| error.to_string())
}

/// Asks the services, or the embedded ones with `--local`.
///
/// # Errors
/// One sentence, when there is nothing to ask with: no region, certificates that cannot be read.
pub fn online(
    config: &DaemonConfig,
    environment: &Environment,
    size: Size,
) -> Result<Found, String> {
    let runtime =
        runtime::main_runtime().map_err(|error| format!("cannot start the runtime: {error}"))?;
    let found = runtime.block_on(ask(config, environment, size));
    runtime.shutdown_background();
    found
}

async fn ask(
    config: &DaemonConfig,
    environment: &Environment,
    size: Size,
) -> Result<Found, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut config = config.clone();
    // An embedded stream is looked at, not filled.
    (config.local.generate, config.local.input) = (None, None);
    let mut no_helpers = TaskGroup::new();
    let place = wiring::place(&config, &clock, &mut no_helpers)?;
    let dates = Dates::new(Arc::clone(&clock));
    let http = dates.watch(wiring::http(&place, environment, CONNECT)?);
    let connections = Connections::over(&place, &config, environment, http.clone(), &clock).await;
    let probe = connections.probe(&config, STEP_LIMIT, &clock).await?;

    let mut identities = Vec::new();
    if matches!(place, Place::Aws) {
        let chains = &config.credentials;
        for (chain, label, services) in
            groups(&chains.kinesis, &chains.dynamodb, &chains.cloudwatch)
        {
            let context = wiring::credentials_context(&config, http.clone(), environment, &clock);
            let access = Access::new(
                http.clone(),
                credentials::build(chain, &context).await,
                STEP_LIMIT,
            );
            let endpoint = match services.first() {
                Some(For::DynamoDb) => &config.endpoints.dynamodb,
                Some(For::CloudWatch) => &config.endpoints.cloudwatch,
                _ => &config.endpoints.kinesis,
            };
            let authority = match may_ask_sts(endpoint, &config.endpoints.sts) {
                Ok(()) => authority(&config, endpoint, &access).await,
                Err(why) => Err(why),
            };
            let chain = chain.clone();
            identities.push(Identity {
                services,
                label,
                provided: Box::pin(
                    async move { credentials::who_provides(&chain, &context).await },
                ),
                authority,
                simulator: may_ask_iam(endpoint, environment),
            });
        }
    }
    let asking = Asking {
        config: &config,
        probe: &probe,
        identities,
        dates: &dates,
        clock: &*clock,
    };
    Ok(online::run(asking, size).await)
}

/// Equal credentials are asked once.
fn groups<'a>(
    kinesis: &'a ProviderChain,
    dynamodb: &'a ProviderChain,
    cloudwatch: &'a ProviderChain,
) -> Vec<(&'a ProviderChain, &'static str, Vec<For>)> {
    let mut groups: Vec<(&ProviderChain, &'static str, Vec<For>)> = Vec::new();
    for (chain, label, service) in [
        (kinesis, "Kinesis", For::Kinesis),
        (dynamodb, "DynamoDB", For::DynamoDb),
        (cloudwatch, "CloudWatch", For::CloudWatch),
    ] {
        match groups.iter_mut().find(|(known, ..)| *known == chain) {
            Some((_, _, services)) => services.push(service),
            None => groups.push((chain, label, vec![service])),
        }
    }
    if let [(_, label, _)] = groups.as_mut_slice() {
        *label = "";
    }
    groups
}

async fn authority(
    config: &DaemonConfig,
    service: &ServiceEndpoint,
    access: &Access,
) -> Result<Authority, String> {
    let region = config.endpoints.sts.region.as_ref();
    let iam = ClientSettings {
        region: region.or(service.region.as_ref()).cloned(),
        ..ClientSettings::new(STEP_LIMIT)
    };
    let sts = ClientSettings {
        endpoint: config.endpoints.sts.endpoint.clone(),
        ..iam.clone()
    };
    Authority::new(&sts, &iam, access)
        .await
        .map_err(|error| error.to_string())
}

/// Credentials of an emulator are never sent to AWS.
fn may_ask_sts(service: &ServiceEndpoint, sts: &ServiceEndpoint) -> Result<(), String> {
    if sts.endpoint.is_some() || is_of_aws(service) {
        return Ok(());
    }
    Err(
        "the service's endpoint is not AWS's, so AWS is not asked whose the credentials are (stsEndpoint or \
         AWS_ENDPOINT_URL would name another STS)"
            .to_owned(),
    )
}

fn may_ask_iam(service: &ServiceEndpoint, environment: &Environment) -> Result<(), String> {
    let named = ["AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL"]
        .iter()
        .any(|name| environment.get(name).is_some_and(|url| !url.is_empty()));
    if named || is_of_aws(service) {
        return Ok(());
    }
    Err(
        "the service's endpoint is not AWS's, so AWS's policy simulator is not asked (AWS_ENDPOINT_URL_IAM would name \
         another)"
            .to_owned(),
    )
}

fn is_of_aws(service: &ServiceEndpoint) -> bool {
    const DOMAINS: [&str; 5] = [
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".api.aws",
        ".api.amazonwebservices.com.cn",
        ".amazonaws.eu",
    ];
    let Some(endpoint) = &service.endpoint else {
        return true;
    };
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    DOMAINS.iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::credentials::ProviderSpec;

    #[test]
    fn whose_endpoint_it_is() {
        for (endpoint, expected) in [
            (None, true),
            (Some("https://kinesis.eu-west-1.amazonaws.com"), true),
            (
                Some("https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com:443/"),
                true,
            ),
            (Some("https://kinesis.cn-north-1.amazonaws.com.cn"), true),
            (Some("http://127.0.0.1:4567"), false),
            (Some("http://localhost"), false),
            (Some("http://amazonaws.com.evil.test"), false),
            (Some("http://x.amazonaws.com@evil.test"), false),
        ] {
            let service = ServiceEndpoint {
                endpoint: endpoint.map(str::to_owned),
                ..ServiceEndpoint::default()
            };
            assert_eq!(is_of_aws(&service), expected, "{endpoint:?}");
        }
    }

    #[test]
    fn equal_credentials_are_asked_once() {
        let (a, b) = (
            ProviderChain::sdk_default(),
            ProviderChain::only(ProviderSpec::Environment),
        );
        let one = groups(&a, &a, &a);
        assert_eq!((one.len(), one[0].1, one[0].2.len()), (1, "", 3));
        let two = groups(&a, &b, &a);
        assert_eq!((two.len(), two[1].1), (2, "DynamoDB"));
        assert_eq!(two[0].2, [For::Kinesis, For::CloudWatch]);
    }
}
