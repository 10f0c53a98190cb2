//! `executableName` → words, and the file that the first one names (`protocol.md` §3).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where a name without `/` is looked for when `PATH` is not set.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// Why a command cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no word, or the first one is empty.
    #[error(
        "executableName '{0}' does not begin with a program: write the program first, without blanks before it"
    )]
    Empty(String),
    /// A path that leads nowhere.
    #[error("the program '{0}' of executableName does not exist{1}")]
    NotFound(String, &'static str),
    /// A name that no directory of `PATH` holds.
    #[error("the program '{0}' of executableName is in no directory of PATH{1}")]
    NotInPath(String, &'static str),
    /// It is there, but is not a program.
    #[error("'{}' of executableName cannot be executed: it is {why}", .file.display())]
    NotExecutable {
        /// The file.
        file: PathBuf,
        /// What it is instead of a program.
        why: &'static str,
    },
}

/// Splits a command as Java does: at runs of U+0020 and nothing else. No quotes, no escapes, no
/// variables; a tab belongs to its word. Blanks at the end are dropped, but those at the beginning
/// leave an empty first word.
#[must_use]
pub fn tokenise(command: &str) -> Vec<String> {
    let trimmed = command.trim_end_matches(' ');
    let Some((first, rest)) = trimmed.split_once(' ') else {
        return vec![trimmed.to_owned()];
    };
    std::iter::once(first)
        .chain(rest.split(' ').filter(|word| !word.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// Finds the file that a command will run, so that a mistake is noticed before anything starts.
/// `path` is the variable `PATH`; `cwd` is what relative paths are relative to.
///
/// # Errors
/// [`CommandError`].
pub fn resolve(command: &str, path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, CommandError> {
    let words = tokenise(command);
    let name = words.first().map(String::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(CommandError::Empty(command.to_owned()));
    }
    if name.contains('/') {
        let file = cwd.join(name);
        return match look_at(&file) {
            Found::Program => Ok(file),
            Found::Nothing => Err(CommandError::NotFound(name.to_owned(), hint(name))),
            Found::Other(why) => Err(CommandError::NotExecutable { file, why }),
        };
    }
    let mut other = None;
    for directory in path
        .unwrap_or(OsStr::new(DEFAULT_PATH))
        .as_bytes()
        .split(|b| *b == b':')
    {
        // An empty entry is the current directory, by old custom.
        let file = cwd.join(OsStr::from_bytes(directory)).join(name);
        match look_at(&file) {
            Found::Program => return Ok(file),
            Found::Nothing => {}
            Found::Other(why) => other = other.or(Some((file, why))),
        }
    }
    Err(match other {
        Some((file, why)) => CommandError::NotExecutable { file, why },
        None => CommandError::NotInPath(name.to_owned(), hint(name)),
    })
}

enum Found {
    Program,
    Nothing,
    Other(&'static str),
}

fn look_at(file: &Path) -> Found {
    let Ok(metadata) = std::fs::metadata(file) else {
        return Found::Nothing;
    };
    if metadata.is_dir() {
        Found::Other("a directory")
    } else if access(file, Access::EXEC_OK).is_err() {
        Found::Other("not marked as executable for this user (chmod +x)")
    } else {
        Found::Program
    }
}

/// What people expect of the syntax and is not so.
fn hint(name: &str) -> &'static str {
    if name.contains('\t') {
        " (a tab does not separate words, only blanks do)"
    } else if name.contains(['"', '\'', '\\', '$', '~']) {
        " (quotes, backslashes, variables and ~ have no meaning there; for a path with blanks use a script)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn words_as_java_finds_them() {
        let table: [(&str, &[&str]); 10] = [
            ("app.py", &["app.py"]),
            (
                r#"python3   x.py "a b" $HOME"#,
                &["python3", "x.py", "\"a", "b\"", "$HOME"],
            ),
            ("node consumer.js  ", &["node", "consumer.js"]),
            ("python3\tx.py", &["python3\tx.py"]),
            ("a\tb  c\n", &["a\tb", "c\n"]),
            (" app.py x", &["", "app.py", "x"]),
            ("  app.py", &["", "app.py"]),
            ("a\u{a0}b c\u{2003}d", &["a\u{a0}b", "c\u{2003}d"]),
            ("", &[""]),
            ("   ", &[""]),
        ];
        for (command, expected) in table {
            assert_eq!(tokenise(command), expected, "{command:?}");
        }
    }

    #[test]
    fn the_file_is_looked_up_as_execvp_does() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let make = |path: &str, mode| {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        make("bin/app", 0o755);
        make("other/app", 0o755);
        make("other/only", 0o755);
        make("bin/only", 0o644);
        make("bin/data", 0o644);
        make("here", 0o755);
        std::fs::create_dir(root.join("bin/folder")).unwrap();
        let path = format!(
            "{}/bin:{}/missing:{}/other",
            root.display(),
            root.display(),
            root.display()
        );

        let found = |command: &str, path: &str| resolve(command, Some(OsStr::new(path)), root);
        assert_eq!(found("app x y", &path), Ok(root.join("bin/app")));
        assert_eq!(
            found("only", &path),
            Ok(root.join("other/only")),
            "the other is no program"
        );
        assert_eq!(found("bin/app", "/nonexistent"), Ok(root.join("bin/app")));
        assert_eq!(found("./here", ""), Ok(root.join("./here")));
        assert_eq!(found("here", "/nonexistent:"), Ok(root.join("here")));
        assert_eq!(found("app", "/nonexistent:bin"), Ok(root.join("bin/app")));
        let absolute = root.join("other/app");
        assert_eq!(
            found(&format!("{} x", absolute.display()), ""),
            Ok(absolute)
        );
        assert_eq!(resolve("sh", None, root), Ok(PathBuf::from("/usr/bin/sh")));

        for (command, expected) in [
            ("", "does not begin with a program"),
            (" app", "does not begin with a program"),
            ("missing", "in no directory of PATH"),
            ("./missing", "does not exist"),
            ("here", "in no directory of PATH"),
            ("data", "chmod +x"),
            ("bin/data", "chmod +x"),
            ("bin/folder", "a directory"),
            ("app\tx", "a tab does not separate"),
            ("\"app\" x", "quotes"),
            ("~/app", "~ have no meaning"),
        ] {
            let text = found(command, &path).unwrap_err().to_string();
            assert!(text.contains(expected), "{command:?}: {text}");
        }
    }
}
