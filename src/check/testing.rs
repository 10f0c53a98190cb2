//! Configurations for the tests of this module.

use std::collections::BTreeMap;

use crate::config::{self, ConfigErrors, DaemonConfig, Mode, Notices, PropertiesFile, Sources};

/// What every file needs.
pub(crate) const MINIMAL: &str = "executableName = cat\nstreamName = orders\napplicationName = app\n\
     AwsCredentialsProvider = DefaultCredentialsProvider\nregionName = eu-west-1\nretrievalMode = POLLING\n";

/// Loads a text as `app.properties`.
pub(crate) fn load(text: &str) -> Result<(DaemonConfig, Notices), ConfigErrors> {
    config::load(&Sources {
        file: Some(PropertiesFile {
            path: "app.properties",
            bytes: text.as_bytes(),
        }),
        environment: &BTreeMap::new(),
        flags: &[],
        mode: Mode::Daemon,
    })
}

/// Loads [`MINIMAL`] with more lines behind.
pub(crate) fn with(lines: &str) -> DaemonConfig {
    match load(&format!("{MINIMAL}{lines}")) {
        Ok((config, _)) => config,
        Err(errors) => panic!("{errors}"),
    }
}
