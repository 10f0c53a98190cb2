//! Lock files in real directories. Several daemons are several open files: a lock belongs to the
//! open file, so it does not matter that one process holds them.

use super::*;

fn places(directory: &Path) -> LockPlaces {
    LockPlaces {
        runtime: Some(directory.join("run")),
        temporary: directory.join("tmp"),
    }
}

fn host() -> (tempfile::TempDir, LockPlaces) {
    let directory = tempfile::tempdir().unwrap();
    let places = places(directory.path());
    std::fs::create_dir(places.runtime.as_ref().unwrap()).unwrap();
    std::fs::create_dir(&places.temporary).unwrap();
    (directory, places)
}

fn acquire(places: &LockPlaces) -> WorkerIdLock {
    WorkerIdLock::acquire(places, "host", "orders").unwrap()
}

#[test]
fn daemons_beside_each_other_get_numbers_and_a_free_name_is_used_again() {
    let (_directory, places) = host();
    let first = acquire(&places);
    let second = acquire(&places);
    let third = acquire(&places);
    assert_eq!(first.worker_id(), "host-orders");
    assert_eq!(second.worker_id(), "host-orders-2");
    assert_eq!(third.worker_id(), "host-orders-3");
    assert!(!first.had_predecessor() && !third.had_predecessor());

    drop(second);
    let successor = acquire(&places);
    assert_eq!(successor.worker_id(), "host-orders-2");
    assert!(successor.had_predecessor(), "its former holder is dead");

    let other = WorkerIdLock::acquire(&places, "host", "payments").unwrap();
    assert_eq!(other.worker_id(), "host-payments");
}

/// A child has a copy of every open file from its fork until it executes its program.
#[test]
fn a_name_is_free_as_soon_as_its_lock_is_dropped_even_while_a_child_starts() {
    let (_directory, places) = host();
    let lock = acquire(&places);
    let _of_a_child = lock.file.try_clone().unwrap();
    drop(lock);
    let successor = acquire(&places);
    assert_eq!(successor.worker_id(), "host-orders");
    assert!(successor.had_predecessor());
}

#[test]
fn the_file_tells_who_holds_it() {
    let (_directory, places) = host();
    let lock = acquire(&places);
    assert!(lock.path().starts_with(places.runtime.as_ref().unwrap()));
    let expected = format!("{}\n", std::process::id());
    assert_eq!(std::fs::read_to_string(lock.path()).unwrap(), expected);
    // A longer number of a predecessor leaves no digits behind.
    let path = lock.path().to_owned();
    drop(lock);
    std::fs::write(&path, "123456789012345\n").unwrap();
    let lock = acquire(&places);
    assert!(lock.had_predecessor());
    assert_eq!(std::fs::read_to_string(lock.path()).unwrap(), expected);
}

#[test]
fn an_empty_file_never_had_a_holder() {
    let (_directory, places) = host();
    let path = acquire(&places).path().to_owned();
    std::fs::write(&path, "").unwrap();
    assert!(!acquire(&places).had_predecessor());
}

