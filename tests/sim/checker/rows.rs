//! I.11 to I.13: what is written into the table besides leases, and what is left alone.

use super::Violation;
use super::history::History;
use crate::trace::{Item, Row};

/// I.11: attributes that nobody knows survive.
pub fn unknown_attributes_survive(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for write in history.writes() {
        if !write.process().is_some_and(|p| history.is_ours(p)) {
            continue;
        }
        if let (Some(Row::Lease { extra: was, .. }), Some(after)) =
            (write.before.map(|row| &**row), write.after)
        {
            let kept = matches!(&**after, Row::Lease { extra, .. } if extra == was);
            if !kept {
                let text = "an unknown attribute is gone";
                wrong.push(history.violation("I.11", write.index, Some(write.key), text));
            }
        }
    }
    wrong
}

/// I.12: with the 2.x algorithm nothing but leases is written into the lease table.
pub fn only_leases_are_written(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if history.rules.assigned {
        return wrong;
    }
    for write in history.writes() {
        let ours = write.process().is_some_and(|p| history.is_ours(p));
        if ours && write.after.is_some_and(|row| row.as_lease().is_none()) {
            let text = "an item that is no lease was written";
            wrong.push(history.violation("I.12", write.index, Some(write.key), text));
        }
    }
    wrong
}

/// I.13: a row that cannot be read is left as it is. (That it stops nothing else is I.31.)
pub fn strange_rows_are_left_alone(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for write in history.writes() {
        let ours = write.process().is_some_and(|p| history.is_ours(p));
        let strange = |row: &std::sync::Arc<Row>| {
            matches!(
                &**row,
                Row::Item {
                    item: Item::Garbage | Item::Foreign(_),
                    ..
                }
            )
        };
        if ours && write.before.is_some_and(strange) {
            let text = "a row that is no lease was changed";
            wrong.push(history.violation("I.13", write.index, Some(write.key), text));
        }
    }
    wrong
}
