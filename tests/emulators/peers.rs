//! Servers that we did not write, started on free ports of this host.

use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::Sandbox;
use super::support::services::free_port;
use super::tools::{Node, Tool};

/// A server under a tool's name; SIGKILL when it goes out of scope (kinesis-local ignores SIGTERM when busy).
pub struct Peer {
    process: Child,
    endpoint: String,
}

impl Peer {
    /// ferrokinesis: Kinesis for volume; the arguments come after the usual ones.
    pub fn ferrokinesis(sandbox: &Sandbox, arguments: &[&str]) -> Option<Self> {
        let program = Tool::Ferrokinesis.installed()?.join("bin/ferrokinesis");
        Some(Self::start(sandbox, "ferrokinesis", |port| {
            let mut command = Command::new(&program);
            command
                .args([
                    "--port",
                    &port.to_string(),
                    "--shard-limit",
                    "500",
                    "--log-level",
                    "off",
                ])
                .args(["--create-stream-ms", "0"])
                .args(arguments);
            command
        }))
    }

    /// dynoxide: DynamoDB.
    pub fn dynoxide(sandbox: &Sandbox) -> Option<Self> {
        let program = Tool::Dynoxide.installed()?.join("bin/dynoxide");
        Some(Self::start(sandbox, "dynoxide", |port| {
            let mut command = Command::new(&program);
            command.args(["--port", &port.to_string(), "--log", "quiet"]);
            command
        }))
    }

    /// kinesis-local, which is kinesis-mock: Kinesis for resharding.
    pub fn kinesis_local(sandbox: &Sandbox) -> Option<Self> {
        let package = Tool::KinesisLocal
            .installed()?
            .join("node_modules/kinesis-local");
        // Found before, or the tool would not be there.
        let node = Node::found().ok()?;
        Some(Self::start(sandbox, "kinesis-local", |port| {
            let mut command = node.node();
            command
                .arg(package.join("main.js"))
                .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
                .env("KINESIS_MOCK_TLS_PORT", free_port().to_string())
                .env("KINESIS_MOCK_CERT_PATH", package.join("server.json"))
                .env("SHARD_LIMIT", "200")
                .env("LOG_LEVEL", "ERROR");
            command
        }))
    }

    /// ministack: both services.
    pub fn ministack(sandbox: &Sandbox) -> Option<Self> {
        let bin = Tool::Ministack.installed()?.join("bin");
        Some(Self::start(sandbox, "ministack", |port| {
            let mut command = script(&bin, "ministack");
            command
                .env("GATEWAY_PORT", port.to_string())
                .env("BIND_HOST", "127.0.0.1")
                .env("SERVICES", "kinesis,dynamodb,monitoring")
                .env("LOG_LEVEL", "WARNING");
            command
        }))
    }

    /// moto: used for DynamoDB; of its Kinesis not all is right.
    pub fn moto(sandbox: &Sandbox) -> Option<Self> {
        let bin = Tool::Moto.installed()?.join("bin");
        Some(Self::start(sandbox, "moto", |port| {
            let mut command = script(&bin, "moto_server");
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        }))
    }

    /// Where it listens, with scheme.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Starts a server and waits until it answers HTTP. Another process may take the free port in
    /// between; then another port is tried.
    fn start(sandbox: &Sandbox, name: &str, command: impl Fn(u16) -> Command) -> Self {
        const TRIES: u32 = 3;
        let log = sandbox.path().join(format!("{name}.log"));
        for _ in 0..TRIES {
            let port = free_port();
            let file = File::create(&log).expect("a log file");
            let process = command(port)
                .current_dir(sandbox.path())
                .stdin(Stdio::null())
                .stdout(file.try_clone().expect("the log file"))
                .stderr(file)
                .spawn()
                .unwrap_or_else(|cause| panic!("{name} cannot be started: {cause}"));
            let mut peer = Self {
                process,
                endpoint: format!("http://127.0.0.1:{port}"),
            };
            if peer.answers(port) {
                return peer;
            }
        }
        panic!("{name} does not answer; its log:\n{}", text(&log));
    }

    fn answers(&mut self, port: u16) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if self.process.try_wait().expect("a child of ours").is_some() {
                return false;
            }
            if says_something(port) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

/// A script of a virtual environment. Not by its first line, which names the folder that the environment
/// was made in: several worktrees may share one.
fn script(bin: &Path, name: &str) -> Command {
    let mut command = Command::new(bin.join("python"));
    command.arg(bin.join(name));
    command
}

/// Whether any HTTP answer comes; some servers accept connections before they can answer.
fn says_something(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        stream.read(&mut [0; 16])
    };
    ask().is_ok_and(|read| read > 0)
}

fn text(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
