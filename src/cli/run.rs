//! Running the daemon: read the configuration, say what is wrong with it, hand over to `app`.

use std::path::Path;
use std::process::ExitCode;

use tracing::{error, info, warn};

use crate::app;
use crate::cli::args::RunArgs;
use crate::config::{self, DaemonConfig, Mode, Override, PropertiesFile, Severity, Sources};
use crate::observe::log;
use crate::os::environment::Environment;

/// Runs the daemon to its end.
pub fn run(args: &RunArgs) -> ExitCode {
    let environment = Environment::capture();
    if let Err(message) = log::init(args.log.as_deref().or(environment.get("KCL_DAEMON_LOG"))) {
        eprintln!("kcl-daemon: {message}");
        return ExitCode::FAILURE;
    }
    match load(args, &environment) {
        Ok(config) => app::run(&config, &environment),
        Err(messages) => {
            for message in messages {
                error!("{message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn load(args: &RunArgs, environment: &Environment) -> Result<DaemonConfig, Vec<String>> {
    let file = match (&args.properties, &args.positional) {
        (Some(_), Some(_)) => {
            warn!("Overriding the properties file with the --properties option");
            args.properties.as_deref()
        }
        (named, positional) => named.as_deref().or(positional.as_deref()),
    };
    let file = file
        .map(Path::to_path_buf)
        .or_else(|| environment.get("KCL_DAEMON_PROPERTIES").map(Into::into));
    let Some(path) = file else {
        return Err(vec![
            "Properties file missing, please provide a properties file: kcl-daemon --properties FILE (--help tells more)"
                .to_owned(),
        ]);
    };
    let shown = path.display().to_string();
    let bytes = std::fs::read(&path).map_err(|cause| {
        vec![format!(
            "cannot read the properties file '{shown}': {cause}"
        )]
    })?;
    let flags = overrides(args).map_err(|message| vec![message])?;
    let variables = environment
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let sources = Sources {
        file: Some(PropertiesFile {
            path: &shown,
            bytes: &bytes,
        }),
        environment: &variables,
        flags: &flags,
        mode: Mode::Daemon,
    };
    let (config, notices) = match config::load(&sources) {
        Ok((config, notices)) => (config, notices),
        Err(errors) => {
            report(&errors.notices);
            return Err(errors.errors.iter().map(ToString::to_string).collect());
        }
    };
    report(&notices);
    Ok(config)
}

fn report(notices: &config::Notices) {
    for notice in notices {
        match notice.severity {
            Severity::Info => info!("{notice}"),
            Severity::Warn => warn!("{notice}"),
        }
    }
}

fn overrides(args: &RunArgs) -> Result<Vec<Override>, String> {
    let mut flags = Vec::new();
    for define in &args.define {
        let Some((key, value)) = define.split_once('=') else {
            return Err(format!("-D {define}: expected KEY=VALUE"));
        };
        flags.push(Override {
            flag: format!("-D {key}"),
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    let mut local = |flag: &str, key: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.push(Override {
                flag: flag.to_owned(),
                key: key.to_owned(),
                value,
            });
        }
    };
    local("--local", "local", args.local.then(|| "true".to_owned()));
    local(
        "--local-shards",
        "localShards",
        args.local_shards.map(|n| n.to_string()),
    );
    local(
        "--local-generate",
        "localGenerate",
        args.local_generate.map(|r| r.to_string()),
    );
    local("--local-input", "localInput", args.local_input.clone());
    Ok(flags)
}
