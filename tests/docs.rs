//! Generated pages are as the code would generate them now, and the documents keep their promises.

use std::fs;
use std::path::Path;

use kcl_daemon::config::keys;
use kcl_daemon::os::environment::Environment;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `UPDATE_DOCS=1 cargo test --test docs` writes the page anew.
#[test]
fn the_page_of_properties_is_fresh() {
    let fresh = keys::render_markdown();
    if Environment::capture().get("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PROPERTIES.md");
        fs::write(path, &fresh).unwrap();
    }
    assert!(
        read("docs/PROPERTIES.md") == fresh,
        "docs/PROPERTIES.md is stale: UPDATE_DOCS=1 cargo test --test docs"
    );
}

/// The set-up commands of the README: exactly two, and CI runs the second.
#[test]
fn the_readme_has_exactly_two_set_up_commands() {
    let readme = read("README.md");
    let section = readme
        .split("## Set up")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("a section 'Set up'");
    let commands: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands[0].starts_with("cargo run "), "{commands:?}");
    assert!(read(".ci/run").contains(commands[1]), "{commands:?}");
}

/// Each promise of the README names a test that `tests/TESTS.md` knows, and that exists.
#[test]
fn each_promise_has_its_test() {
    let readme = read("README.md");
    let tests = read("tests/TESTS.md");
    let promises: Vec<&str> = readme
        .split("## Promises")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("a section 'Promises'")
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('-'))
        .collect();
    assert!(promises.len() >= 8, "{promises:?}");
    for promise in promises {
        let (_, id) = promise
            .rsplit_once('(')
            .unwrap_or_else(|| panic!("no id in: {promise}"));
        let id = id.trim_end_matches([')', '.']);
        let row = tests
            .lines()
            .find(|line| line.starts_with(&format!("| {id} |")))
            .unwrap_or_else(|| panic!("tests/TESTS.md has no row {id}"));
        for cell in row.split('`').skip(1).step_by(2) {
            let Some((file, function)) = cell.split_once("::") else {
                continue;
            };
            let text = read(file);
            assert!(
                text.contains(&format!("fn {function}(")),
                "{id}: {file} has no test {function}"
            );
        }
    }
}
