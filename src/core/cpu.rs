//! CPU utilisation out of what the platform says about it (`leases.md` C.10).
//!
//! Reading files and asking the container agent is done elsewhere; here texts become a percentage, 0 to
//! 100, as Java's worker metrics compute it, so that the leader compares like with like. Errors say
//! what in the text was not understood.

use std::time::Duration;

use serde_json::Value;

use crate::core::time::Moment;

/// What was read is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} should be {wanted} and is '{found}'")]
pub struct CpuError {
    what: &'static str,
    wanted: &'static str,
    found: String,
}

fn unexpected(what: &'static str, wanted: &'static str, found: &str) -> CpuError {
    CpuError {
        what,
        wanted,
        found: found.chars().take(80).collect(),
    }
}

fn number<T: std::str::FromStr>(
    text: Option<&str>,
    what: &'static str,
    line: &str,
) -> Result<T, CpuError> {
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| unexpected(what, "a number", line))
}

// ---------------------------------------------------------------------------------------- /proc/stat: EC2

/// The first line of `/proc/stat`, as far as Java reads it: waiting for I/O counts as work, time spent
/// in interrupts or stolen by the host is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCpu {
    total: u64,
    idle: u64,
}

impl HostCpu {
    /// Reads the line: `cpu user nice system idle iowait …`, in ticks since boot.
    ///
    /// # Errors
    /// A line of another form.
    pub fn parse(stat: &str) -> Result<Self, CpuError> {
        const WHAT: &str = "the first line of /proc/stat";
        let line = stat.lines().next().unwrap_or_default();
        let mut fields = line.split_whitespace();
        if fields.next() != Some("cpu") {
            return Err(unexpected(WHAT, "'cpu' and its times", line));
        }
        let mut times = [0_u64; 5];
        for time in &mut times {
            *time = number(fields.next(), WHAT, line)?;
        }
        Ok(Self {
            total: times.iter().fold(0, |sum, time| sum.saturating_add(*time)),
            idle: times[3],
        })
    }

    /// Percent busy between two lines. 0 when nothing moved, and when counters went back, as the one of
    /// waiting for I/O does at times on an idle host.
    #[must_use]
    pub fn busy_since(self, earlier: Self) -> f64 {
        let total = self.total.abs_diff(earlier.total);
        let idle = self.idle.abs_diff(earlier.idle);
        if total == 0 || idle > total {
            return 0.0;
        }
        (total - idle) as f64 / total as f64 * 100.0
    }
}

// ----------------------------------------------------------------------------------- cgroups: Kubernetes

/// The CPU time that a cgroup has used, and when that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupCpu {
    used: Duration,
    read: Moment,
}

impl GroupCpu {
    /// From `cpu.stat` of cgroup v2: the line `usage_usec N`, the first one in every kernel so far.
    ///
    /// # Errors
    /// A text without such a line.
    pub fn parse_v2(cpu_stat: &str, read: Moment) -> Result<Self, CpuError> {
        const WHAT: &str = "cpu.stat";
        let usage = cpu_stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        let first = cpu_stat.lines().next().unwrap_or_default();
        let used = Duration::from_micros(number(usage, WHAT, first)?);
        Ok(Self { used, read })
    }

    /// From `cpuacct.usage` of cgroup v1, nanoseconds.
    ///
    /// # Errors
    /// A text that is no number.
    pub fn parse_v1(usage: &str, read: Moment) -> Result<Self, CpuError> {
        let line = usage.lines().next().unwrap_or_default();
        let used = Duration::from_nanos(number(Some(line), "cpuacct.usage", line)?);
        Ok(Self { used, read })
    }

    /// Percent of `limit` (CPUs) that was used between two readings, at most 100.
    #[must_use]
    pub fn busy_since(self, earlier: Self, limit: f64) -> f64 {
        let time = self.read.since(earlier.read).as_secs_f64();
        let used = self.used.saturating_sub(earlier.used).as_secs_f64();
        if time <= 0.0 || limit <= 0.0 {
            return 0.0;
        }
        (used / time / limit * 100.0).min(100.0)
    }
}

/// How many CPUs a cgroup v2 may use: `cpu.max` is `quota period`, or `max period` for all CPUs of
/// `cpuset.cpus.effective`.
///
/// # Errors
/// Texts of another form.
pub fn limit_v2(cpu_max: &str, cpuset: &str) -> Result<f64, CpuError> {
    const WHAT: &str = "cpu.max";
    let line = cpu_max.lines().next().unwrap_or_default();
    let mut words = line.split_whitespace();
    match words.next() {
        Some("max") => cpus_in_set(cpuset),
        quota => {
            let quota: f64 = number(quota, WHAT, line)?;
            let period: f64 = number(words.next(), WHAT, line)?;
            positive(quota / period, WHAT, line)
        }
    }
}

