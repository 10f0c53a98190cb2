//! What starts the Java daemon today starts ours: helpers of the client libraries as they are in their
//! registries, and lines as Rake, .NET and sylvite make them. Each time records are processed, and the
//! daemon stops gracefully.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::processes::{self, Process};
use crate::support::recorder::python;
use crate::support::{Aws, Daemon, Exit, Properties, Recorder, Sandbox, Services, skipped, until};
use crate::tools::{self, Node, Sdist};
use crate::{AMAZON_KCLPY_1, AMAZON_KCLPY_3, AWS_KCL_2};

const STREAM: &str = "stream";
const CLASS: &str = "software.amazon.kinesis.multilang.MultiLangDaemon";

/// Interpreters start slowly when the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a launcher tells how the daemon ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tells {
    /// Its exit code is the daemon's.
    ExitCode,
    /// It ends with 0 whatever happened.
    Nothing,
}

/// A stream with records in it, and a processor that writes down what it gets.
struct Scene {
    services: Services,
    recorder: Recorder,
    ids: Vec<String>,
    sandbox: Sandbox,
}

impl Scene {
    fn new(name: &str) -> Self {
        let sandbox = Sandbox::new(name);
        let services = Services::embedded(&sandbox, &[(STREAM, 2)]);
        let aws = Aws::at(&services.endpoints());
        let puts = aws.put(STREAM, "r", 0, 40);
        Self {
            recorder: Recorder::new(&sandbox),
            ids: puts.into_iter().map(|put| put.id).collect(),
            services,
            sandbox,
        }
    }

    /// The usual file. The environment has names that only sylvite reads, all of them wrong.
    fn properties(&self) -> Properties {
        self.services
            .properties("launched", STREAM, &self.recorder.command())
            .environment("STREAM_NAME", "elsewhere")
            .environment("APPLICATION_NAME", "elsewhere")
            .environment("CONFIG", "/nowhere")
    }

    /// A link to our binary in a directory of its own, `bin/NAME`.
    fn link(&self, name: &str) -> PathBuf {
        let directory = self.sandbox.path().join("bin");
        fs::create_dir_all(&directory).expect("a directory");
        let link = directory.join(name);
        std::os::unix::fs::symlink(binary(), &link).expect("a link");
        link
    }

    /// A command in the sandbox's directory.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.sandbox.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a line in a shell, as back-ticks would.
    fn shell(&self, line: &str) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", line]);
        command
    }

    /// Everything is processed, and SIGTERM stops the daemon gracefully; gives its log.
    #[track_caller]
    fn processes(&self, properties: &Properties, command: Command, tells: Tells) -> String {
        let mut launched = Daemon::launch(&self.sandbox, properties, command);
        until("every record is processed", PATIENCE, || {
            assert_eq!(launched.exited(), None, "{}", launched.log_end());
            self.recorder.ledger().has_processed(&self.ids)
        });
        let daemons = self.daemons();
        assert_eq!(daemons.len(), 1, "{daemons:#?}");
        processes::signal(daemons[0].pid, rustix::process::Signal::TERM);
        let exit = launched.wait_exit(Duration::from_secs(20));
        let log = launched.log();
        assert_eq!(exit, Exit::OK, "{log}");
        if tells == Tells::Nothing {
            assert!(log.contains("Process shutdown is complete."), "{log}");
        }
        log
    }

    /// Our daemons without their guardians, whatever they are called.
    fn daemons(&self) -> Vec<Process> {
        let binary = fs::canonicalize(binary()).expect("our binary");
        let mut all = self.sandbox.processes();
        all.retain(|process| {
            let program = fs::read_link(format!("/proc/{}/exe", process.pid));
            program.is_ok_and(|program| program == binary) && !process.command.contains("guardian")
        });
        all
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kcl-daemon"))
}

/// What `amazon_kclpy_helper.py --print_command` prints for our binary.
fn kclpy_command(scene: &Scene, sdist: &Sdist, arguments: &[&str]) -> Option<String> {
    let modules = match tools::python_modules(sdist) {
        Ok(modules) => modules,
        Err(why) => {
            skipped(
                &format!("the helper of {} {}", sdist.name, sdist.version),
                &why,
            );
            return None;
        }
    };
    let output = scene
        .command(python())
        .arg(modules.join("samples/amazon_kclpy_helper.py"))
        .args(["--print_command", "--java"])
        .arg(binary())
        .args(arguments)
        .env("PYTHONPATH", &modules)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 runs");
    let line = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success() && line.contains("MultiLangDaemon"),
        "{line}"
    );
    Some(line.trim().to_owned())
}

