//! Java's daemon as a process under test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::sandbox::MARK;
use super::support::{Properties, Sandbox, processes};

/// Tells the files of one sandbox's daemons apart.
static NUMBER: AtomicU32 = AtomicU32::new(1);

const LOGBACK: &str = r#"<configuration><appender name="E" class="ch.qos.logback.core.ConsoleAppender"><target>System.err</target>
<encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} %msg%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="E"/></root></configuration>"#;

/// Which Java.
#[derive(Debug, Clone)]
pub struct Java {
    class_path: String,
    main: &'static str,
    system: Vec<(&'static str, String)>,
}

impl Java {
    /// The daemon as it is published.
    pub fn published(class_path: &str) -> Self {
        Self {
            class_path: class_path.to_owned(),
            main: "software.amazon.kinesis.multilang.MultiLangDaemon",
            system: Vec::new(),
        }
    }

    /// Our launcher of it, which reads keys of the core from system properties.
    pub fn launcher(class_path: &str) -> Self {
        Self {
            main: "software.amazon.kinesis.multilang.Launcher",
            ..Self::published(class_path)
        }
    }

    /// With a key of the core.
    #[must_use]
    pub fn core(mut self, key: &'static str, value: impl ToString) -> Self {
        self.system.push((key, value.to_string()));
        self
    }
}

/// A running Java daemon; SIGKILL when it goes out of scope.
pub struct JavaDaemon {
    process: Child,
    log: PathBuf,
    name: String,
}

impl JavaDaemon {
    /// Starts it with these properties and this worker id.
    pub fn start(sandbox: &Sandbox, java: &Java, worker: &str, properties: &Properties) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let properties = properties.clone().set("workerId", worker);
        let file = properties.write(sandbox, &format!("java-{number}.properties"));
        let logback = sandbox.write("logback.xml", LOGBACK);
        let log = sandbox.path().join(format!("java-{number}-{worker}.log"));
        let output = File::create(&log).expect("a log file");
        let process = Command::new("java")
            // Two cores are shared by services, children and several JVMs.
            .args([
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Daws.cborEnabled=false",
            ])
            // 2.7.2 lacks a library that its --log-configuration needs.
            .arg(format!("-Dlogback.configurationFile={}", logback.display()))
            .args(
                java.system
                    .iter()
                    .map(|(key, value)| format!("-Dcore.{key}={value}")),
            )
            .args(["-cp", &java.class_path, java.main])
            .arg("--properties-file")
            .arg(&file)
            .envs(properties.variables())
            .env(MARK, sandbox.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log file"))
            .stderr(output)
            .spawn()
            .expect("java can be started");
        Self {
            process,
            log,
            name: worker.to_owned(),
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) {
        processes::signal(self.process.id(), Signal::TERM);
        self.wait_end();
    }

    /// SIGKILL, and waits for the end. Its children end when their STDIN does.
    pub fn kill9(&mut self) {
        processes::signal(self.process.id(), Signal::KILL);
        self.wait_end();
    }

    fn wait_end(&mut self) {
        let start = Instant::now();
        while self.process.try_wait().expect("a child of ours").is_none() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{} does not end:\n{}",
                self.name,
                self.log_end()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sees that it runs.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        let exit = self.process.try_wait().expect("a child of ours");
        assert!(exit.is_none(), "{} ended: {}", self.name, self.log_end());
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for JavaDaemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- log of the Java daemon {}:\n{}\n---",
                self.name,
                self.log_end()
            );
        }
    }
}
