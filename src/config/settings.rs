//! The value of every key of the table, and access to them by type.

use super::credentials::ProviderChain;
use super::keys::{self, KeySpec};
use super::origin::Origin;
use super::value::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rank of a source; the highest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// Nobody set it.
    Default,
    /// A mode's default.
    Preset,
    /// The file.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

/// The value of one key.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The row.
    pub spec: &'static KeySpec,
    /// The value; `None` if the key is absent and has no fixed default.
    pub value: Option<Value>,
    /// Who set it.
    pub origin: Origin,
    /// The rank of that source.
    pub layer: Layer,
}

/// All keys of the table with their values.
#[derive(Debug, Clone)]
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// All rows of the table with what was found for them.
    pub const fn new(settings: BTreeMap<&'static str, Setting>) -> Self {
        Self(settings)
    }

    /// The setting of a row. `None` only if a caller misspells a name, which every test of the
    /// loader would show.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        let found = self.0.get(name);
        debug_assert!(found.is_some(), "no key '{name}' in the table");
        found
    }

    /// All settings, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        keys::all().filter_map(|spec| self.0.get(spec.name))
    }

    /// Gives a value to a key that has none.
    pub fn fill(&mut self, name: &'static str, value: Value, origin: Origin) {
        if let Some(setting) = self.0.get_mut(name)
            && setting.value.is_none()
        {
            setting.value = Some(value);
            setting.origin = origin;
        }
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.get(key)?.value.as_ref()
    }

    /// A whole number; `None` if the key is absent.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A count. The table keeps negative numbers out.
    pub fn u64(&self, key: &str) -> u64 {
        self.int(key).map_or(0, |n| u64::try_from(n).unwrap_or(0))
    }

    /// A count that fits 32 bits, as every `Int` of the table does.
    pub fn u32(&self, key: &str) -> u32 {
        u32::try_from(self.u64(key)).unwrap_or(u32::MAX)
    }

    /// A length of time in milliseconds.
    pub fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.u64(key))
    }

    /// A length of time in milliseconds; `None` if absent or 0.
    pub fn millis_above_zero(&self, key: &str) -> Option<Duration> {
        Some(self.millis(key)).filter(|d| !d.is_zero())
    }

    /// A length of time in seconds.
    pub fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.u64(key))
    }

    /// A length of time.
    pub fn duration(&self, key: &str) -> Duration {
        match self.value(key) {
            Some(Value::Duration(duration)) => *duration,
            _ => Duration::ZERO,
        }
    }

    /// A number; `None` if the key is absent.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// A switch.
    pub fn bool(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Bool(true)))
    }

    /// A text; `None` if the key is absent or empty.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A word, as the table spells it.
    pub fn word(&self, key: &str) -> &'static str {
        match self.value(key) {
            Some(Value::Word(word)) => word,
            _ => "",
        }
    }

    /// Names.
    pub fn names(&self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(Value::Names(names)) => names.clone(),
            _ => Vec::new(),
        }
    }

    /// Tags.
    pub fn tags(&self, key: &str) -> Vec<(String, String)> {
        match self.value(key) {
            Some(Value::Tags(tags)) => tags.clone(),
            _ => Vec::new(),
        }
    }

    /// Credentials providers.
    pub fn providers(&self, key: &str) -> Option<ProviderChain> {
        match self.value(key)? {
            Value::Credentials(chain) => Some(chain.clone()),
            _ => None,
        }
    }
}
