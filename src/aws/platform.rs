//! What this worker's load is measured from (`leases.md` C.10): the container agent of ECS, control
//! groups on Kubernetes, or the host of an EC2 instance. A worker on anything else measures nothing, and
//! its load is that of its leases.
//!
//! Java asks the instance's metadata service from its constructor and waits up to 20 s off AWS. Here
//! that goes on beside everything else, with a second for each step.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::imds;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::debug;

use crate::core::cpu::{
    GroupCpu, HostCpu, ecs_busy, ecs_limit, ecs_online_cpus, limit_v1, limit_v2,
};
use crate::os::time::within;
use crate::ports::{Clock, LoadProbe, LoadSource};

/// The longest that one step may take.
const STEP: Duration = Duration::from_secs(1);
/// What only an EC2 instance is told.
const IDENTITY: &str = "/latest/dynamic/instance-identity/document";
/// Most bytes of an answer of the container agent.
const MOST: u64 = 1 << 20;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct PlatformSettings {
    /// `ECS_CONTAINER_METADATA_URI_V4`.
    pub ecs_v4: Option<String>,
    /// Whether `ECS_CONTAINER_METADATA_URI` is set: ECS, with an agent that tells too little.
    pub ecs_v3: bool,
    /// `AWS_EC2_METADATA_DISABLED` is not `true`.
    pub ask_instance: bool,
    /// `/`, but for tests.
    pub root: PathBuf,
}

/// What was read last, to which the next reading is compared.
enum Last {
    Nothing,
    Host(HostCpu),
    Group(GroupCpu),
}

struct State {
    source: LoadSource,
    last: Last,
    ecs_limit: Option<f64>,
}

