//! Running the daemon: read the configuration, say what is wrong with it, hand over to `app`.

use std::process::ExitCode;

use tracing::{error, info, warn};

use crate::app;
use crate::cli::args::RunArgs;
use crate::cli::load::{Loaded, NotLoaded, load};
use crate::config::{self, Severity};
use crate::observe::log;
use crate::os::environment::Environment;

/// Runs the daemon to its end.
pub fn run(args: &RunArgs) -> ExitCode {
    let environment = Environment::capture();
    if let Err(message) = log::init(args.log.as_deref().or(environment.get("KCL_DAEMON_LOG"))) {
        eprintln!("kcl-daemon: {message}");
        return ExitCode::FAILURE;
    }
    let messages = match load(args, &environment) {
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
        error!("{message}");
    }
    ExitCode::FAILURE
}

fn report(notices: &config::Notices) {
    for notice in notices {
        match notice.severity {
            Severity::Info => info!("{notice}"),
            Severity::Warn => warn!("{notice}"),
        }
    }
}
