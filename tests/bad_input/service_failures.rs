//! Streams that do not exist, services that are not there, credentials that are missing.

use super::support::properties::Endpoints;
use super::support::services::free_port;
use super::support::{Daemon, Exit, Properties, Recorder, Sandbox, Services, until};
use super::{one_line_says, refuses, seconds};

#[test]
fn a_stream_that_does_not_exist_ends_the_start() {
    let sandbox = Sandbox::new("no-stream");
    let services = Services::embedded(&sandbox, &[("stream", 1)]);
    let log = refuses(Daemon::start(
        &sandbox,
        &services.properties("app", "no-such-stream", "cat"),
        &[],
    ));
    one_line_says(&log, &["ERROR", "no-such-stream"]);
}

fn dead(port: u16) -> Endpoints {
    Endpoints {
        kinesis: format!("http://127.0.0.1:{port}"),
        dynamodb: format!("http://127.0.0.1:{port}"),
    }
}

/// The daemon waits for services that are not there yet, says so once, and then works.
#[test]
fn services_that_come_later_are_waited_for() {
    let sandbox = Sandbox::new("later");
    let port = free_port();
    let recorder = Recorder::new(&sandbox);
    let properties =
        Properties::new(&dead(port), "app", "stream", &recorder.command()).failover_millis(5_000);
    let mut daemon = Daemon::start(&sandbox, &properties, &[]);
    let line = daemon.wait_log("stream", seconds(10));
    assert!(!line.is_empty());
    let told = daemon.wait_log("trying again", seconds(10));
    assert!(told.contains("WARN"), "{told}");
    assert!(
        daemon.log().contains(&format!("127.0.0.1:{port}")),
        "it names the endpoint: {}",
        daemon.log()
    );
    std::thread::sleep(seconds(3));
    assert_eq!(daemon.exited(), None, "it waits: {}", daemon.log());
    let lines = daemon
        .log()
        .lines()
        .filter(|line| line.contains("trying again"))
        .count();
    assert!(
        lines <= 2,
        "one line for each service, not one for each try: {}",
        daemon.log()
    );

    let services = Services::on_port(&sandbox, &[("stream", 2)], port);
    let aws = super::support::Aws::at(&services.endpoints());
    let ids: Vec<String> = aws
        .put("stream", "a", 0, 10)
        .into_iter()
        .map(|put| put.id)
        .collect();
    until("all is processed", seconds(20), || {
        recorder.ledger().has_processed(&ids)
    });
    daemon.stop_gracefully();
}

/// The services die and come back without what they held: the daemon ends or goes on, but says why.
#[test]
fn services_that_vanish_are_told_and_waited_for() {
    let sandbox = Sandbox::new("vanish");
    let mut services = Services::embedded(&sandbox, &[("stream", 1)]);
    let aws = super::support::Aws::at(&services.endpoints());
    let recorder = Recorder::new(&sandbox);
    let ids: Vec<String> = aws
        .put("stream", "a", 0, 10)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let properties = services
        .properties("app", "stream", &recorder.command())
        .failover_millis(3_000);
    let mut daemon = Daemon::start(&sandbox, &properties, &[]);
    until("all is processed", seconds(20), || {
        recorder.ledger().has_processed(&ids)
    });
    services.kill();
    daemon.wait_log("renewal failed, trying again", seconds(10));
    daemon.wait_log("could not be renewed within the failover time", seconds(10));
    std::thread::sleep(seconds(2));
    assert_eq!(daemon.exited(), None, "it lives: {}", daemon.log());
    // No flood: a few lines a second at most.
    let lines = daemon.log().lines().count();
    assert!(lines < 60, "{lines} lines: {}", daemon.log());
    daemon.terminate();
    let exit = daemon.wait_exit(seconds(35));
    assert!(exit.code.is_some(), "it ends by itself: {exit:?}");
    assert_eq!(
        recorder.ledger().of("shutdownRequested").count(),
        1,
        "the child could finish"
    );
}

/// No key anywhere: named, with where it was looked for; not a try without end.
#[test]
fn missing_credentials_are_named() {
    let sandbox = Sandbox::new("no-keys");
    let properties = Properties::new(&dead(free_port()), "app", "stream", "cat")
        .environment("AWS_ACCESS_KEY_ID", "")
        .environment("AWS_SECRET_ACCESS_KEY", "")
        .environment("HOME", "/nowhere");
    let log = refuses(Daemon::start(&sandbox, &properties, &[]));
    one_line_says(
        &log,
        &[
            "ERROR",
            "no credentials",
            "EnvironmentVariableCredentialsProvider",
        ],
    );
}

/// A name that is no credentials provider.
#[test]
fn an_unknown_credentials_provider_is_named() {
    let sandbox = Sandbox::new("provider");
    let properties = Properties::new(&dead(free_port()), "app", "stream", "cat")
        .set("AwsCredentialsProvider", "NoSuchCredentialsProvider");
    let log = refuses(Daemon::start(&sandbox, &properties, &[]));
    one_line_says(&log, &["ERROR", "NoSuchCredentialsProvider"]);
}

/// Keys that the service refuses, by a server that answers as AWS does.
#[test]
fn wrong_credentials_end_the_start_with_the_services_words() {
    let sandbox = Sandbox::new("wrong-keys");
    let server = refusing_server(
        400,
        r#"{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}"#,
    );
    let log = refuses(Daemon::start(
        &sandbox,
        &Properties::new(&dead(server), "app", "stream", "cat"),
        &[],
    ));
    one_line_says(
        &log,
        &["ERROR", "security token included in the request is invalid"],
    );
    let denied = refusing_server(
        400,
        r#"{"__type":"AccessDeniedException","message":"User: arn:aws:iam::123456789012:user/me is not authorized to perform this"}"#,
    );
    let mut daemon = Daemon::start(
        &sandbox,
        &Properties::new(&dead(denied), "app", "stream", "cat"),
        &[],
    );
    assert_eq!(
        daemon.wait_exit(seconds(10)),
        Exit::code(1),
        "{}",
        daemon.log()
    );
    one_line_says(
        &daemon.log(),
        &["ERROR", "is not authorized to perform this"],
    );
}

/// Answers every request with this, for as long as the test runs; gives its port.
fn refusing_server(status: u16, body: &'static str) -> u16 {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut connection = connection;
                let mut request = [0; 65_536];
                while connection.read(&mut request).is_ok_and(|length| length > 0) {
                    let head = format!(
                        "HTTP/1.1 {status} Bad Request\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    if connection.write_all((head + body).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}
