use super::*;
use proptest::prelude::*;
use serde_json::json;

fn at(millis: u64) -> Moment {
    Moment::from_origin(Duration::from_millis(millis))
}

#[test]
fn the_host_between_two_lines() {
    // user nice system idle iowait, then what follows and is not looked at
    let cases = [
        (
            "cpu  100 0 100 800 0 9 9 9",
            "cpu  150 0 150 900 0 99 99 99",
            50.0,
        ),
        ("cpu  100 0 100 800 0", "cpu  100 0 100 900 100", 50.0),
        ("cpu  100 50 0 0 0", "cpu  100 150 0 0 0", 100.0),
        // Nothing moved but interrupts.
        ("cpu  100 0 100 800 0 1", "cpu  100 0 100 800 0 5", 0.0),
        // Waiting for I/O went back on an idle host: more idle time than time.
        ("cpu  100 0 100 800 50", "cpu  100 0 100 900 40", 0.0),
    ];
    for (before, after, expected) in cases {
        let before = HostCpu::parse(before).unwrap();
        let after = HostCpu::parse(&format!("{after}\ncpu0 1 1 1 1 1\n")).unwrap();
        assert_eq!(after.busy_since(before), expected);
    }
    for wrong in [
        "",
        "cpu0 1 2 3 4 5",
        "cpu 1 2 3 4",
        "cpu a b c d e",
        "intr 5",
    ] {
        let error = HostCpu::parse(wrong).unwrap_err().to_string();
        assert!(
            error.starts_with("the first line of /proc/stat should be"),
            "{error}"
        );
    }
}

#[test]
fn a_group_between_two_readings() {
    let v2 = |micros: u64, millis| {
        GroupCpu::parse_v2(&format!("usage_usec {micros}\nuser_usec 1\n"), at(millis)).unwrap()
    };
    // Half a CPU for a second, of two and of a quarter.
    assert_eq!(
        v2(1_500_000, 2000).busy_since(v2(1_000_000, 1000), 2.0),
        25.0
    );
    assert_eq!(
        v2(1_500_000, 2000).busy_since(v2(1_000_000, 1000), 0.25),
        100.0
    );
    assert_eq!(
        v2(1_500_000, 1000).busy_since(v2(1_000_000, 1000), 2.0),
        0.0
    );
    let v1 = |nanos: u64, millis| GroupCpu::parse_v1(&format!("{nanos}\n"), at(millis)).unwrap();
    assert_eq!(
        v1(3_000_000_000, 4000).busy_since(v1(1_000_000_000, 0), 1.0),
        50.0
    );
    assert!(GroupCpu::parse_v2("nr_periods 5", at(0)).is_err());
    assert!(GroupCpu::parse_v1("", at(0)).is_err());
}

#[test]
fn limits_of_groups() {
    assert_eq!(limit_v2("150000 100000\n", ""), Ok(1.5));
    assert_eq!(limit_v2("max 100000\n", "0-3\n"), Ok(4.0));
    assert_eq!(limit_v1("50000\n", "100000\n", ""), Ok(0.5));
    assert_eq!(limit_v1("-1\n", "100000\n", "0-4,6,8-10\n"), Ok(9.0));
    for wrong in ["", "0 100000", "100000", "100000 0", "x y"] {
        assert!(limit_v2(wrong, "0").is_err(), "{wrong}");
    }
    for (set, cpus) in [("0", 1.0), ("0-7", 8.0), ("0-4,6,8-10", 9.0)] {
        assert_eq!(cpus_in_set(set), Ok(cpus), "{set}");
    }
    for wrong in ["", "a", "3-1", "0-", "0,,1", "0-18446744073709551615"] {
        assert!(cpus_in_set(wrong).is_err(), "{wrong}");
    }
}

fn ecs_stats(used: u64, system: u64, used_before: u64, system_before: u64) -> Value {
    json!({
        "cpu_stats": {
            "cpu_usage": { "total_usage": used },
            "system_cpu_usage": system,
            "online_cpus": 4
        },
        "precpu_stats": {
            "cpu_usage": { "total_usage": used_before },
            "system_cpu_usage": system_before
        }
    })
}

#[test]
fn a_container_of_ecs() {
    // A tenth of four CPUs is 0.4 CPUs, of which 1.6 may be used.
    assert_eq!(ecs_busy(&ecs_stats(200, 2000, 100, 1000), 1.6), Ok(25.0));
    assert_eq!(ecs_busy(&ecs_stats(200, 2000, 100, 1000), 0.1), Ok(100.0));
    assert_eq!(
        ecs_busy(&ecs_stats(200, 2000, 0, 0), 1.0),
        Ok(0.0),
        "first sample"
    );
    assert_eq!(ecs_busy(&ecs_stats(200, 1000, 100, 1000), 1.0), Ok(100.0));
    assert_eq!(
        ecs_busy(
            &json!({ "cpu_stats": { "cpu_usage": { "total_usage": 5 }, "system_cpu_usage": 5 } }),
            1.0
        ),
        Ok(0.0)
    );
    assert!(ecs_busy(&json!({}), 1.0).is_err());
}

#[test]
fn the_share_of_a_container_in_its_task() {
    let containers = json!([
        { "DockerId": "a", "Limits": { "CPU": 10 } },
        { "DockerId": "b", "Limits": { "CPU": 30 } }
    ]);
    let me = json!({ "DockerId": "b" });
    let limited = json!({ "Limits": { "CPU": 8 }, "Containers": containers });
    assert_eq!(ecs_limit(&limited, &me, 64.0), Ok(6.0));
    let only_memory = json!({ "Limits": { "Memory": 8 }, "Containers": containers });
    assert_eq!(ecs_limit(&only_memory, &me, 4.0), Ok(3.0));
    let unlimited = json!({ "Containers": containers });
    assert_eq!(
        ecs_limit(&unlimited, &json!({ "DockerId": "a" }), 4.0),
        Ok(1.0)
    );
    assert!(ecs_limit(&json!({}), &me, 4.0).is_err(), "two of no shares");
}

proptest! {
    /// Whatever is read, the result is a percentage or an error.
    #[test]
    fn always_a_percentage(a in prop::array::uniform5(0u64..1 << 40), b in prop::array::uniform5(0u64..1 << 40), c: [u64; 4], limit in 0.001f64..64.0) {
        let line = |times: [u64; 5]| format!("cpu {} {} {} {} {}", times[0], times[1], times[2], times[3], times[4]);
        let busy = HostCpu::parse(&line(b)).unwrap().busy_since(HostCpu::parse(&line(a)).unwrap());
        prop_assert!((0.0..=100.0).contains(&busy));
        let group = GroupCpu::parse_v2(&format!("usage_usec {}", b[0]), at(a[1])).unwrap();
        let busy = group.busy_since(GroupCpu::parse_v2(&format!("usage_usec {}", a[0]), at(b[1])).unwrap(), limit);
        prop_assert!((0.0..=100.0).contains(&busy));
        let busy = ecs_busy(&ecs_stats(c[0], c[1], c[2], c[3]), limit).unwrap();
        prop_assert!((0.0..=100.0).contains(&busy));
    }

    #[test]
    fn no_text_breaks_it(text in "\\PC{0,40}") {
        let _ = HostCpu::parse(&text);
        let _ = GroupCpu::parse_v2(&text, at(0));
        let _ = GroupCpu::parse_v1(&text, at(0));
        let _ = limit_v2(&text, &text);
        let _ = limit_v1(&text, &text, &text);
    }
}
