//! What the daemon is started with, whatever the shape of the line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::args::RunArgs;
use crate::cli::class_path::ClassPath;
use crate::cli::shape::java::{CLASS_V1, JavaClass, JavaLine};
use crate::cli::shape::jvm::Jvm;
use crate::cli::shape::sylvite::SylviteLine;
use crate::cli::system_properties::{self, Use};
use crate::config::{Notices, Override, sylvite};
use crate::os::environment::Environment;

/// Everything that a line says about a run.
#[derive(Debug, Default)]
pub struct Start {
    /// The properties file as it was named.
    pub properties: Option<PathBuf>,
    /// Where Java would look for it.
    pub class_path: Option<ClassPath>,
    /// The logback configuration; it must be there.
    pub log_configuration: Option<PathBuf>,
    /// Another one, which may be missing, as logback has it.
    pub fallback_log_configuration: Option<PathBuf>,
    /// `--log`.
    pub log: Option<String>,
    /// Properties.
    pub flags: Vec<Override>,
    /// Java's system properties that count.
    pub system_properties: BTreeMap<String, String>,
    /// How it was started.
    pub mode: Mode,
    /// What is to be said first.
    pub notices: Notices,
}

/// How the daemon was started: [`crate::config::Mode`] with its own data.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As the MultiLangDaemon.
    #[default]
    Daemon,
    /// As that of KCL 1.x.
    KclV1,
    /// As sylvite, with its `--name=value` arguments.
    Sylvite(Vec<(String, String)>),
}

impl Start {
    /// From a line of our own.
    ///
    /// # Errors
    /// A `-D` without `=`.
    pub fn own(args: &RunArgs) -> Result<Self, String> {
        let mut start = Self {
            properties: args.properties.clone().or(args.positional.clone()),
            log_configuration: args.log_configuration.clone(),
            log: args.log.clone(),
            ..Self::default()
        };
        if args.properties.is_some() && args.positional.is_some() {
            start.notices.warn(None, OVERRIDDEN);
        }
        let mut of_java = BTreeMap::new();
        for define in &args.define {
            let Some((key, value)) = define.split_once('=') else {
                return Err(format!("-D {define}: expected KEY=VALUE"));
            };
            if system_properties::is_for_java(key) {
                of_java.insert(key.to_owned(), value.to_owned());
            } else {
                start.flag(&format!("-D {key}"), key, Some(value.to_owned()));
            }
        }
        start.take(of_java, Vec::new());
        start.flag("--local", "local", args.local.then(|| "true".to_owned()));
        let shards = args.local_shards.map(|n| n.to_string());
        start.flag("--local-shards", "localShards", shards);
        let rate = args.local_generate.map(|rate| rate.to_string());
        start.flag("--local-generate", "localGenerate", rate);
        start.flag("--local-input", "localInput", args.local_input.clone());
        Ok(start)
    }

    /// From a line of Java's daemon. `environment` may have its class path.
    pub fn java(line: JavaLine, environment: &Environment) -> Self {
        let mut start = Self {
            properties: line.properties,
            log_configuration: line.log_configuration,
            mode: match line.class {
                JavaClass::Current => Mode::Daemon,
                JavaClass::V1 => Mode::KclV1,
            },
            ..Self::default()
        };
        if line.overridden {
            start.notices.warn(None, OVERRIDDEN);
        }
        if line.unread > 0 {
            start.notices.warn(
                None,
                format!(
                    "{CLASS_V1} takes its first argument only; {} more are not looked at",
                    line.unread
                ),
            );
        }
        let class_path = line.jvm.class_path.as_deref();
        start.class_path = Some(match class_path.or(environment.get_os("CLASSPATH")) {
            Some(path) => ClassPath::parse(path),
            None => ClassPath::parse(".".as_ref()),
        });
        start.jvm(line.jvm);
        start
    }

    /// From a line of sylvite.
    pub fn sylvite(line: SylviteLine, environment: &Environment) -> Self {
        let of_environment = || {
            ["config", "CONFIG"]
                .into_iter()
                .find_map(|name| environment.get_os(name))
        };
        let config = line.config.or_else(|| of_environment().map(PathBuf::from));
        let mut start = Self {
            properties: config,
            ..Self::default()
        };
        for (name, _) in &line.settings {
            if !sylvite::is_looked_up(name) {
                start.notices.warn(
                    None,
                    format!(
                        "--{name} is no property of sylvite's and has no effect (on this line the daemon is sylvite; \
                         its own options can be given as KCL_DAEMON_… variables)"
                    ),
                );
            }
        }
        if !line.ignored.is_empty() {
            start.notices.warn(
                None,
                format!(
                    "no argument of sylvite, so without effect: {}",
                    line.ignored.join(" ")
                ),
            );
        }
        // System properties first: the last of a name counts.
        let (known, others): (BTreeMap<_, _>, BTreeMap<_, _>) = line
            .jvm
            .system_properties
            .clone()
            .into_iter()
            .filter(|(name, _)| name != "config")
            .partition(|(name, _)| sylvite::is_looked_up(name));
        start.mode = Mode::Sylvite(known.into_iter().chain(line.settings).collect());
        start.jvm(Jvm {
            system_properties: others,
            ..line.jvm
        });
        start
    }

    fn jvm(&mut self, jvm: Jvm) {
        self.take(jvm.system_properties, jvm.ignored);
    }

    /// Sorts system properties into those that count and those that do not; tells of the latter.
    fn take(&mut self, properties: BTreeMap<String, String>, mut ignored: Vec<String>) {
        for (name, value) in properties {
            match system_properties::judge(&name) {
                Use::Counts => {
                    self.system_properties.insert(name, value);
                }
                Use::Logback => self.fallback_log_configuration = Some(value.into()),
                Use::Instead(variable) => self.notices.warn(
                    None,
                    format!(
                        "-D{name} has no effect here; set {variable} in the environment instead"
                    ),
                ),
                // Not the value: it may be a secret.
                Use::Ignored => ignored.push(format!("-D{name}")),
            }
        }
        if !ignored.is_empty() {
            self.notices.info(
                None,
                format!(
                    "the JVM's own and without effect here: {}",
                    ignored.join(" ")
                ),
            );
        }
    }

    fn flag(&mut self, flag: &str, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.flags.push(Override {
                flag: flag.to_owned(),
                key: key.to_owned(),
                value,
            });
        }
    }
}

const OVERRIDDEN: &str = "Overriding the properties file with the --properties-file option";

#[cfg(test)]
mod tests;
