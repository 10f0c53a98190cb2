//! `kcl-daemon check --online` against services that we did not write.

use std::process::Stdio;

use super::peers::Peer;
use super::scene::{PATIENCE, Scene};
use super::support::{Daemon, Exit, Sandbox};

/// Before and after a daemon has worked there.
#[test]
fn a_configuration_is_checked_on_ministack() {
    let sandbox = Sandbox::new("check-ministack");
    let Some(peer) = Peer::ministack(&sandbox) else {
        return;
    };
    let scene = Scene::new(&sandbox, peer.endpoint(), peer.endpoint(), 2);
    let properties = scene
        .properties()
        .environment("AWS_ENDPOINT_URL", peer.endpoint());
    let file = properties.write(&sandbox, "check.properties");
    let file = file.to_str().expect("UTF-8");
    let check = || {
        let arguments = ["check", "-p", file, "--online"];
        let mut checked = Daemon::run(&sandbox, &properties, &arguments, Stdio::null());
        let exit = checked.wait_exit(PATIENCE);
        (exit, checked.log())
    };
    let (exit, report) = check();
    assert_eq!(exit, Exit::OK, "{report}");
    for text in [
        "2 open of 2",
        "would be created",
        "kinesis:GetRecords: allowed",
    ] {
        assert!(report.contains(text), "{text}: {report}");
    }
    let puts = scene.aws.put_sized(super::scene::STREAM, "a", 0, 10, 100);
    let mut daemon = scene.daemon(&properties);
    scene.processed(&puts);
    daemon.stop_gracefully();
    let (exit, report) = check();
    assert_eq!(exit, Exit::OK, "{report}");
    for text in ["2 leases of nobody", "dynamodb:Scan: allowed", "was read"] {
        assert!(report.contains(text), "{text}: {report}");
    }
}
