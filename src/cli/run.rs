//! Running the daemon: read the configuration, say what is wrong with it, hand over to `app`.

use std::process::ExitCode;

use tracing::{info, warn};

use crate::app;
use crate::cli::levels::levels;
use crate::cli::load::{Loaded, NotLoaded, load};
use crate::cli::start::Start;
use crate::config::{Notices, Severity};
use crate::observe::log;
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
    let levels = match levels {
        Ok(levels) => levels,
        Err(message) => {
            log::fatal(&message);
            return ExitCode::FAILURE;
        }
    };
    report(&levels.notices);
    let messages = match load(start, &environment) {
        Ok(Loaded {
            config, notices, ..
        }) => {
            report(&notices);
            return app::run(&config, &environment);
        }
        Err(NotLoaded::Usage(message) | NotLoaded::Unreadable { message, .. }) => vec![message],
        Err(NotLoaded::Wrong { errors, .. }) => {
            report(&errors.notices);
            errors.errors.iter().map(ToString::to_string).collect()
        }
    };
    for message in messages {
        log::fatal(&message);
    }
    ExitCode::FAILURE
}

fn report(notices: &Notices) {
    for notice in notices {
        match notice.severity {
            Severity::Info => info!("{notice}"),
            Severity::Warn => warn!("{notice}"),
        }
    }
}
