//! From the command line, the environment and the properties file to the configuration; shared by all
//! commands that have one.

use std::path::Path;

use tracing::warn;

use crate::cli::args::RunArgs;
use crate::config::{
    self, ConfigErrors, DaemonConfig, Mode, Notices, Override, PropertiesFile, Sources,
};
use crate::os::environment::Environment;

/// A configuration, and what there is to say about it.
pub struct Loaded {
    /// The file as it was named.
    pub file: String,
    /// The configuration.
    pub config: DaemonConfig,
    /// What there is to say.
    pub notices: Notices,
}

/// Why there is no configuration.
pub enum NotLoaded {
    /// The command line is wrong, or names no file.
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
pub fn load(args: &RunArgs, environment: &Environment) -> Result<Loaded, NotLoaded> {
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
        return Err(NotLoaded::Usage(
            "Properties file missing, please provide a properties file: kcl-daemon --properties FILE (--help tells more)"
                .to_owned(),
        ));
    };
    let shown = path.display().to_string();
    let bytes = std::fs::read(&path).map_err(|cause| NotLoaded::Unreadable {
        message: format!("cannot read the properties file '{shown}': {cause}"),
        file: shown.clone(),
    })?;
    let flags = overrides(args).map_err(NotLoaded::Usage)?;
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
    match config::load(&sources) {
        Ok((config, notices)) => Ok(Loaded {
            file: shown,
            config,
            notices,
        }),
        Err(errors) => Err(NotLoaded::Wrong {
            file: shown,
            errors,
        }),
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
