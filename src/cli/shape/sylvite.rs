//! sylvite's line: `properties.md` §13.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::cli::shape::Misuse;
use crate::cli::shape::jvm::Jvm;

/// A line that starts sylvite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SylviteLine {
    /// What the JVM was told.
    pub jvm: Jvm,
    /// The file of `--config=` or `-Dconfig=`; without either the environment is asked.
    pub config: Option<PathBuf>,
    /// `--name=value`, without `config`; the last of a name counts.
    pub settings: Vec<(String, String)>,
    /// Arguments that are neither: Spring ignores them.
    pub ignored: Vec<String>,
}

/// Whether an argument is `--config=…`.
pub fn names_config(word: &OsStr) -> bool {
    word.to_string_lossy().starts_with("--config=")
}

/// Whether a jar is sylvite's: `sylvite.jar`, `sylvite-0.0.6.jar`.
pub fn is_its_jar(jar: &OsStr) -> bool {
    let name = Path::new(jar).file_name().unwrap_or_default();
    name.to_string_lossy().starts_with("sylvite")
}

/// Reads what stands behind the jar, or behind our own name.
///
/// # Errors
/// `--config` without a file.
pub fn read(mut jvm: Jvm) -> Result<SylviteLine, Misuse> {
    let mut line = SylviteLine {
        config: None,
        settings: Vec::new(),
        ignored: Vec::new(),
        jvm: Jvm::default(),
    };
    // Spring: arguments go before system properties.
    line.config = jvm.system_properties.get("config").map(PathBuf::from);
    for word in std::mem::take(&mut jvm.arguments) {
        let text = word.to_string_lossy();
        match text.strip_prefix("--").map(|text| text.split_once('=')) {
            Some(Some(("config", file))) if !file.is_empty() => line.config = Some(file.into()),
            Some(Some((name, value))) if name != "config" => {
                line.settings.push((name.to_owned(), value.to_owned()));
            }
            Some(_) if text == "--config" || text == "--config=" => return Err(Misuse::NoConfig),
            _ => line.ignored.push(text.into_owned()),
        }
    }
    line.jvm = jvm;
    Ok(line)
}
