//! What the process was given: environment variables, host name, directories.
#![expect(
    clippy::disallowed_methods,
    reason = "src/os is where the environment is read"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// A snapshot of the environment, taken once at the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    system_properties: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of this process as it is now.
    #[must_use]
    pub fn capture() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            system_properties: BTreeMap::new(),
        }
    }

    /// Adds what a Java-shaped command line sets with `-Dname=value`.
    #[must_use]
    pub fn with_system_properties(mut self, properties: BTreeMap<String, String>) -> Self {
        self.system_properties = properties;
        self
    }

    /// Java's system properties, from the command line; empty on lines of our own shape.
    #[must_use]
    pub fn system_properties(&self) -> &BTreeMap<String, String> {
        &self.system_properties
    }

    /// The value of a variable. Set but empty is `Some`.
    #[must_use]
    pub fn get_os(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// The value of a variable, if it is set to UTF-8 text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_os(name).and_then(OsStr::to_str)
    }

    /// All variables whose name and value are UTF-8 text, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let pairs = variables.into_iter();
        Self {
            variables: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            system_properties: BTreeMap::new(),
        }
    }
}

/// The command line, the program's own name first.
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

/// The name of this host, as `uname -n` prints it.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The directory for temporary files: `TMPDIR`, else the system's.
#[must_use]
pub fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

/// The directory in which the process was started.
///
/// # Errors
/// It was deleted, or may not be looked at.
pub fn working_directory() -> io::Result<PathBuf> {
    std::env::current_dir()
}

/// A path under which this very executable can be started again, also after the file was replaced
/// or deleted by an update.
///
/// # Errors
/// The system does not tell.
pub fn own_executable() -> io::Result<PathBuf> {
    let linux = Path::new("/proc/self/exe");
    if linux.exists() {
        return Ok(linux.to_owned());
    }
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_empty_from_missing() {
        let environment = Environment::from_iter([("A", "1"), ("EMPTY", "")]);
        assert_eq!(environment.get("A"), Some("1"));
        assert_eq!(environment.get("EMPTY"), Some(""));
        assert_eq!(environment.get("MISSING"), None);
        assert_eq!(
            environment.iter().collect::<Vec<_>>(),
            [("A", "1"), ("EMPTY", "")]
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_there_but_not_text() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(vec![0xff]);
        let environment = Environment::from_iter([(OsString::from("ODD"), odd.clone())]);
        assert_eq!(environment.get("ODD"), None);
        assert_eq!(environment.get_os("ODD"), Some(odd.as_os_str()));
        assert_eq!(environment.iter().count(), 0);
    }

    #[test]
    fn this_process_has_an_environment_a_host_and_an_executable() {
        let captured = Environment::capture();
        assert_eq!(captured.get_os("PATH"), std::env::var_os("PATH").as_deref());
        assert!(!host_name().is_empty());
        assert!(own_executable().is_ok_and(|path| path.exists()));
        assert!(working_directory().is_ok_and(|path| path.is_absolute()));
    }
}
