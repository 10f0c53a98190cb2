//! `kcl-daemon local serve`: the embedded Kinesis and DynamoDB as a process of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::processes;
use super::properties::{Endpoints, Properties};
use super::sandbox::Sandbox;

/// The services; they end with this value.
pub struct Services {
    process: Child,
    endpoint: String,
}

impl Services {
    /// Starts them with these streams and their numbers of shards.
    pub fn embedded(sandbox: &Sandbox, streams: &[(&str, u32)]) -> Self {
        Self::on_port(sandbox, streams, 0)
    }

    /// As [`Self::embedded`], on a given port.
    pub fn on_port(sandbox: &Sandbox, streams: &[(&str, u32)], port: u16) -> Self {
        Self::with(sandbox, streams, port, &[])
    }

    /// As [`Self::on_port`], with more arguments.
    pub fn with(sandbox: &Sandbox, streams: &[(&str, u32)], port: u16, arguments: &[&str]) -> Self {
        let log = sandbox.path().join("services.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kcl-daemon"));
        command.args(["local", "serve", "--port", &port.to_string()]);
        for (name, shards) in streams {
            command.args(["--stream", &format!("{name}:{shards}")]);
        }
        let mut process = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("kcl-daemon can be started");
        let stdout = process.stdout.take().expect("STDOUT is a pipe");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line of the services");
        let Some(endpoint) = line.trim_end().strip_prefix("Kinesis and DynamoDB at ") else {
            let _ = process.kill();
            let _ = process.wait();
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("kcl-daemon local serve says {line:?}, and on STDERR: {log}");
        };
        Self {
            endpoint: endpoint.to_owned(),
            process,
        }
    }

    /// The URL of Kinesis.
    pub fn kinesis_endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The URL of DynamoDB.
    pub fn dynamodb_endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Both.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            kinesis: self.endpoint.clone(),
            dynamodb: self.endpoint.clone(),
        }
    }

    /// [`Properties::new`] for these services.
    pub fn properties(&self, application: &str, stream: &str, executable: &str) -> Properties {
        Properties::new(&self.endpoints(), application, stream, executable)
    }

    /// They hang: connections open, nothing is answered.
    pub fn pause(&self) {
        processes::signal(self.process.id(), Signal::STOP);
    }

    /// They go on.
    pub fn resume(&self) {
        processes::signal(self.process.id(), Signal::CONT);
    }

    /// They are gone, and all they held.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of the loopback interface on which nobody listens at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
