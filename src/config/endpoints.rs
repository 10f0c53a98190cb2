//! Which region and endpoint each service gets: `properties.md` §7, `decisions.md`.

use super::arn::StreamArn;
use super::convert;
use super::daemon_config::{Endpoints, ServiceEndpoint, StreamIdentity};
use super::origin::{Findings, Origin};
use super::settings::{Layer, Settings};
use super::value::Value;
use std::collections::BTreeMap;

/// One service's keys, the most specific first.
struct Service {
    client: Option<&'static str>,
    region_key: Option<&'static str>,
    endpoint_key: &'static str,
    variable: &'static str,
}

const KINESIS: Service = Service {
    client: Some("kinesisClient"),
    region_key: Some("kinesisRegionName"),
    endpoint_key: "kinesisEndpoint",
    variable: "AWS_ENDPOINT_URL_KINESIS",
};

const DYNAMODB: Service = Service {
    client: Some("dynamoDbClient"),
    region_key: Some("dynamoDBRegionName"),
    endpoint_key: "dynamoDBEndpoint",
    variable: "AWS_ENDPOINT_URL_DYNAMODB",
};

const CLOUDWATCH: Service = Service {
    client: Some("cloudWatchClient"),
    region_key: Some("cloudWatchRegionName"),
    endpoint_key: "cloudWatchEndpoint",
    variable: "AWS_ENDPOINT_URL_CLOUDWATCH",
};

const STS: Service = Service {
    client: None,
    region_key: Some("stsRegionName"),
    endpoint_key: "stsEndpoint",
    variable: "AWS_ENDPOINT_URL_STS",
};

struct Resolver<'a> {
    settings: &'a Settings,
    environment: &'a BTreeMap<String, String>,
    findings: &'a mut Findings,
}

/// Resolves all services. The stream's ARN loses its place in `stream` when its region is not the
/// one that Kinesis is called in.
pub(super) fn resolve(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    stream: &mut StreamIdentity,
    findings: &mut Findings,
) -> Endpoints {
    let mut resolver = Resolver {
        settings,
        environment,
        findings,
    };
    let shared = resolver.text("regionName");
    let from_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(|name| resolver.variable(name).map(str::to_owned));
    let general = shared.map(|(region, _)| region).or(from_environment);
    let mut kinesis = resolver.service(&KINESIS, None);
    let explicit = kinesis
        .region
        .clone()
        .or_else(|| resolver.text("regionName").map(|(region, _)| region));
    kinesis.region = resolver.kinesis_region(explicit, general.as_deref(), stream);
    Endpoints {
        kinesis,
        dynamodb: resolver.service(&DYNAMODB, general.as_deref()),
        cloudwatch: resolver.service(&CLOUDWATCH, general.as_deref()),
        sts: resolver.service(&STS, None),
    }
}

