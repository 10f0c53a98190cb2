//! The configuration: from the properties file, the environment and the command line to one typed,
//! validated [`DaemonConfig`] in which the origin of every value is known.
//!
//! * [`keys`] is the one table of all properties; parsing, defaults, did-you-mean and the
//!   documentation come from it.
//! * [`properties`] reads the file as Java does, [`convert`] and [`value`] turn texts into values,
//!   [`credentials`] reads the providers' grammar.
//! * [`load`] does all of it and reports every error of a file at once.
//!
//! Nothing here reads files, the environment or the clock. Rules: `properties.md`; `decisions.md`.

pub mod arn;
mod build;
mod checks;
pub mod convert;
pub mod credentials;
mod daemon_config;
mod endpoints;
mod expand;
pub mod keys;
mod origin;
pub mod properties;
pub mod retrieval_mode;
mod settings;
mod sources;
mod suggest;
pub mod sylvite;
mod unknown;
pub mod value;
mod words;

pub use build::load;
pub use daemon_config::{
    ChildConfig, CoordinatorConfig, Credentials, DaemonConfig, Dimensions, EffectiveValue,
    Endpoints, FanoutConfig, HandoffConfig, Identity, LeaseConfig, LocalConfig, ManagedConfig,
    MetadataTable, MetricsConfig, PollingConfig, PrefetchConfig, RetrievalConfig, ServiceEndpoint,
    StreamIdentity, UtilisationConfig,
};
pub use origin::{ConfigError, ConfigErrors, Notice, Notices, Origin, Severity};
pub use sources::{Mode, Override, PropertiesFile, Sources};
pub use words::{
    ChildFailurePolicy, ClientVersionConfig, KplRangeFilter, LeaseAssignmentStrategy,
    ManagedCheckpoint, MetricsLevel, MultilangProtocol, OnPoison,
};

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