#[test]
fn the_helper_of_amazon_kclpy_3_2_0() {
    let scene = Scene::new("kclpy-3-helper");
    let properties = scene.properties();
    properties.write(&scene.sandbox, "app.properties");
    scene.sandbox.write(
        "logback.xml",
        r#"<configuration><root level="INFO"/><logger name="software.amazon.kinesis.retrieval" level="DEBUG"/></configuration>"#,
    );
    let arguments = [
        "--properties",
        "app.properties",
        "--log-configuration",
        "logback.xml",
    ];
    let Some(line) = kclpy_command(&scene, &AMAZON_KCLPY_3, &arguments) else {
        return;
    };
    let log = scene.processes(&properties, scene.shell(&line), Tells::ExitCode);
    // SDK targets keep quiet under the root logger's level.
    assert!(
        log.contains("log levels of logback.xml: info,kcl_daemon::fetch=debug"),
        "{log}"
    );
}

/// It prints the file's name without its directory, which is on the class path; and the class of KCL
/// 1.x, so that children are spoken to in its dialect.
#[test]
fn the_helper_of_amazon_kclpy_1_5_1() {
    let scene = Scene::new("kclpy-1-helper");
    fs::create_dir(scene.sandbox.path().join("conf")).expect("a directory");
    let properties = scene.properties();
    properties.write(&scene.sandbox, "conf/app.properties");
    let arguments = ["--properties", "conf/app.properties"];
    let Some(line) = kclpy_command(&scene, &AMAZON_KCLPY_1, &arguments) else {
        return;
    };
    assert!(line.ends_with("MultiLangDaemon app.properties"), "{line}");
    let log = scene.processes(&properties, scene.shell(&line), Tells::ExitCode);
    assert!(
        log.contains("conf/app.properties, found by the class path"),
        "{log}"
    );
    let ledger = scene.recorder.ledger();
    assert_eq!(ledger.of("shutdown").count(), 2, "P1: {}", ledger.outline());
    assert_eq!(
        ledger.of("leaseLost").count(),
        0,
        "P1: {}",
        ledger.outline()
    );
}

#[test]
fn kcl_bootstrap_of_aws_kcl() {
    let installed = tools::node().and_then(|node| Ok((node.package("aws-kcl", AWS_KCL_2)?, node)));
    let (modules, node) = match installed {
        Ok(installed) => installed,
        Err(why) => return skipped("kcl-bootstrap of aws-kcl", &why),
    };
    let scene = Scene::new("kcl-bootstrap");
    let properties = scene.properties();
    properties.write(&scene.sandbox, "app.properties");
    let jars = scene.sandbox.path().join("jars");
    fs::create_dir(&jars).expect("a directory");
    // It downloads the jars that are not there; nobody opens them.
    for name in jar_names(&modules.join("aws-kcl/pom.xml")) {
        fs::write(jars.join(name), "").expect("an empty jar");
    }
    let command = bootstrap(&scene, &node, &modules, &jars);
    let log = scene.processes(&properties, command, Tells::Nothing);
    assert!(log.contains("Starting MultiLangDaemon"), "{log}");
}

fn bootstrap(scene: &Scene, node: &Node, modules: &Path, jars: &Path) -> Command {
    let mut command = scene.command(node.folder.join("node"));
    command
        .arg(modules.join("aws-kcl/bin/kcl-bootstrap"))
        .args(["-e", "-p", "app.properties", "-j"])
        .arg(binary())
        .arg("-c")
        .arg(jars)
        .env("PATH", node.path());
    command
}

/// `ARTIFACT-VERSION.jar` of every dependency, with the versions that the file gives names to.
fn jar_names(pom: &Path) -> Vec<String> {
    let text = fs::read_to_string(pom).expect("pom.xml");
    let element = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.trim().to_owned())
    };
    let names: Vec<String> = text
        .split("<dependency>")
        .skip(1)
        .map(|dependency| {
            let artifact = element(dependency, "artifactId").expect("an artifact");
            let version = element(dependency, "version").expect("a version");
            let named = version
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'));
            let version = match named {
                Some(name) => element(&text, name).expect("a property"),
                None => version,
            };
            format!("{artifact}-{version}.jar")
        })
        .collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

/// The Rake task of the Ruby samples: `JAVA_HOME/bin/java -classpath JARS:SAMPLES CLASS
/// --properties-file F`, with the samples on the `PATH`.
#[test]
fn a_java_home_with_a_link_as_rake_uses_it() {
    let scene = Scene::new("java-home");
    scene.link("java");
    let properties = scene.properties();
    properties.write(&scene.sandbox, "sample.properties");
    let home = scene.sandbox.path().display();
    let line = format!(
        "JAVA_HOME={home}; PATH=\"$PATH:{home}\"; $JAVA_HOME/bin/java -classpath {home}/jars/a.jar:{home} {CLASS} \
         --properties-file sample.properties"
    );
    scene.processes(&properties, scene.shell(&line), Tells::ExitCode);
}

