//! What stands before the class name or behind `-jar` in a line for the `java` launcher.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::cli::shape::java::JavaClass;

/// Options of the launcher whose value is the next argument.
const WITH_VALUE: [&str; 16] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-reads",
    "--add-exports",
    "--add-opens",
    "--limit-modules",
    "--patch-module",
    "--enable-native-access",
    "--illegal-native-access",
    "--describe-module",
    "--source",
];

/// A line for `java`, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jvm {
    /// The class path of the line; the last one counts.
    pub class_path: Option<OsString>,
    /// `-Dname=value`; the last of a name counts.
    pub system_properties: BTreeMap<String, String>,
    /// Options that are the JVM's own business, without their values: there may be secrets in them.
    pub ignored: Vec<String>,
    /// Which daemon it starts, if it does.
    pub daemon: Option<JavaClass>,
    /// What `-jar` names, if no daemon's class is there.
    pub jar: Option<OsString>,
    /// `-version` (true) or `--version` (false) before anything is started.
    pub version: Option<bool>,
    /// The first argument that is neither option nor an option's value: what Java would start.
    pub first_word: Option<OsString>,
    /// What comes behind the class or the jar.
    pub arguments: Vec<OsString>,
}

impl Jvm {
    /// A line that is not for `java`: all of it are arguments of what is started.
    pub fn without_options(arguments: Vec<OsString>) -> Self {
        Self {
            arguments,
            ..Self::default()
        }
    }

    /// Takes a line apart.
    ///
    /// A daemon's class counts wherever it stands: wrappers put options of their own before it, and
    /// which of them take a value is not known of all.
    pub fn read(words: &[OsString]) -> Self {
        let mut jvm = Self::default();
        let class = words
            .iter()
            .position(|word| JavaClass::named(word).is_some());
        let before = class.map_or(words, |at| words.get(..at).unwrap_or_default());
        if let Some(at) = class {
            jvm.daemon = words.get(at).and_then(|word| JavaClass::named(word));
            jvm.arguments = words.get(at + 1..).unwrap_or_default().to_vec();
        }
        let mut rest = before.iter();
        while let Some(word) = rest.next() {
            match jvm.option(word, &mut rest) {
                Went::On => {}
                Went::ToTheJar(jar) if class.is_none() => {
                    jvm.jar = Some(jar);
                    jvm.arguments = rest.cloned().collect();
                    break;
                }
                // `-jar X` before a daemon's class: the class is an argument of X.
                Went::ToTheJar(_) => jvm.ignored.push("-jar".to_owned()),
                Went::ToAWord if class.is_none() => {
                    jvm.first_word = Some(word.clone());
                    break;
                }
                Went::ToAWord => jvm.ignored.push(word.to_string_lossy().into_owned()),
            }
        }
        jvm
    }

    fn option<'a>(&mut self, word: &OsStr, rest: &mut impl Iterator<Item = &'a OsString>) -> Went {
        let Some(text) = word.to_str() else {
            self.ignored.push(without_value(&word.to_string_lossy()));
            return Went::On;
        };
        if let Some(definition) = text.strip_prefix("-D") {
            let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
            self.system_properties
                .insert(name.to_owned(), value.to_owned());
            return Went::On;
        }
        if let Some(path) = text.strip_prefix("--class-path=") {
            self.class_path = Some(path.into());
            return Went::On;
        }
        match text {
            "-cp" | "-classpath" | "--class-path" => {
                self.class_path = rest.next().cloned();
                Went::On
            }
            "-jar" => rest
                .next()
                .map_or(Went::On, |jar| Went::ToTheJar(jar.clone())),
            "-version" | "-fullversion" => {
                self.version = Some(true);
                Went::On
            }
            "--version" | "--full-version" => {
                self.version = Some(false);
                Went::On
            }
            _ if WITH_VALUE.contains(&text) => {
                rest.next();
                self.ignored.push(text.to_owned());
                Went::On
            }
            _ if text.starts_with(['-', '@']) => {
                self.ignored.push(without_value(text));
                Went::On
            }
            _ => Went::ToAWord,
        }
    }
}

/// Where an argument took the reader.
enum Went {
    On,
    ToTheJar(OsString),
    ToAWord,
}

/// `-agentlib:x=y` → `-agentlib`.
fn without_value(option: &str) -> String {
    option
        .split(['=', ':'])
        .next()
        .unwrap_or_default()
        .to_owned()
}
