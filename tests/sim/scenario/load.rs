//! How busy the host of a process is.

use std::sync::Arc;

use async_trait::async_trait;
use kcl_daemon::ports::{LoadProbe, LoadSource};

use crate::world::{Process, World};

/// A host whose load wanders about an average of its own.
pub struct SimProbe {
    world: Arc<World>,
    average: f64,
}

impl SimProbe {
    pub fn new(world: &Arc<World>, process: &Process) -> Self {
        Self {
            world: Arc::clone(world),
            average: 5.0 + f64::from(process.number % 4) * 10.0,
        }
    }
}

#[async_trait]
impl LoadProbe for SimProbe {
    async fn detect(&self) -> LoadSource {
        LoadSource::Host
    }

    async fn sample(&self) -> Option<f64> {
        let noise = self.world.rng().below(1000) as f64 / 100.0;
        Some(self.average + noise)
    }
}
