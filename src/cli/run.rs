//! Running the daemon: read the configuration, say what is wrong with it, hand over to `app`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracing::{info, warn};

use crate::app;
use crate::cli::files;
use crate::cli::start::{Mode, Start};
use crate::cli::system_properties;
use crate::config::{
    self, DaemonConfig, Mode as ConfigMode, Notices, PropertiesFile, Severity, Sources,
};
use crate::observe::{log, logback};
use crate::os::environment::Environment;

/// Runs the daemon to its end.
pub fn run(start: &Start, environment: Environment) -> ExitCode {
    let environment = environment.with_system_properties(start.system_properties.clone());
    let levels = levels(start, &environment);
    let filter = match &levels {
        Ok(levels) => levels.filter.as_deref(),
        Err(_) => None,
    };
    if let Err(message) = log::init(filter) {
        eprintln!("kcl-daemon: {message}");
        return ExitCode::FAILURE;
    }
    report(&start.notices);
    let loaded = levels.map_err(|message| vec![message]).and_then(|levels| {
        report(&levels.notices);
        load(start, &environment)
    });
    match loaded {
        Ok(config) => app::run(&config, &environment),
        Err(messages) => {
            for message in messages {
                log::fatal(&message);
            }
            ExitCode::FAILURE
        }
    }
}

/// The log filter, and what is to be said about where it comes from.
#[derive(Debug, Default)]
struct Levels {
    filter: Option<String>,
    notices: Notices,
}

/// `--log`, else `KCL_DAEMON_LOG`, else the levels of a logback configuration. One that was asked for
/// with `-l` must be readable in any case.
fn levels(start: &Start, environment: &Environment) -> Result<Levels, String> {
    let named = start.log_configuration.as_deref();
    let configuration = match named {
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|cause| {
                format!(
                    "Error while loading log configuration: {} ({cause})",
                    path.display()
                )
            })?;
            Some((path.to_owned(), Ok(bytes)))
        }
        None => other_configuration(start).map(|path| {
            let bytes = std::fs::read(&path);
            (path, bytes)
        }),
    };
    let mut levels = Levels {
        filter: start
            .log
            .as_deref()
            .or(environment.get("KCL_DAEMON_LOG"))
            .filter(|filter| !filter.is_empty())
            .map(str::to_owned),
        notices: Notices::default(),
    };
    let Some((path, bytes)) = configuration else {
        return Ok(levels);
    };
    let shown = path.display();
    if levels.filter.is_some() {
        levels.notices.info(
            None,
            format!("the log filter of the command line or of KCL_DAEMON_LOG is used, not the levels of {shown}"),
        );
        return Ok(levels);
    }
    let bytes = match bytes {
        Ok(bytes) => bytes,
        // Logback goes on without.
        Err(cause) => {
            levels.notices.warn(
                None,
                format!("the log configuration {shown} cannot be read and has no effect: {cause}"),
            );
            return Ok(levels);
        }
    };
    let properties = environment.system_properties();
    let variable = |name: &str| {
        let property = properties.get(name).map(String::as_str);
        property
            .or_else(|| environment.get(name))
            .map(str::to_owned)
    };
    let found = logback::read(&bytes, &variable);
    for warning in found.warnings {
        levels.notices.warn(None, format!("{shown}: {warning}"));
    }
    levels.notices.info(
        None,
        match &found.filter {
            Some(filter) => format!("log levels of {shown}: {filter}"),
            None => format!("{shown} sets no log level"),
        },
    );
    if !found.remarks.is_empty() {
        levels.notices.info(
            None,
            format!(
                "of {shown} only the levels count, and nothing comes of: {}",
                found.remarks.join("; ")
            ),
        );
    }
    levels.filter = found.filter;
    Ok(levels)
}

/// Where logback itself would look: `-Dlogback.configurationFile`, then the class path.
fn other_configuration(start: &Start) -> Option<PathBuf> {
    let named = start.fallback_log_configuration.clone();
    named.or_else(|| {
        let class_path = start.class_path.as_ref()?;
        let candidates = class_path.logback_candidates();
        candidates.into_iter().find(|path| path.is_file())
    })
}

fn load(start: &Start, environment: &Environment) -> Result<DaemonConfig, Vec<String>> {
    let of_environment = || {
        ["KCL_DAEMON_PROPERTIES", "KCL_DAEMON_PROPERTIES_FILE"]
            .into_iter()
            .find_map(|name| environment.get_os(name))
            .map(PathBuf::from)
    };
    let name = start.properties.clone().or_else(of_environment);
    let file = match &name {
        Some(name) => Some(read_properties(name, start)?),
        // sylvite can do without.
        None if matches!(start.mode, Mode::Sylvite(_)) => None,
        None => {
            return Err(vec![
                "Properties file missing, please provide a properties file: kcl-daemon --properties FILE (--help tells more)"
                    .to_owned(),
            ]);
        }
    };
    let mut variables = environment
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    system_properties::lay_over(environment.system_properties(), &mut variables);
    let sources = Sources {
        file: file.as_ref().map(|file| PropertiesFile {
            path: &file.shown,
            bytes: &file.bytes,
        }),
        environment: &variables,
        flags: &start.flags,
        mode: match &start.mode {
            Mode::Daemon => ConfigMode::Daemon,
            Mode::KclV1 => ConfigMode::KclV1,
            Mode::Sylvite(arguments) => ConfigMode::Sylvite { arguments },
        },
    };
    match config::load(&sources) {
        Ok((config, notices)) => {
            report(&notices);
            Ok(config)
        }
        Err(errors) => {
            report(&errors.notices);
            Err(errors.errors.iter().map(ToString::to_string).collect())
        }
    }
}

fn read_properties(name: &Path, start: &Start) -> Result<files::Found, Vec<String>> {
    let found = files::properties(name, start.class_path.as_ref());
    let found = found.map_err(|message| vec![message])?;
    if Path::new(&found.shown) != name {
        info!(
            "the properties file is {}, found by the class path",
            found.shown
        );
    }
    Ok(found)
}

fn report(notices: &Notices) {
    for notice in notices {
        match notice.severity {
            Severity::Info => info!("{notice}"),
            Severity::Warn => warn!("{notice}"),
        }
    }
}
