//! The class path of a Java-shaped line. There are no classes to be found on it, but properties files
//! (the helper of amazon_kclpy 1.x names no directory) and logback configurations.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The directories of a class path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassPath {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A directory, or a jar, which no file can be below.
    Path(PathBuf),
    /// `dir/*`: all jars of a directory. Java finds nothing else there.
    Jars(PathBuf),
}

impl ClassPath {
    /// Takes it apart; an empty entry is the working directory.
    pub fn parse(text: &OsStr) -> Self {
        let entries = std::env::split_paths(text).map(|path| {
            if path.as_os_str().is_empty() {
                Entry::Path(".".into())
            } else if path.file_name().is_some_and(|name| name == "*") {
                Entry::Jars(path.parent().map(Path::to_owned).unwrap_or_default())
            } else {
                Entry::Path(path)
            }
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// Where Java finds a file by a relative name, in its order.
    pub fn candidates(&self, name: &Path) -> Vec<PathBuf> {
        self.directories(name, |entry| match entry {
            Entry::Path(path) => Some(path),
            Entry::Jars(_) => None,
        })
    }

    /// Where Java would not look: beside the jars of `dir/*`.
    pub fn last_resorts(&self, name: &Path) -> Vec<PathBuf> {
        self.directories(name, |entry| match entry {
            Entry::Path(_) => None,
            Entry::Jars(path) => Some(path),
        })
    }

    fn directories<'a>(
        &'a self,
        name: &Path,
        of: impl Fn(&'a Entry) -> Option<&'a PathBuf>,
    ) -> Vec<PathBuf> {
        if name.is_absolute() {
            return Vec::new();
        }
        let directories = self.entries.iter().filter_map(of);
        directories
            .map(|directory| {
                // Messages name the file as it was given.
                if directory == Path::new(".") {
                    name.to_owned()
                } else {
                    directory.join(name)
                }
            })
            .collect()
    }

    /// Where logback looks before it finds the configuration that the daemon's own jar has.
    pub fn logback_candidates(&self) -> Vec<PathBuf> {
        let before_the_jar = || {
            self.entries.iter().map_while(|entry| match entry {
                Entry::Path(path) if is_the_daemons_jar(path) => None,
                Entry::Path(path) => Some(path),
                Entry::Jars(_) => None,
            })
        };
        ["logback-test.xml", "logback.xml"]
            .into_iter()
            .flat_map(|name| before_the_jar().map(move |directory| directory.join(name)))
            .collect()
    }
}

fn is_the_daemons_jar(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        name.to_string_lossy()
            .starts_with("amazon-kinesis-client-multilang")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(found: Vec<PathBuf>) -> Vec<String> {
        found
            .into_iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn directories_come_in_order_and_jars_last() {
        let path = ClassPath::parse("/jars/*:/etc/app:::conf/*:/x/a.jar:/".as_ref());
        let name = Path::new("app.properties");
        assert_eq!(
            paths(path.candidates(name)),
            [
                "/etc/app/app.properties",
                "app.properties",
                "app.properties",
                "/x/a.jar/app.properties",
                "/app.properties"
            ]
        );
        assert_eq!(
            paths(path.last_resorts(name)),
            ["/jars/app.properties", "conf/app.properties"]
        );
        assert!(path.candidates(Path::new("/abs.properties")).is_empty());
        assert!(path.last_resorts(Path::new("/abs.properties")).is_empty());
        assert_eq!(ClassPath::parse("*".as_ref()).last_resorts(name), [name]);
    }

    #[test]
    fn logback_is_looked_for_before_the_daemons_own() {
        for (path, expected) in [
            (
                "conf:/jars/*",
                &["conf/logback-test.xml", "conf/logback.xml"][..],
            ),
            ("/jars/*:conf", &[]),
            (
                "/x/slf4j.jar:conf:/x/amazon-kinesis-client-multilang-3.5.1.jar:late",
                &[
                    "/x/slf4j.jar/logback-test.xml",
                    "conf/logback-test.xml",
                    "/x/slf4j.jar/logback.xml",
                    "conf/logback.xml",
                ],
            ),
        ] {
            let found = ClassPath::parse(path.as_ref()).logback_candidates();
            assert_eq!(paths(found), expected, "{path}");
        }
    }
}
