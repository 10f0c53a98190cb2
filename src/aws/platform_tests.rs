use std::fs;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::aws::testing::FakeService;
use crate::os::clock::SystemClock;

/// A file system in a folder of its own.
struct Root(PathBuf);

impl Root {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("kcl-platform-{name}-{}", std::process::id()));
        let root = Self(path);
        for (file, content) in files {
            root.write(file, content);
        }
        root
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn platform(settings: PlatformSettings, instance: &FakeService) -> Platform {
    Platform::new(settings, instance.http(), Arc::new(SystemClock::new()))
}

/// No metadata service.
fn nobody() -> FakeService {
    FakeService::script(vec![crate::aws::testing::Reply::Refused])
}

/// The metadata service of an instance: a token first, then the document for whoever has it.
#[derive(Debug)]
struct Instance;

impl HttpConnector for Instance {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let has_token = request.headers().get("x-aws-ec2-metadata-token") == Some("token");
        let (status, body) = match (request.method(), request.uri()) {
            ("PUT", uri) if uri.ends_with("/latest/api/token") => (200, "token"),
            ("GET", uri) if uri.ends_with(IDENTITY) && has_token => {
                (200, r#"{"region":"eu-west-9"}"#)
            }
            _ => (401, ""),
        };
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        let headers = response.headers_mut();
        headers.insert("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        HttpConnectorFuture::ready(Ok(response))
    }
}

const TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount/token";

#[tokio::test]
async fn a_container_of_kubernetes_is_measured_by_its_limit() {
    let v2 = Root::new(
        "v2",
        &[
            (TOKEN, "t"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu"),
            (
                "sys/fs/cgroup/cpu.stat",
                "usage_usec 1000000\nuser_usec 1\n",
            ),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/cpuset.cpus.effective", "0-3\n"),
        ],
    );
    let settings = PlatformSettings {
        root: v2.0.clone(),
        ..PlatformSettings::default()
    };
    let probe = platform(settings, &nobody());
    assert_eq!(probe.sample().await, None, "before it knows where it is");
    assert_eq!(probe.detect().await, LoadSource::CgroupV2);
    assert_eq!(probe.sample().await, Some(0.0), "the first");
    v2.write("sys/fs/cgroup/cpu.stat", "usage_usec 999000000\n");
    assert_eq!(probe.sample().await, Some(100.0));
    v2.write("sys/fs/cgroup/cpu.max", "lots");
    assert_eq!(probe.sample().await, None);

    let v1 = Root::new(
        "v1",
        &[
            (TOKEN, "t"),
            ("sys/fs/cgroup/cpu/cpuacct.usage", "1000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpuset/cpuset.effective_cpus", "0,1\n"),
        ],
    );
    let settings = PlatformSettings {
        root: v1.0.clone(),
        ..PlatformSettings::default()
    };
    let probe = platform(settings, &nobody());
    assert_eq!(probe.detect().await, LoadSource::CgroupV1);
    assert_eq!(probe.sample().await, Some(0.0));
    assert_eq!(probe.sample().await, Some(0.0), "nothing was used");
}

#[tokio::test]
async fn an_instance_is_told_by_its_metadata_service_and_nothing_else() {
    let host = Root::new("host", &[("proc/stat", "cpu 10 0 10 80 0 0\n")]);
    let settings = |ask| PlatformSettings {
        root: host.0.clone(),
        ask_instance: ask,
        ..PlatformSettings::default()
    };
    let asked = nobody();
    assert_eq!(
        platform(settings(false), &asked).detect().await,
        LoadSource::Nothing
    );
    assert!(asked.seen().is_empty(), "it was told not to ask");
    assert_eq!(
        platform(settings(true), &asked).detect().await,
        LoadSource::Nothing
    );
    assert!(!asked.seen().is_empty());

    let instance = http_client_fn(|_, _| SharedHttpConnector::new(Instance));
    let probe = Platform::new(settings(true), instance, Arc::new(SystemClock::new()));
    assert_eq!(probe.detect().await, LoadSource::Host);
    assert_eq!(probe.sample().await, Some(0.0));
    host.write("proc/stat", "cpu 40 0 10 150 0 0\n");
    assert_eq!(probe.sample().await, Some(30.0));
}

#[tokio::test(start_paused = true)]
async fn a_metadata_service_that_never_answers_is_not_waited_for() {
    let host = Root::new("silent", &[("proc/stat", "cpu 10 0 10 80 0 0\n")]);
    let settings = PlatformSettings {
        root: host.0.clone(),
        ask_instance: true,
        ..PlatformSettings::default()
    };
    let clock = Arc::new(SystemClock::new());
    let silent = FakeService::script(vec![crate::aws::testing::Reply::Silent]);
    let probe = Platform::new(settings, silent.http(), clock.clone());
    let before = clock.now();
    assert_eq!(probe.detect().await, LoadSource::Nothing);
    assert!(clock.now().since(before) <= STEP * 2, "two seconds at most");
}

/// The container agent, for as many questions as are asked.
async fn agent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let spawner = crate::os::tasks::Spawner::current().unwrap();
    let task = spawner.spawn(async move {
        let mut asked = 0_u64;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio::io::BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let path = line.split(' ').nth(1).unwrap();
            let body = match path {
                "/v4/id/stats" => {
                    asked += 1;
                    json!({
                        "cpu_stats": {
                            "cpu_usage": {"total_usage": 1000 + 250 * asked},
                            "system_cpu_usage": 10_000 + 1000 * asked,
                            "online_cpus": 2,
                        },
                        "precpu_stats": {
                            "cpu_usage": {"total_usage": 750 + 250 * asked},
                            "system_cpu_usage": 9_000 + 1000 * asked,
                        },
                    })
                }
                "/v4/id/task" => json!({
                    "Limits": {"CPU": 2},
                    "Containers": [
                        {"DockerId": "me", "Limits": {"CPU": 256}},
                        {"DockerId": "other", "Limits": {"CPU": 256}},
                    ],
                }),
                "/v4/id" => json!({"DockerId": "me"}),
                _ => json!({}),
            };
            let answer = format!("HTTP/1.0 200 OK\r\n\r\n{body}");
            stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        }
    });
    // It serves for the rest of the test.
    std::mem::forget(task);
    format!("http://{address}/v4/id")
}

#[tokio::test]
async fn a_task_of_ecs_is_measured_by_its_share() {
    let settings = PlatformSettings {
        ecs_v4: Some(agent().await),
        ..PlatformSettings::default()
    };
    let probe = platform(settings, &nobody());
    assert_eq!(probe.detect().await, LoadSource::Ecs);
    // A quarter of two CPUs was used, of one that it may use.
    assert_eq!(probe.sample().await, Some(50.0));
    assert_eq!(probe.sample().await, Some(50.0));

    let old = PlatformSettings {
        ecs_v3: true,
        ..PlatformSettings::default()
    };
    let probe = platform(old, &nobody());
    assert_eq!(probe.detect().await, LoadSource::Ecs);
    assert_eq!(probe.sample().await, None);

    let gone = PlatformSettings {
        ecs_v4: Some("http://127.0.0.1:9/v4".to_owned()),
        ..PlatformSettings::default()
    };
    let probe = platform(gone, &nobody());
    assert_eq!(probe.detect().await, LoadSource::Ecs);
    assert_eq!(probe.sample().await, None);
}
