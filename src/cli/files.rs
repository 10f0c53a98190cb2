//! The files that a line names, found and read.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::class_path::ClassPath;
use crate::os::environment;

/// A file that was read.
#[derive(Debug)]
pub struct Found {
    /// Where it is, for messages.
    pub shown: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Reads the properties file: with a class path first in its directories, as Java does, then from the
/// working directory.
///
/// # Errors
/// One sentence that says where was looked.
pub fn properties(name: &Path, class_path: Option<&ClassPath>) -> Result<Found, String> {
    let Some(class_path) = class_path else {
        return read(name).map_err(|cause| cannot(name, &cause));
    };
    let before = class_path.candidates(name);
    let after = class_path.last_resorts(name);
    let places = || {
        before
            .iter()
            .map(PathBuf::as_path)
            .chain([name])
            .chain(after.iter().map(PathBuf::as_path))
    };
    if let Some(path) = places().find(|path| path.is_file()) {
        return read(path).map_err(|cause| cannot(path, &cause));
    }
    match read(name) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && name.is_relative() => {
            let cwd = environment::working_directory().unwrap_or_default();
            let mut directories: Vec<String> = Vec::new();
            for path in before.iter().chain(&after) {
                let directory = directory_of(path, name);
                // A jar is no directory; naming dozens of them helps nobody.
                if directory.is_dir() {
                    let shown = directory.display().to_string();
                    if !directories.contains(&shown) {
                        directories.push(shown);
                    }
                }
            }
            let of_class_path = if directories.is_empty() {
                "the class path has no directories".to_owned()
            } else {
                format!(
                    "nor in the directories of the class path: {}",
                    directories.join(", ")
                )
            };
            Err(format!(
                "Unable to find property file in classpath, or file system: '{}' (it is not in the working directory {}, {of_class_path})",
                name.display(),
                cwd.display()
            ))
        }
        Err(cause) => Err(cannot(name, &cause)),
        Ok(found) => Ok(found),
    }
}

/// The directory that `name` was appended to.
fn directory_of<'a>(path: &'a Path, name: &Path) -> &'a Path {
    let depth = name.components().count();
    path.ancestors().nth(depth).unwrap_or(path)
}

fn read(path: &Path) -> io::Result<Found> {
    let bytes = std::fs::read(path)?;
    Ok(Found {
        shown: path.display().to_string(),
        bytes,
    })
}

fn cannot(path: &Path, cause: &io::Error) -> String {
    format!(
        "cannot read the properties file '{}': {cause}",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_class_path_goes_before_the_named_file() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for (file, text) in [
            ("a/x.properties", "a"),
            ("b/x.properties", "b"),
            ("jars/y.properties", "y"),
        ] {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), text).unwrap();
        }
        let text = format!("{0}/none:{0}/b:{0}/a:{0}/jars/*", root.path().display());
        let path = ClassPath::parse(text.as_ref());
        let found = |name: &str| properties(Path::new(name), Some(&path));
        assert_eq!(found("x.properties").unwrap().bytes, b"b");
        assert_eq!(found("y.properties").unwrap().bytes, b"y");
        assert_eq!(
            found(at("a/x.properties").to_str().unwrap()).unwrap().bytes,
            b"a"
        );
        // From the crate's folder, where tests run.
        assert!(found("Cargo.toml").unwrap().bytes.starts_with(b"["));
        let message = found("sub/missing.properties").unwrap_err();
        for part in [
            "'sub/missing.properties'",
            "working directory /",
            "/b, ",
            "/a, ",
            "/jars",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!message.contains("/none"), "{message}");
        let message = found("/nowhere/x.properties").unwrap_err();
        assert!(
            message.contains("'/nowhere/x.properties': No such file"),
            "{message}"
        );
    }

    #[test]
    fn without_a_class_path_only_the_named_file_counts() {
        let message = properties(Path::new("missing.properties"), None).unwrap_err();
        assert_eq!(
            message,
            "cannot read the properties file 'missing.properties': No such file or directory (os error 2)"
        );
    }
}
