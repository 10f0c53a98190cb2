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

/// The words in backquotes of a page.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.starts_with("    "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// What the page of tests names is there: files, test targets, invariants, bugs of the museum.
#[test]
fn the_page_of_tests_is_true() {
    let page = read("docs/TESTING.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut functions = 0;
    for word in quoted(&page) {
        let is_path = word.contains('/') && !word.contains(' ');
        if is_path {
            assert!(root.join(word).exists(), "docs/TESTING.md names {word}");
        } else if let Some((file, function)) = word.split_once("::") {
            functions += 1;
            let text = read(&format!("tests/sim/checker/{file}.rs"));
            let list = read("tests/sim/checker/mod.rs");
            assert!(
                text.contains(&format!("pub fn {function}(")) && list.contains(word),
                "docs/TESTING.md names {word}"
            );
        }
    }
    assert!(functions >= 35, "{functions} invariants are named");
    let manifest = read("Cargo.toml");
    for line in page.lines().filter(|line| line.contains("cargo test ")) {
        if let Some(target) = line.split("--test ").nth(1) {
            let target = target.split_whitespace().next().unwrap_or_default();
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{line}");
        }
    }
    // Each bug of the museum, with the invariants that its test names.
    let museum = read("tests/sim/museum.rs").replace(char::is_whitespace, "");
    let bugs = read("tests/sim/java/bugs.rs");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut shown = 0;
    for (bug, rest) in rows.filter_map(|row| row.split_once("` |")) {
        if !bugs.contains(&format!("    {bug},")) {
            continue;
        }
        shown += 1;
        let caught = rest.trim_end_matches([' ', '|']).rsplit('|').next();
        let invariants: Vec<String> = caught
            .unwrap_or_default()
            .split(',')
            .map(|invariant| format!("\"{}\"", invariant.trim()))
            .collect();
        let list = format!("&[{}]", invariants.join(","));
        let test = museum
            .split("#[test]")
            .find(|test| test.contains(&format!("Bug::{bug}")));
        let test = test.unwrap_or_else(|| panic!("no test of {bug}"));
        assert!(
            test.contains(&list),
            "{bug} is not caught by {list}: {test}"
        );
    }
    assert_eq!(
        shown,
        museum.matches("caught(").count() - 1,
        "each bug has its row"
    );
}