#[test]
fn a_predecessor_that_knew_of_a_twin_is_none_until_one_holds_leases_again() {
    let (_directory, places) = host();
    let lock = acquire(&places);
    lock.note_twin(true).unwrap();
    let path = lock.path().to_owned();
    let expected = format!("{} another-lives\n", std::process::id());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    drop(lock);
    // It stays, also when a successor is killed before it has found its twin.
    for _ in 0..2 {
        let lock = acquire(&places);
        assert!(!lock.had_predecessor() && lock.knew_of_twin());
    }
    acquire(&places).note_twin(false).unwrap();
    let lock = acquire(&places);
    assert!(lock.had_predecessor() && !lock.knew_of_twin());
    let expected = format!("{}\n", std::process::id());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn of_an_id_in_use_only_the_process_is_named() {
    let (_directory, places) = host();
    let exact = || WorkerIdLock::acquire_exact(&places, "w", "orders");
    let lock = exact().unwrap();
    lock.note_twin(true).unwrap();
    let text = exact().unwrap_err().to_string();
    let process = format!("in use by process {} on this host", std::process::id());
    assert!(text.contains(&process), "{text}");
}

#[test]
fn a_damaged_file_is_that_of_a_predecessor() {
    let (_directory, places) = host();
    let path = acquire(&places).path().to_owned();
    let long = [b'x'; 100_000];
    // what is in the file, whether it tells of a twin
    let cases: [(&[u8], bool); 7] = [
        (b"4711", false),
        (b"4711\n", false),
        (b"\xff\0\xfe", false),
        (&long, false),
        (b"4711 another-livesx", false),
        (b"\xff another-lives", true),
        (b"4711 another-lives later words\n", true),
    ];
    for (text, twin) in cases {
        std::fs::write(&path, text).unwrap();
        let lock = acquire(&places);
        let told = (lock.had_predecessor(), lock.knew_of_twin());
        assert_eq!(told, (!twin, twin), "{}", text.escape_ascii());
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(
            expected.len() < 40 && expected.ends_with('\n'),
            "{expected}"
        );
    }
}

#[test]
fn without_a_runtime_directory_the_temporary_one_is_used() {
    let (_directory, mut places) = host();
    for runtime in [
        None,
        Some(PathBuf::from("relative")),
        Some(PathBuf::from("/nonexistent/x")),
    ] {
        places.runtime = runtime;
        let lock = acquire(&places);
        assert_eq!(lock.worker_id(), "host-orders");
        assert_eq!(lock.path().parent(), Some(places.temporary.as_path()));
    }
}

#[test]
fn where_the_name_is_occupied_a_directory_of_this_user_is_used() {
    let (_directory, mut places) = host();
    places.runtime = None;
    let lock = acquire(&places);
    let occupied = lock.path().to_owned();
    drop(lock);

    // A link of a stranger's is not followed.
    let victim = places.temporary.join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(&occupied).unwrap();
    std::os::unix::fs::symlink(&victim, &occupied).unwrap();
    let lock = acquire(&places);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    let user = rustix::process::geteuid().as_raw();
    let private = places.temporary.join(format!("kcl-daemon-{user}"));
    assert_eq!(lock.path().parent(), Some(private.as_path()));
    assert_eq!(std::fs::metadata(&private).unwrap().mode() & 0o777, 0o700);
    drop(lock);
    assert!(acquire(&places).had_predecessor(), "it is used again");

    // One that others can write to is not trusted.
    std::fs::set_permissions(&private, Permissions::from_mode(0o777)).unwrap();
    let error = WorkerIdLock::acquire(&places, "host", "orders").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("set workerId") && text.contains("this user alone"),
        "{text}"
    );
}

#[test]
fn no_place_at_all_is_said_with_the_reasons() {
    let places = LockPlaces {
        runtime: None,
        temporary: PathBuf::from("/nonexistent/tmp"),
    };
    let text = WorkerIdLock::acquire(&places, "host", "orders")
        .unwrap_err()
        .to_string();
    assert!(text.contains("/nonexistent/tmp: "), "{text}");
}

#[test]
fn any_application_name_makes_a_file_of_its_own() {
    let (_directory, places) = host();
    let long = "x".repeat(5000);
    let longer = format!("{long}y");
    let names = [
        "a/b",
        "a%2Fb",
        "../../etc",
        "ü ",
        "",
        ".",
        "a\n\0",
        &long,
        &longer,
    ];
    let locks: Vec<_> = names
        .iter()
        .map(|name| WorkerIdLock::acquire(&places, "host", name).unwrap())
        .collect();
    for (name, lock) in names.iter().zip(&locks) {
        assert_eq!(lock.worker_id(), format!("host-{name}"));
        assert_eq!(lock.path().parent(), places.runtime.as_deref(), "{name:?}");
    }
}

#[test]
fn escaping_is_stable() {
    assert_eq!(escaped("host-orders_1.x"), "host-orders_1.x");
    assert_eq!(escaped("a/b%ü"), "a%2Fb%25%C3%BC");
    let long = escaped(&"x".repeat(5000));
    assert_eq!(long.len(), LONGEST_NAME + 17);
    // Must never change: another version of the daemon has to find the same file.
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}