/// How many CPUs a cgroup v1 may use: `cpu.cfs_quota_us` by `cpu.cfs_period_us`; a quota of -1 stands
/// for all CPUs of `cpuset.effective_cpus`.
///
/// # Errors
/// Texts of another form.
pub fn limit_v1(quota: &str, period: &str, cpuset: &str) -> Result<f64, CpuError> {
    const WHAT: &str = "cpu.cfs_quota_us or cpu.cfs_period_us";
    let first = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
    let (quota, period) = (first(quota), first(period));
    if quota == "-1" {
        return cpus_in_set(cpuset);
    }
    let share =
        number::<f64>(Some(&quota), WHAT, &quota)? / number::<f64>(Some(&period), WHAT, &period)?;
    positive(share, WHAT, &quota)
}

fn positive(limit: f64, what: &'static str, line: &str) -> Result<f64, CpuError> {
    if limit.is_finite() && limit > 0.0 {
        Ok(limit)
    } else {
        Err(unexpected(what, "more than no CPU", line))
    }
}

/// The number of CPUs in a set such as `0-4,6,8-10`.
///
/// # Errors
/// A text that is no such set, or an empty one.
pub fn cpus_in_set(set: &str) -> Result<f64, CpuError> {
    const WHAT: &str = "the set of CPUs";
    let line = set.lines().next().unwrap_or_default().trim();
    let mut cpus: u64 = 0;
    for part in line.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from: u64 = number(Some(from), WHAT, line)?;
        let to: u64 = number(Some(to), WHAT, line)?;
        let count = to.checked_sub(from).and_then(|more| more.checked_add(1));
        cpus = count
            .and_then(|count| cpus.checked_add(count))
            .ok_or_else(|| unexpected(WHAT, "rising", line))?;
    }
    Ok(cpus as f64)
}

// -------------------------------------------------------------------------------------------- ECS

/// What part of a CPU's time an ECS container may use, in CPUs.
///
/// `task` is the agent's answer to `${URI}/task`, `container` the one to `${URI}`. The task's limit, or
/// all CPUs when it has none, is divided by the shares of its containers.
///
/// # Errors
/// Shares that sum up to nothing.
pub fn ecs_limit(task: &Value, container: &Value, online_cpus: f64) -> Result<f64, CpuError> {
    /// What ECS gives a container that names no share.
    const DEFAULT_SHARE: f64 = 2.0;
    let of_task = task["Limits"]["CPU"].as_f64().unwrap_or(online_cpus);
    let id = container["DockerId"].as_str().unwrap_or_default();
    let (mut mine, mut all) = (DEFAULT_SHARE, 0.0);
    for sibling in task["Containers"].as_array().into_iter().flatten() {
        let share = sibling["Limits"]["CPU"].as_f64().unwrap_or(0.0);
        if sibling["DockerId"].as_str() == Some(id) {
            mine = share;
        }
        all += share;
    }
    positive(
        mine / all * of_task,
        "the share of this container in its task's CPU",
        &format!("{mine} of {all} shares of {of_task}"),
    )
}

/// The number of CPUs that `${URI}/stats` of the ECS agent tells of.
#[must_use]
pub fn ecs_online_cpus(stats: &Value) -> Option<f64> {
    stats["cpu_stats"]["online_cpus"]
        .as_f64()
        .filter(|cpus| *cpus > 0.0)
}

/// Percent of `limit` (CPUs) that an ECS container used lately: the agent's statistics hold the
/// counters of now and of a moment before. 0 at the first sample of a container.
///
/// # Errors
/// Statistics without these counters.
pub fn ecs_busy(stats: &Value, limit: f64) -> Result<f64, CpuError> {
    const WHAT: &str = "the container's CPU statistics";
    let missing = || unexpected(WHAT, "there", &stats["cpu_stats"].to_string());
    let counter = |when: &str, path: &str| stats[when].pointer(path).and_then(Value::as_u64);
    let used = counter("cpu_stats", "/cpu_usage/total_usage").ok_or_else(missing)?;
    let system = counter("cpu_stats", "/system_cpu_usage").ok_or_else(missing)?;
    let used_before = counter("precpu_stats", "/cpu_usage/total_usage").unwrap_or(0);
    let system_before = counter("precpu_stats", "/system_cpu_usage").unwrap_or(0);
    if used_before == 0 && system_before == 0 {
        return Ok(0.0);
    }
    let system = system.saturating_sub(system_before);
    if system == 0 {
        // No time has passed for the host: the container had all of it, says Java.
        return Ok(100.0);
    }
    let cpus = ecs_online_cpus(stats).ok_or_else(missing)?;
    let used = used.saturating_sub(used_before) as f64 / system as f64 * cpus;
    Ok((used / limit * 100.0).clamp(0.0, 100.0))
}

#[cfg(test)]
#[path = "cpu_tests.rs"]
mod tests;
