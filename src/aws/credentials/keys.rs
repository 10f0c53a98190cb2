//! Credentials that stand somewhere in plain sight: variables, `-D` options, properties files.

use std::collections::HashMap;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};

/// Under which names keys are found; the first that is there counts.
pub(super) struct KeyNames<'a> {
    pub(super) access: &'a [&'a str],
    pub(super) secret: &'a [&'a str],
    pub(super) token: &'a [&'a str],
}

impl KeyNames<'static> {
    pub(super) const ENVIRONMENT: Self = Self {
        // SDK v1 had the second names too.
        access: &["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"],
        secret: &["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"],
        token: &["AWS_SESSION_TOKEN"],
    };
    pub(super) const SYSTEM_PROPERTIES: Self = Self {
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
pub(super) fn from_keys(
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
pub(super) struct PropertyFile {
    pub(super) path: String,
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