/// .NET's bootstrap asks for the version first, and joins its arguments with blanks.
#[test]
fn java_as_the_net_bootstrap_uses_it() {
    let scene = Scene::new("net-bootstrap");
    let java = scene.link("java");
    for (option, on_stdout) in [("-version", false), ("--version", true)] {
        let output = scene.command(&java).arg(option).output().expect("it runs");
        let (said, silent) = if on_stdout {
            (output.stdout, output.stderr)
        } else {
            (output.stderr, output.stdout)
        };
        let said = String::from_utf8(said).expect("UTF-8");
        assert!(
            output.status.success() && silent.is_empty(),
            "{option}: {said}"
        );
        assert!(said.starts_with("kcl-daemon "), "{option}: {said}");
    }
    let properties = scene.properties();
    properties.write(&scene.sandbox, "kcl.properties");
    let home = scene.sandbox.path().display();
    let mut command = scene.command(&java);
    command.args([
        "-cp",
        &format!("{home}/jars/a.jar:{home}"),
        CLASS,
        "-p",
        "kcl.properties",
    ]);
    scene.processes(&properties, command, Tells::ExitCode);
}

/// The most common line of production, `java` exchanged; what the SDK would take from system
/// properties comes from there.
#[test]
fn a_container_line_with_options_of_the_jvm() {
    let scene = Scene::new("container");
    let properties = scene
        .properties()
        .without("regionName")
        .set(
            "AwsCredentialsProvider",
            "SystemPropertyCredentialsProvider",
        )
        .environment("AWS_ACCESS_KEY_ID", "")
        .environment("AWS_SECRET_ACCESS_KEY", "");
    let file = properties.write(&scene.sandbox, "app.properties");
    let mut command = scene.command(binary());
    command
        .args([
            "-cp",
            "/app/jars/*",
            "-Xmx512m",
            "-Daws.region=us-east-1",
            "-Daws.accessKeyId=AKID",
        ])
        .args([
            "-Daws.secretAccessKey=hidden-secret",
            "-Dapp.password=hidden-secret",
            CLASS,
        ])
        .arg(file);
    let log = scene.processes(&properties, command, Tells::ExitCode);
    assert!(log.contains("-Xmx512m -Dapp.password"), "{log}");
    assert!(!log.contains("hidden-secret"), "{log}");
}

/// As a daemon under the name of sylvite: its file, its names in the environment, its start position.
#[test]
fn a_link_named_sylvite() {
    let scene = Scene::new("sylvite");
    let sylvite = scene.link("sylvite");
    let properties = scene
        .properties()
        .without("streamName")
        .without("applicationName")
        .without("initialPositionInStream")
        .without("AwsCredentialsProvider")
        // The recorder does not speak sylvite's own dialect.
        .set("multilangProtocol", "p2")
        .environment("STREAM_NAME", STREAM);
    properties.write(&scene.sandbox, "app.properties");
    let mut command = scene.command(&sylvite);
    command.args(["--config=app.properties", "--application-name=by-argument"]);
    // The environment's spelling is looked up last, and so wins.
    let log = scene.processes(&properties, command, Tells::ExitCode);
    assert!(
        log.contains("Running elsewhere to process stream stream "),
        "{log}"
    );
}

/// The same file in our own mode: nothing of that environment counts.
#[test]
fn names_of_sylvite_are_not_read_in_plain_mode() {
    let scene = Scene::new("plain");
    let properties = scene
        .properties()
        .without("streamName")
        .environment("STREAM_NAME", STREAM);
    let file = properties.write(&scene.sandbox, "app.properties");
    for class in ["", CLASS] {
        let mut command = scene.command(binary());
        if !class.is_empty() {
            command.arg(class);
        }
        command.arg("-p").arg(&file);
        let mut daemon = Daemon::launch(&scene.sandbox, &properties, command);
        let exit = daemon.wait_exit(PATIENCE);
        assert_eq!(exit, Exit::code(1), "{}", daemon.log());
        assert!(daemon.log().contains("streamName"), "{}", daemon.log());
    }
}

/// All that a machine needs: `--local` by the environment, as a line for Java has no place for it.
#[test]
fn the_embedded_services_under_a_line_for_java() {
    let scene = Scene::new("java-local");
    let properties = scene
        .properties()
        .without("kinesisEndpoint")
        .without("dynamoDBEndpoint")
        .environment("KCL_DAEMON_LOCAL", "true")
        .environment("KCL_DAEMON_LOCAL_GENERATE", "20");
    let file = properties.write(&scene.sandbox, "app.properties");
    let mut command = scene.command(binary());
    command.args([CLASS, "-p"]).arg(file);
    let mut daemon = Daemon::launch(&scene.sandbox, &properties, command);
    until("records are processed", PATIENCE, || {
        assert_eq!(daemon.exited(), None, "{}", daemon.log_end());
        scene.recorder.ledger().deliveries() > 10
    });
    daemon.stop_gracefully();
}
