//! Jars of Java's MultiLangDaemon, fetched once into `target/test-tools`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::{Sandbox, skipped};

/// A version of the daemon that jars can be had of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The last 2.x.
    V2_7_2,
    /// Of those with tables of their own for coordination.
    V3_1_3,
    /// The core of 3.5.1, with one table for all, under the daemon of 3.1.3.
    V3_5_1,
}

impl Version {
    /// As Maven Central names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2_7_2 => "2.7.2",
            Self::V3_1_3 => "3.1.3",
            Self::V3_5_1 => "3.5.1",
        }
    }

    /// The class path; `None` after a line that says why the daemon cannot run here.
    pub fn class_path(self) -> Option<String> {
        match self.fetched() {
            Ok(folder) => Some(format!("{}/*", folder.display())),
            Err(why) => {
                skipped(&format!("Java's daemon {}", self.name()), &why);
                None
            }
        }
    }

    fn fetched(self) -> Result<PathBuf, String> {
        if !java_runs() {
            return Err("there is no java on the PATH".to_owned());
        }
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .ok_or("no target directory")?
            .join("test-tools");
        let folder = root.join(format!("kcl-{}", self.name()));
        let complete = folder.join(".complete");
        let explain = |cause: std::io::Error| format!("{}: {cause}", folder.display());
        fs::create_dir_all(&root).map_err(explain)?;
        let lock = File::create(folder.with_added_extension("lock")).map_err(explain)?;
        lock.lock().map_err(explain)?;
        if !complete.exists() {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).map_err(explain)?;
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/fetch.py");
            let output = Command::new("python3")
                .arg(script)
                .args([self.name().as_ref(), folder.as_os_str()])
                .stdin(Stdio::null())
                .output()
                .map_err(|cause| format!("python3 cannot be started: {cause}"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().last().unwrap_or("nothing on STDERR");
                return Err(format!("the jars cannot be fetched: {last}"));
            }
            File::create(&complete).map_err(explain)?;
        }
        Ok(folder)
    }
}

/// The class path of Java 3.5.1 with our launcher before it, compiled into the sandbox; `None` after a line that
/// says why it cannot be had.
pub fn launcher(sandbox: &Sandbox) -> Option<String> {
    let jars = Version::V3_5_1.class_path()?;
    let classes = sandbox.path().join("launcher");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/launcher");
    let output = Command::new("javac")
        .args(["-nowarn", "-cp", &jars, "-d"])
        .arg(&classes)
        .args(["Launcher.java", "CoreKeys.java"].map(|name| sources.join(name)))
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Some(format!("{}:{jars}", classes.display())),
        Ok(output) => panic!(
            "javac refuses the launcher: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(cause) => {
            skipped("the launcher of Java 3.5.1", &format!("no javac: {cause}"));
            None
        }
    }
}

fn java_runs() -> bool {
    Command::new("java")
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