/// The probe.
pub struct Platform {
    settings: PlatformSettings,
    http: SharedHttpClient,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Platform {
    /// A probe that has not looked yet.
    #[must_use]
    pub fn new(settings: PlatformSettings, http: SharedHttpClient, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            http,
            clock,
            state: Mutex::new(State {
                source: LoadSource::Nothing,
                last: Last::Nothing,
                ecs_limit: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left behind is at worst one wrong figure.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.settings.root.join(path)
    }

    async fn find(&self) -> LoadSource {
        if self.settings.ecs_v4.is_some() || self.settings.ecs_v3 {
            return LoadSource::Ecs;
        }
        let there = |path: &'static str| {
            let path = self.path(path);
            async move { tokio::fs::try_exists(path).await.unwrap_or(false) }
        };
        if there("var/run/secrets/kubernetes.io/serviceaccount/token").await {
            return if there("sys/fs/cgroup/cgroup.controllers").await {
                LoadSource::CgroupV2
            } else {
                LoadSource::CgroupV1
            };
        }
        let may_ask = self.settings.ask_instance && there("proc/stat").await;
        if may_ask && self.is_instance().await {
            return LoadSource::Host;
        }
        LoadSource::Nothing
    }

    async fn is_instance(&self) -> bool {
        let config = ProviderConfig::without_region()
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_http_client(self.http.clone());
        let client = imds::Client::builder()
            .configure(&config)
            .connect_timeout(STEP)
            .read_timeout(STEP)
            .max_attempts(1)
            .build();
        match within(&*self.clock, STEP * 2, client.get(IDENTITY)).await {
            Ok(answer) => answer.is_ok(),
            Err(_elapsed) => false,
        }
    }

    async fn read(&self, path: &str) -> Result<String, String> {
        let path = self.path(path);
        tokio::fs::read_to_string(&path)
            .await
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    async fn measure(&self) -> Result<f64, String> {
        let source = self.state().source;
        match source {
            LoadSource::Nothing => Err("nothing to measure".to_owned()),
            LoadSource::Host => {
                let now = HostCpu::parse(&self.read("proc/stat").await?).map_err(text)?;
                let last = std::mem::replace(&mut self.state().last, Last::Host(now));
                Ok(match last {
                    Last::Host(last) => now.busy_since(last),
                    Last::Nothing | Last::Group(_) => 0.0,
                })
            }
            LoadSource::CgroupV2 => {
                let usage = self.read("sys/fs/cgroup/cpu.stat").await?;
                let now = GroupCpu::parse_v2(&usage, self.clock.now()).map_err(text)?;
                let limit = limit_v2(
                    &self.read("sys/fs/cgroup/cpu.max").await?,
                    &self.read("sys/fs/cgroup/cpuset.cpus.effective").await?,
                );
                Ok(self.group(now, limit.map_err(text)?))
            }
            LoadSource::CgroupV1 => {
                let usage = self.read("sys/fs/cgroup/cpu/cpuacct.usage").await?;
                let now = GroupCpu::parse_v1(&usage, self.clock.now()).map_err(text)?;
                let limit = limit_v1(
                    &self.read("sys/fs/cgroup/cpu/cpu.cfs_quota_us").await?,
                    &self.read("sys/fs/cgroup/cpu/cpu.cfs_period_us").await?,
                    &self
                        .read("sys/fs/cgroup/cpuset/cpuset.effective_cpus")
                        .await?,
                );
                Ok(self.group(now, limit.map_err(text)?))
            }
            LoadSource::Ecs => self.measure_ecs().await,
        }
    }

    fn group(&self, now: GroupCpu, limit: f64) -> f64 {
        let last = std::mem::replace(&mut self.state().last, Last::Group(now));
        match last {
            Last::Group(last) => now.busy_since(last, limit),
            Last::Nothing | Last::Host(_) => 0.0,
        }
    }

    async fn measure_ecs(&self) -> Result<f64, String> {
        let Some(uri) = &self.settings.ecs_v4 else {
            return Err(
                "the container agent is older than ECS_CONTAINER_METADATA_URI_V4".to_owned(),
            );
        };
        let stats = self.ask(&format!("{uri}/stats")).await?;
        let known = self.state().ecs_limit;
        let limit = match known {
            Some(limit) => limit,
            None => {
                let (task, container) = (
                    self.ask(&format!("{uri}/task")).await?,
                    self.ask(uri).await?,
                );
                let online = ecs_online_cpus(&stats).unwrap_or(1.0);
                let limit = ecs_limit(&task, &container, online).map_err(text)?;
                self.state().ecs_limit = Some(limit);
                limit
            }
        };
        ecs_busy(&stats, limit).map_err(text)
    }

    async fn ask(&self, uri: &str) -> Result<Value, String> {
        let body = match within(&*self.clock, STEP, get(uri)).await {
            Ok(body) => body.map_err(|error| format!("{uri}: {error}"))?,
            Err(_elapsed) => return Err(format!("{uri}: no answer within a second")),
        };
        serde_json::from_str(&body).map_err(|error| format!("{uri}: {error}"))
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The answer to a GET of HTTP/1.0, in which the end of the connection is the end of the body. The
/// container agent is a plain server on a link-local address.
async fn get(uri: &str) -> Result<String, String> {
    let rest = uri
        .strip_prefix("http://")
        .ok_or("an address that does not begin with http://")?;
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let address = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut stream = TcpStream::connect(&address).await.map_err(text)?;
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    stream
        .take(MOST)
        .read_to_end(&mut answer)
        .await
        .map_err(text)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("an answer that is not HTTP")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status == "200" {
        Ok(body.to_owned())
    } else {
        Err(format!("status {status}"))
    }
}

#[async_trait]
impl LoadProbe for Platform {
    async fn detect(&self) -> LoadSource {
        let source = self.find().await;
        self.state().source = source;
        source
    }

    async fn sample(&self) -> Option<f64> {
        match self.measure().await {
            Ok(value) => Some(value),
            Err(why) => {
                debug!("the load of this worker cannot be measured: {why}");
                None
            }
        }
    }
}

/// The root of the file system.
#[must_use]
pub fn root() -> PathBuf {
    Path::new("/").to_owned()
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
