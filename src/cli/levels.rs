//! What the log shows: `--log`, the environment, or the levels of a logback configuration.

use std::path::PathBuf;

use crate::cli::start::Start;
use crate::config::Notices;
use crate::observe::logback;
use crate::os::environment::Environment;

/// The log filter, and what is to be said about where it comes from.
#[derive(Debug, Default)]
pub struct Levels {
    /// The filter, if anything names one.
    pub filter: Option<String>,
    /// What there is to say.
    pub notices: Notices,
}

/// `--log`, else `KCL_DAEMON_LOG`, else the levels of a logback configuration. One that was asked for
/// with `-l` must be readable in any case.
///
/// # Errors
/// One sentence about that file.
pub fn levels(start: &Start, environment: &Environment) -> Result<Levels, String> {
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
