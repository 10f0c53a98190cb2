//! The grammar of credentials values: `properties.md` §6. Only data comes of it; real providers are
//! built where the AWS types live. Arguments never appear in messages.

use super::convert;
use super::suggest::{did_you_mean, nearest};
use std::fmt;

/// Providers in the order in which they are asked; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderChain(Vec<ProviderSpec>);

/// One source of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSpec {
    /// The SDK's default chain: system properties, environment, web identity, profile, container,
    /// instance, in Java's order.
    Default,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    Environment,
    /// `-Daws.accessKeyId`, `-Daws.secretAccessKey`, `-Daws.sessionToken` of a Java-shaped command line.
    SystemProperty,
    /// A profile of the shared files; `None` is `AWS_PROFILE` or `default`.
    Profile(Option<String>),
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`.
    WebIdentity,
    /// The container's endpoint (ECS, EKS pod identity).
    Container,
    /// The instance's metadata service.
    Instance,
    /// The container's endpoint if its variables are set, else the instance's.
    ContainerThenInstance,
    /// A role, with the default chain as source.
    AssumeRole(AssumeRole),
    /// A properties file with `accessKey` and `secretKey`.
    PropertyFile {
        /// The file, relative to the working directory.
        path: String,
    },
    /// `<prefix>_AWS_ACCESS_KEY_ID` and `<prefix>_AWS_SECRET_ACCESS_KEY` (sylvite).
    CustomEnvironment {
        /// The prefix without `_`; `CUSTOM` unless the environment's `CUSTOM_PREFIX` says otherwise.
        prefix: String,
    },
    /// Unsigned calls.
    Anonymous,
}

/// Arguments of the STS provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role to assume.
    pub role_arn: String,
    /// Name of the session.
    pub session: String,
    /// External id, if any.
    pub external_id: Option<String>,
    /// Endpoint of STS, with scheme, if any.
    pub endpoint: Option<String>,
    /// Region of STS; `None` leaves it to the environment (not `regionName`, as in Java).
    pub endpoint_region: Option<String>,
}

impl ProviderChain {
    /// What stands in for a missing key.
    #[must_use]
    pub fn sdk_default() -> Self {
        Self(vec![ProviderSpec::Default])
    }

    /// A chain of one provider.
    #[must_use]
    pub fn only(provider: ProviderSpec) -> Self {
        Self(vec![provider])
    }

    /// The providers in order.
    #[must_use]
    pub fn providers(&self) -> &[ProviderSpec] {
        &self.0
    }

    /// The chain with the prefix of sylvite's provider replaced (`CUSTOM_PREFIX`).
    #[must_use]
    pub(super) fn with_custom_prefix(mut self, wanted: &str) -> Self {
        for provider in &mut self.0 {
            if let ProviderSpec::CustomEnvironment { prefix } = provider
                && prefix == CUSTOM_PREFIX
            {
                wanted.clone_into(prefix);
            }
        }
        self
    }
}

impl fmt::Display for ProviderChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, provider) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{provider}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ProviderSpec {
    /// The SDK v2 name, and of the arguments only a profile's name, a role's ARN or a file's path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("DefaultCredentialsProvider"),
            Self::Environment => f.write_str("EnvironmentVariableCredentialsProvider"),
            Self::SystemProperty => f.write_str("SystemPropertyCredentialsProvider"),
            Self::Profile(None) => f.write_str("ProfileCredentialsProvider"),
            Self::Profile(Some(name)) => write!(f, "ProfileCredentialsProvider|{name}"),
            Self::WebIdentity => f.write_str("WebIdentityTokenFileCredentialsProvider"),
            Self::Container => f.write_str("ContainerCredentialsProvider"),
            Self::Instance => f.write_str("InstanceProfileCredentialsProvider"),
            Self::ContainerThenInstance => f.write_str("EC2ContainerCredentialsProviderWrapper"),
            Self::AssumeRole(role) if role.role_arn.starts_with("arn:") => {
                write!(f, "StsAssumeRoleCredentialsProvider|{}", role.role_arn)
            }
            Self::AssumeRole(_) => f.write_str("StsAssumeRoleCredentialsProvider"),
            Self::PropertyFile { path } => write!(f, "PropertiesFileCredentialsProvider|{path}"),
            Self::CustomEnvironment { prefix } => {
                write!(f, "CustomEnvironmentVariableCredentialsProvider|{prefix}")
            }
            Self::Anonymous => f.write_str("AnonymousCredentialsProvider"),
        }
    }
}

/// A value that could be used, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The providers.
    pub chain: ProviderChain,
    /// Elements that were left out, and what Java would do otherwise.
    pub warnings: Vec<String>,
    /// SDK v1 names that were translated.
    pub remarks: Vec<String>,
}

const CUSTOM_PREFIX: &str = "CUSTOM";

/// Names that are understood, without package, with the arguments they take.
const UNDERSTOOD: [&str; 13] = [
    "DefaultCredentialsProvider",
    "EnvironmentVariableCredentialsProvider",
    "ProfileCredentialsProvider",
    "WebIdentityTokenFileCredentialsProvider",
    "ContainerCredentialsProvider",
    "InstanceProfileCredentialsProvider",
    "StsAssumeRoleCredentialsProvider",
    "KclStsAssumeRoleCredentialsProvider",
    "SystemPropertyCredentialsProvider",
    "PropertiesFileCredentialsProvider",
    "CustomEnvironmentVariableCredentialsProvider",
    "AnonymousCredentialsProvider",
    "DefaultAWSCredentialsProviderChain",
];

/// Packages in which the known names live, longest first; the flag says whether it is SDK v1.
const PACKAGES: [(&str, bool); 8] = [
    ("software.amazon.awssdk.services.sts.auth.", false),
    ("software.amazon.awssdk.auth.credentials.", false),
    ("software.amazon.kinesis.multilang.auth.", false),
    ("com.amazonaws.services.kinesis.multilang.auth.", true),
    ("com.amazonaws.auth.profile.", true),
    ("com.amazonaws.auth.", true),
    ("com.er.sylvite.", true),
    ("profile.", true),
];

/// Parses the value of a credentials key.
///
/// # Errors
/// A sentence that names the key and the providers that are understood, when no element can be used.
pub fn parse(key: &str, text: &str) -> Result<Parsed, String> {
    let mut parsed = Parsed {
        chain: ProviderChain(Vec::new()),
        warnings: Vec::new(),
        remarks: Vec::new(),
    };
    for (number, element) in (1..).zip(text.split(',').map(convert::java_trim)) {
        if element.is_empty() {
            continue;
        }
        let mut report = Report {
            subject: format!("{key}, {}", displayed(element, number)),
            warnings: &mut parsed.warnings,
            remarks: &mut parsed.remarks,
        };
        match provider(element, &mut report) {
            Ok(provider) => parsed.chain.0.push(provider),
            Err(why) => report.warn(format!("left out: {why}")),
        }
    }
    if !parsed.chain.0.is_empty() {
        return Ok(parsed);
    }
    let causes = match parsed.warnings.as_slice() {
        [] => String::new(),
        warnings => format!(" ({})", warnings.join("; ")),
    };
    Err(format!(
        "{key} names no credentials provider that can be used{causes}; understood are {}",
        UNDERSTOOD.join(", ")
    ))
}

/// Where notes about one element go.
struct Report<'a> {
    subject: String,
    warnings: &'a mut Vec<String>,
    remarks: &'a mut Vec<String>,
}

impl Report<'_> {
    fn warn(&mut self, what: impl fmt::Display) {
        self.warnings.push(format!("{}: {what}", self.subject));
    }

    fn remark(&mut self, what: impl fmt::Display) {
        self.remarks.push(format!("{}: {what}", self.subject));
    }
}

/// The element's name if it looks like a class; else only its place, as it may be a secret.
fn displayed(element: &str, number: usize) -> String {
    let name = element.split('|').next().unwrap_or_default().trim();
    let is_identifier = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'$'));
    let lower = name.to_ascii_lowercase();
    let is_class =
        lower.contains("provider") || lower.contains("chain") || lower.contains("credential");
    if is_identifier && is_class && name.len() <= 120 {
        format!("'{name}'")
    } else {
        format!("element {number}")
    }
}

fn provider(element: &str, report: &mut Report<'_>) -> Result<ProviderSpec, String> {
    let mut pieces: Vec<&str> = element.split('|').collect();
    if pieces.iter().any(|piece| piece.trim() != *piece) {
        report.warn(
            "blanks around '|' are dropped here; Java does not find the provider because of them",
        );
        pieces.iter_mut().for_each(|piece| *piece = piece.trim());
    }
    while pieces.len() > 1 && pieces.last().is_some_and(|piece| piece.is_empty()) {
        pieces.pop();
    }
    // proven: split gives at least one piece.
    let (name, arguments) = pieces.split_first().map_or(("", &[][..]), |(n, a)| (*n, a));
    let (package, simple) = PACKAGES
        .iter()
        .find_map(|(package, v1)| Some((Some(*v1), name.strip_prefix(package)?)))
        .unwrap_or((None, name));
    let spec = match (simple, arguments) {
        ("DefaultCredentialsProvider", _)
        | ("DefaultAWSCredentialsProviderChain" | "AWSCredentialsProviderChain", _) => {
            ProviderSpec::Default
        }
        ("EnvironmentVariableCredentialsProvider", _) => ProviderSpec::Environment,
        ("SystemPropertyCredentialsProvider" | "SystemPropertiesCredentialsProvider", _) => {
            report.remark("there is no JVM; it sees only -Daws.accessKeyId and the like on a Java-shaped command line");
            ProviderSpec::SystemProperty
        }
        ("InstanceProfileCredentialsProvider", _) => ProviderSpec::Instance,
        ("ContainerCredentialsProvider", _) => ProviderSpec::Container,
        ("EC2ContainerCredentialsProviderWrapper", _) => ProviderSpec::ContainerThenInstance,
        ("WebIdentityTokenFileCredentialsProvider" | "WebIdentityTokenCredentialsProvider", _) => {
            ProviderSpec::WebIdentity
        }
        ("AnonymousCredentialsProvider", _) => ProviderSpec::Anonymous,
        ("ProfileCredentialsProvider", [name]) => ProviderSpec::Profile(Some((*name).to_owned())),
        ("ProfileCredentialsProvider", _) => ProviderSpec::Profile(None),
        (
            "StsAssumeRoleCredentialsProvider"
            | "KclStsAssumeRoleCredentialsProvider"
            | "STSAssumeRoleSessionCredentialsProvider"
            | "KclSTSAssumeRoleSessionCredentialsProvider",
            arguments,
        ) => ProviderSpec::AssumeRole(assume_role(arguments, report)?),
        (
            "PropertiesFileCredentialsProvider" | "ClasspathPropertiesFileCredentialsProvider",
            [path, ..],
        ) => ProviderSpec::PropertyFile {
            path: (*path).to_owned(),
        },
        ("ClasspathPropertiesFileCredentialsProvider", []) => ProviderSpec::PropertyFile {
            path: "AwsCredentials.properties".to_owned(),
        },
        ("PropertiesFileCredentialsProvider", []) => {
            return Err("it needs a file, PropertiesFileCredentialsProvider|path".to_owned());
        }
        ("CustomEnvironmentVariableCredentialsProvider", arguments) => {
            ProviderSpec::CustomEnvironment {
                prefix: arguments
                    .first()
                    .copied()
                    .unwrap_or(CUSTOM_PREFIX)
                    .to_owned(),
            }
        }
        _ => return Err(why_unknown(name, simple, package)),
    };
    if surplus(&spec, arguments) {
        report.warn("its arguments are ignored, as in Java");
    }
    if package == Some(true) || is_v1_name(simple) {
        report.remark(format_args!(
            "a class of AWS SDK v1, taken as {}; KCL 2.7 and later refuse it",
            kind(&spec)
        ));
    }
    Ok(spec)
}

/// The v2 name of a provider, without arguments.
fn kind(spec: &ProviderSpec) -> String {
    let shown = spec.to_string();
    shown.split('|').next().unwrap_or_default().to_owned()
}

fn is_v1_name(simple: &str) -> bool {
    matches!(
        simple,
        "DefaultAWSCredentialsProviderChain"
            | "AWSCredentialsProviderChain"
            | "EC2ContainerCredentialsProviderWrapper"
            | "WebIdentityTokenCredentialsProvider"
            | "STSAssumeRoleSessionCredentialsProvider"
            | "KclSTSAssumeRoleSessionCredentialsProvider"
            | "SystemPropertiesCredentialsProvider"
            | "ClasspathPropertiesFileCredentialsProvider"
            | "PropertiesFileCredentialsProvider"
    )
}

/// Whether arguments were given that the provider does not take.
fn surplus(spec: &ProviderSpec, arguments: &[&str]) -> bool {
    match spec {
        ProviderSpec::AssumeRole(_) => false,
        ProviderSpec::Profile(name) => arguments.len() > usize::from(name.is_some()),
        ProviderSpec::PropertyFile { .. } | ProviderSpec::CustomEnvironment { .. } => {
            arguments.len() > 1
        }
        _ => !arguments.is_empty(),
    }
}

fn why_unknown(name: &str, simple: &str, package: Option<bool>) -> String {
    match simple {
        "ProcessCredentialsProvider" | "SsoCredentialsProvider" => {
            "it cannot be written here; put it into a profile of ~/.aws/config and use ProfileCredentialsProvider|name"
                .to_owned()
        }
        "StaticCredentialsProvider" | "StsWebIdentityTokenFileCredentialsProvider"
        | "StsAssumeRoleWithWebIdentityCredentialsProvider" | "StsGetSessionTokenCredentialsProvider" => {
            "Java cannot construct it from text either".to_owned()
        }
        _ if package.is_none() && name.contains('.') => {
            "a Java class cannot be loaded without a JVM".to_owned()
        }
        _ => format!(
            "there is no such provider{}",
            did_you_mean(nearest(simple, UNDERSTOOD))
        ),
    }
}

fn assume_role(arguments: &[&str], report: &mut Report<'_>) -> Result<AssumeRole, String> {
    let [role_arn, session, nested @ ..] = arguments else {
        return Err("it needs a role and a session name, separated by '|'".to_owned());
    };
    if role_arn.is_empty() || session.is_empty() {
        return Err("the role or the session name is empty".to_owned());
    }
    if !role_arn.starts_with("arn:") {
        report.warn("the role should be an ARN, arn:aws:iam::account:role/name");
    }
    let mut role = AssumeRole {
        role_arn: (*role_arn).to_owned(),
        session: (*session).to_owned(),
        external_id: None,
        endpoint: None,
        endpoint_region: None,
    };
    for argument in nested {
        let Some((key, value)) = argument.split_once('=') else {
            report.remark("an argument without '=' is ignored, as in Java");
            continue;
        };
        match key {
            "externalId" => {
                if value.contains('=') {
                    report.warn("Java ignores an external id that contains '='; it is used here");
                }
                role.external_id = Some(value.to_owned());
            }
            "endpointRegion" => role.endpoint_region = Some(region(value)?),
            "endpoint" => {
                let (address, signing) = value
                    .split_once('^')
                    .filter(|(_, signing)| !signing.contains('^'))
                    .ok_or("'endpoint' must have the form endpoint=host^region")?;
                let address = if address.contains("://") {
                    address.to_owned()
                } else {
                    format!("https://{address}")
                };
                let (address, _) =
                    convert::endpoint(&address).map_err(|why| format!("'endpoint' is no endpoint: {why}"))?;
                role.endpoint = Some(address);
                role.endpoint_region = Some(region(signing)?);
            }
            _ => report.warn("an argument is not externalId, endpoint or endpointRegion and is ignored, as in Java"),
        }
    }
    Ok(role)
}

fn region(text: &str) -> Result<String, String> {
    convert::region(text).map_err(|why| format!("'endpointRegion' is not a region: {why}"))
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
