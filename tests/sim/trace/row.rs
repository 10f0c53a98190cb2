//! Rows of the lease table as the simulation keeps them.

use std::collections::BTreeMap;

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::sequence::ExtendedSequenceNumber;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A lease, and attributes of it that nobody knows.
    Lease {
        /// The lease.
        lease: Lease,
        /// Attribute → value.
        extra: BTreeMap<String, String>,
    },
    /// Anything else.
    Other(Other),
}

/// A row that is no lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Other {
    /// Its key.
    pub key: LeaseKey,
    /// Its `entityType`; `None` for a row that looks like a lease and cannot be read.
    pub kind: Option<String>,
    /// Attribute → value.
    pub attributes: BTreeMap<String, String>,
}

impl Row {
    /// A lease without unknown attributes.
    pub fn lease(lease: Lease) -> Self {
        Self::Lease {
            lease,
            extra: BTreeMap::new(),
        }
    }

    /// Its key.
    pub fn key(&self) -> &LeaseKey {
        match self {
            Self::Lease { lease, .. } => &lease.key,
            Self::Other(other) => &other.key,
        }
    }

    /// The lease it is.
    pub fn as_lease(&self) -> Option<&Lease> {
        match self {
            Self::Lease { lease, .. } => Some(lease),
            Self::Other(_) => None,
        }
    }

    /// Who owns the lease that it is.
    pub fn owner(&self) -> Option<&WorkerId> {
        self.as_lease().and_then(|lease| lease.owner.as_ref())
    }

    /// The checkpoint of the lease that it is.
    pub fn checkpoint(&self) -> Option<&ExtendedSequenceNumber> {
        self.as_lease().map(|lease| &lease.checkpoint)
    }

    /// Whether it is the lease of a finished shard.
    pub fn is_finished(&self) -> bool {
        self.as_lease().is_some_and(Lease::is_finished)
    }
}