impl Resolver<'_> {
    /// A key's text with its layer.
    fn text(&self, key: &str) -> Option<(String, Layer)> {
        let setting = self.settings.get(key)?;
        match &setting.value {
            Some(Value::Text(text)) => Some((text.clone(), setting.layer)),
            _ => None,
        }
    }

    fn origin(&self, key: &str) -> Option<Origin> {
        Some(self.settings.get(key)?.origin.clone())
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(|text| convert::java_trim(text))
            .filter(|text| !text.is_empty())
    }

    /// The first of the keys that is set in the highest layer; the others of that layer are warned of.
    fn most_specific(&mut self, keys: &[String]) -> Option<String> {
        let set: Vec<(&String, String, Layer)> = keys
            .iter()
            .filter_map(|key| self.text(key).map(|(text, layer)| (key, text, layer)))
            .collect();
        let top = set.iter().map(|(_, _, layer)| *layer).max()?;
        let mut of_top = set.into_iter().filter(|(_, _, layer)| *layer == top);
        let (winner, text, _) = of_top.next()?;
        for (loser, other, _) in of_top {
            if other != text {
                let origin = self.origin(loser);
                self.findings.notices.warn(
                    origin.as_ref(),
                    format!("{loser} is not used: {winner} is more specific"),
                );
            }
        }
        Some(text)
    }

    fn switch(&self, key: &str) -> Option<bool> {
        match self.settings.get(key)?.value {
            Some(Value::Bool(on)) => Some(on),
            _ => None,
        }
    }

    fn service(&mut self, service: &Service, general_region: Option<&str>) -> ServiceEndpoint {
        let nested = |leaf: &str| service.client.map(|client| format!("{client}.{leaf}"));
        let region_keys: Vec<String> = nested("region")
            .into_iter()
            .chain(service.region_key.map(str::to_owned))
            .collect();
        let endpoint_keys: Vec<String> = nested("endpointOverride")
            .into_iter()
            .chain([service.endpoint_key.to_owned()])
            .collect();
        let endpoint = self
            .most_specific(&endpoint_keys)
            .or_else(|| self.endpoint_of_environment(service.variable));
        ServiceEndpoint {
            region: self
                .most_specific(&region_keys)
                .or_else(|| general_region.map(str::to_owned)),
            endpoint,
            fips: nested("fipsEnabled").and_then(|key| self.switch(&key)),
            dualstack: nested("dualstackEnabled").and_then(|key| self.switch(&key)),
        }
    }

    /// The service's variable, else `AWS_ENDPOINT_URL`, unless both are to be ignored.
    fn endpoint_of_environment(&mut self, service_variable: &str) -> Option<String> {
        let ignored = self
            .variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .and_then(convert::boolean)
            .unwrap_or(false);
        if ignored {
            return None;
        }
        let name = [service_variable, "AWS_ENDPOINT_URL"]
            .into_iter()
            .find(|name| self.variable(name).is_some())?;
        let origin = Origin::Environment(name.to_owned());
        match convert::endpoint(self.variable(name)?) {
            Ok((endpoint, _)) => Some(endpoint),
            Err(why) => {
                let already_told = self
                    .findings
                    .errors
                    .iter()
                    .any(|error| error.origin.as_ref() == Some(&origin));
                if !already_told {
                    self.findings.error(
                        Some(&origin),
                        name,
                        format!(
                            "{name} is not an endpoint: {why}; it has the form https://host:port"
                        ),
                    );
                }
                None
            }
        }
    }

    /// Kinesis's region, with the stream's ARN taken into account.
    fn kinesis_region(
        &mut self,
        explicit: Option<String>,
        general: Option<&str>,
        stream: &mut StreamIdentity,
    ) -> Option<String> {
        let fallback = explicit.clone().or_else(|| general.map(str::to_owned));
        let Some(arn) = stream.arn.take() else {
            return fallback;
        };
        let origin = self.origin("streamArn");
        match explicit {
            _ if arn.is_sample() => {
                self.findings.notices.warn(
                    origin.as_ref(),
                    format!(
                        "streamArn is the dummy of the sample files ({}): only its stream name is used; remove the line \
                         or write the real ARN",
                        described(&arn)
                    ),
                );
                fallback
            }
            Some(region) if region != arn.region => {
                self.findings.notices.warn(
                    origin.as_ref(),
                    format!(
                        "streamArn is of region {} but the configured region is {region}, which is used; of the ARN only \
                         the stream name is used",
                        arn.region
                    ),
                );
                Some(region)
            }
            _ => {
                if explicit.is_none() && general.is_some_and(|region| region != arn.region) {
                    self.findings.notices.warn(
                        origin.as_ref(),
                        format!(
                            "Kinesis is called in {}, the region of streamArn; Java would call it in {}, the region of the \
                             environment",
                            arn.region,
                            general.unwrap_or_default()
                        ),
                    );
                }
                let region = arn.region.clone();
                stream.arn = Some(arn);
                Some(region)
            }
        }
    }
}

fn described(arn: &StreamArn) -> String {
    format!("region {}, account {}", arn.region, arn.account)
}
