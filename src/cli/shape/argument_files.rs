//! `@file`: the lines of a file in the place of an argument, as JCommander puts them in
//! (`properties.md` §9).

use std::ffi::OsString;
use std::path::Path;

use crate::cli::shape::{Misuse, Reader};

/// Puts the lines of argument files in. A line is one argument, whatever blanks it has; empty lines
/// and lines that begin with `#` do not count; lines that begin with `@` are no argument files.
///
/// # Errors
/// A file that cannot be read.
pub fn expand(arguments: Vec<OsString>, read: Reader<'_>) -> Result<Vec<OsString>, Misuse> {
    let mut all = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let file = argument.to_str().and_then(|text| text.strip_prefix('@'));
        let Some(file) = file else {
            all.push(argument);
            continue;
        };
        let bytes = read(Path::new(file)).map_err(|error| Misuse::ArgumentFile {
            file: file.to_owned(),
            cause: error.to_string(),
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.trim().starts_with('#'));
        all.extend(lines.map(|line| OsString::from(line.trim())));
    }
    Ok(all)
}
