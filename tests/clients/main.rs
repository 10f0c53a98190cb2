//! Real, unmodified client libraries from their registries, and our samples, under the real binary.
//!
//! What cannot be had on this machine is told in a line that begins with `SKIPPED:`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes and read clocks"
)]

#[path = "../support/mod.rs"]
mod support;

mod launchers;
mod lives;
mod samples;
mod scenario;
mod tools;

use std::path::{Path, PathBuf};

use lives::Source;
use scenario::{Client, Program, Speaks};
use support::recorder::python;
use support::{Sandbox, skipped};
use tools::Sdist;

const AMAZON_KCLPY_3: Sdist = Sdist {
    name: "amazon_kclpy",
    version: "3.2.0",
    sha256: "62e81cc84714c920fe6aa5d61837b298fe7e01f6326dcb564b12ab8e6c4aca4e",
};
const AMAZON_KCLPY_2: Sdist = Sdist {
    name: "amazon_kclpy",
    version: "2.1.5",
    sha256: "5c2a29c6baf47071d14c9a7ef44339fa756558c2dc94f100304f40376c287451",
};
const AMAZON_KCLPY_1: Sdist = Sdist {
    name: "amazon_kclpy",
    version: "1.5.1",
    sha256: "505ebf34b1c6f3c24bb3bd93233f7e9c62983c70b7fc1fe30b610b0da230b969",
};
const KCLPY: Sdist = Sdist {
    name: "kclpy",
    version: "0.2.0",
    sha256: "0cbc30bf2865bbeef62ca98b23e467d4c3ef2c7814ebec0c67d242f3a2198372",
};
const AWS_KCL_2: &str = "2.3.2";

#[test]
fn amazon_kclpy_3_2_0() {
    python_client(&AMAZON_KCLPY_3, "amazon_kclpy_v3.py", Speaks::P2);
}

#[test]
fn amazon_kclpy_2_1_5() {
    python_client(&AMAZON_KCLPY_2, "amazon_kclpy_v3.py", Speaks::P2);
}

/// Speaks P1, which shows only when a lease or a shard ends.
#[test]
fn amazon_kclpy_1_5_1_is_found_out() {
    python_client(&AMAZON_KCLPY_1, "amazon_kclpy_v2.py", Speaks::P1Unannounced);
}

#[test]
fn amazon_kclpy_1_5_1_with_its_dialect_set() {
    python_client(&AMAZON_KCLPY_1, "amazon_kclpy_v2.py", Speaks::P1);
}

/// Speaks P0, which shows at the first checkpoint; under a Java daemon of today it hangs there.
#[test]
fn kclpy_0_2_0_is_found_out() {
    python_client(&KCLPY, "kclpy_p0.py", Speaks::P0);
}

#[test]
fn kclpy_0_2_0_is_found_out_for_all_shards_at_once() {
    if let Some((client, sandbox)) = with_python(&KCLPY, "kclpy_p0.py", Speaks::P0) {
        scenario::run_with_a_silent_shard(&client, &sandbox);
    }
}

#[test]
fn aws_kcl_2_3_2() {
    node_client(AWS_KCL_2, "v2", Speaks::P2);
}

/// P1, from before `leaseLost` and `shardEnded`.
#[test]
fn aws_kcl_0_7_0_is_found_out() {
    node_client("0.7.0", "v1", Speaks::P1Unannounced);
}

/// P0.
#[test]
fn aws_kcl_0_5_0_is_found_out() {
    node_client("0.5.0", "v1", Speaks::P0);
}

/// The project has releases 3.x; whether npm has them is another matter.
#[test]
fn aws_kcl_3() {
    let newest = tools::node().and_then(|node| node.newest("aws-kcl@3"));
    match newest {
        Ok(version) => node_client(&version, "v2", Speaks::P2),
        Err(why) => skipped("aws-kcl 3.x", &why),
    }
}

fn python_client(sdist: &Sdist, script: &str, speaks: Speaks) {
    if let Some((client, sandbox)) = with_python(sdist, script, speaks) {
        scenario::run(&client, &sandbox);
    }
}

fn with_python(sdist: &Sdist, script: &str, speaks: Speaks) -> Option<(Client, Sandbox)> {
    let modules = match tools::python_modules(sdist) {
        Ok(modules) => modules,
        Err(why) => {
            skipped(&format!("{} {}", sdist.name, sdist.version), &why);
            return None;
        }
    };
    let sandbox = Sandbox::new(sdist.name);
    let ledger = sandbox.path().join("ledger.jsonl");
    let words = [python(), &processor(script), &ledger].map(|word| word.display().to_string());
    let client = Client {
        program: Program::Processor(words.join(" ")),
        environment: vec![("PYTHONPATH", modules.display().to_string())],
        source: Source::Ledger(ledger),
        speaks,
    };
    Some((client, sandbox))
}

fn node_client(version: &str, style: &str, speaks: Speaks) {
    let installed = tools::node().and_then(|node| Ok((node.package("aws-kcl", version)?, node)));
    match installed {
        Ok((modules, node)) => {
            let sandbox = Sandbox::new("aws-kcl");
            let ledger = sandbox.path().join("ledger.jsonl");
            let client = Client {
                program: Program::Processor(format!(
                    "{} {} {} {style}",
                    node.folder.join("node").display(),
                    processor("aws_kcl.js").display(),
                    ledger.display()
                )),
                environment: vec![("NODE_PATH", modules.display().to_string())],
                source: Source::Ledger(ledger),
                speaks,
            };
            scenario::run(&client, &sandbox);
        }
        Err(why) => skipped(&format!("aws-kcl {version}"), &why),
    }
}

fn processor(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients/processors")
        .join(script)
}
