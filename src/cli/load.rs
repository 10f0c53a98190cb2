//! From the line, the environment and the properties file to the configuration; shared by all commands
//! that have one.

use std::path::{Path, PathBuf};

use crate::cli::files;
use crate::cli::start::{Mode, Start};
use crate::cli::system_properties;
use crate::config::{
    self, ConfigErrors, DaemonConfig, Mode as ConfigMode, Notices, PropertiesFile, Sources,
};
use crate::os::environment::Environment;

/// A configuration, and what there is to say about it.
pub struct Loaded {
    /// The file as it was named; empty without one.
    pub file: String,
    /// The configuration.
    pub config: DaemonConfig,
    /// What there is to say.
    pub notices: Notices,
}

/// Why there is no configuration.
pub enum NotLoaded {
    /// No file is named.
    Usage(String),
    /// The file cannot be read.
    Unreadable {
        /// The file as it was named.
        file: String,
        /// A sentence.
        message: String,
    },
    /// It has errors.
    Wrong {
        /// The file as it was named.
        file: String,
        /// All of them.
        errors: ConfigErrors,
    },
}

/// Reads everything.
///
/// # Errors
/// [`NotLoaded`].
pub fn load(start: &Start, environment: &Environment) -> Result<Loaded, NotLoaded> {
    let of_environment = || {
        ["KCL_DAEMON_PROPERTIES", "KCL_DAEMON_PROPERTIES_FILE"]
            .into_iter()
            .find_map(|name| environment.get_os(name))
            .map(PathBuf::from)
    };
    let name = start.properties.clone().or_else(of_environment);
    let found = match &name {
        Some(name) => {
            let found = files::properties(name, start.class_path.as_ref());
            Some(found.map_err(|message| NotLoaded::Unreadable {
                file: name.display().to_string(),
                message,
            })?)
        }
        // sylvite can do without.
        None if matches!(start.mode, Mode::Sylvite(_)) => None,
        None => {
            return Err(NotLoaded::Usage(
                "Properties file missing, please provide a properties file: kcl-daemon --properties FILE (--help tells more)"
                    .to_owned(),
            ));
        }
    };
    let mut variables = environment
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    system_properties::lay_over(environment.system_properties(), &mut variables);
    let sources = Sources {
        file: found.as_ref().map(|found| PropertiesFile {
            path: &found.shown,
            bytes: &found.bytes,
        }),
        environment: &variables,
        flags: &start.flags,
        mode: match &start.mode {
            Mode::Daemon => ConfigMode::Daemon,
            Mode::KclV1 => ConfigMode::KclV1,
            Mode::Sylvite(arguments) => ConfigMode::Sylvite { arguments },
        },
    };
    let file = found
        .as_ref()
        .map_or(String::new(), |found| found.shown.clone());
    match config::load(&sources) {
        Ok((config, mut notices)) => {
            if let (Some(name), Some(found)) = (&name, &found)
                && Path::new(&found.shown) != name
            {
                notices.info(
                    None,
                    format!(
                        "the properties file is {}, found by the class path",
                        found.shown
                    ),
                );
            }
            Ok(Loaded {
                file,
                config,
                notices,
            })
        }
        Err(errors) => Err(NotLoaded::Wrong { file, errors }),
    }
}
