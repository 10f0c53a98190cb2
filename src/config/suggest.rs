//! Did you mean …? Nearest known name for a mistyped one.

/// The name among `known` that `written` most probably stands for, if one is near enough.
///
/// Letters' case and the signs `-`, `_` and `.` do not count as differences; a name of up to four
/// characters may have one typing error, a longer one two, a long one one in five characters.
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = squeeze(written);
    if wanted.is_empty() || wanted.len() > 120 {
        return None;
    }
    let allowed = match wanted.len() {
        0..=4 => 1,
        5..=14 => 2,
        n => n / 5,
    };
    known
        .into_iter()
        .filter_map(|name| {
            let candidate = squeeze(name);
            if candidate.len().abs_diff(wanted.len()) > allowed {
                return None;
            }
            let distance = edit_distance(&wanted, &candidate);
            (distance <= allowed && distance < candidate.len()).then_some((distance, name))
        })
        // The first of equally near names wins: tables list the common names first.
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A sentence ", did you mean 'x'?" or nothing, to be appended to a message.
pub(super) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

fn squeeze(name: &str) -> Vec<char> {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_' | '.' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            // proven: rows have b.len() + 1 entries, and j < b.len().
            let mut cost = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &str, b: &str) -> usize {
        edit_distance(
            &a.chars().collect::<Vec<_>>(),
            &b.chars().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("ca", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let known = ["maxRecords", "metricsLevel", "workerId", "tableName"];
        for (written, expected) in [
            ("MaxRecords", Some("maxRecords")),
            ("max_records", Some("maxRecords")),
            ("maxRecord", Some("maxRecords")),
            ("metricLevel", Some("metricsLevel")),
            ("wrokerId", Some("workerId")),
            ("banana", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
    }
}
