//! Identifiers, each a type of its own: a plain string never crosses a module boundary as an id.

use std::fmt;
use std::sync::Arc;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            #[must_use]
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A shard of the stream, e.g. `shardId-000000000012`.
    ShardId
);
id!(
    /// The key of a lease row. For a single stream it is the shard id (`leases.md` A.4).
    LeaseKey
);
id!(
    /// The owner that a worker writes into `leaseOwner`.
    WorkerId
);

impl LeaseKey {
    /// The lease of a shard in a single-stream application.
    #[must_use]
    pub fn of_shard(shard: &ShardId) -> Self {
        Self(Arc::clone(&shard.0))
    }

    /// The shard this lease is for: the text behind the last colon of a multi-stream key, else all of it.
    #[must_use]
    pub fn shard_id(&self) -> ShardId {
        match self.0.rsplit_once(':') {
            Some((_, shard)) => ShardId::new(shard),
            None => ShardId(Arc::clone(&self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_key() {
        assert_eq!(
            LeaseKey::new("shardId-3").shard_id(),
            ShardId::new("shardId-3")
        );
        assert_eq!(
            LeaseKey::new("111122223333:orders:1700000000:shardId-3").shard_id(),
            ShardId::new("shardId-3")
        );
    }
}
