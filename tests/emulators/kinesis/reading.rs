//! Iterators and GetRecords.

use std::time::Duration;

use super::place::{Begin, now_millis, refused};
use super::{Outcome, Place, checks, must};

checks![
    every_position_begins_where_it_says,
    latest_sees_only_what_comes_later,
    a_time_between_two_records_is_exact,
    a_time_after_the_last_record_gives_what_comes_later,
    limits_make_pages,
    iterators_can_be_used_twice,
    millis_behind_latest_tells_the_age_of_what_is_unread,
    an_answer_has_at_most_ten_megabytes,
    iterators_are_checked,
    sequence_numbers_of_others_are_refused,
    what_is_no_sequence_number_is_refused,
];

const FIRST: &str = "shardId-000000000000";

fn every_position_begins_where_it_says(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let mut numbers = Vec::new();
    for text in ["a", "b", "c"] {
        numbers.push(place.put(&stream, 0, text.as_bytes())?.1);
    }
    let table: [(Begin, &[&str]); 6] = [
        (Begin::Start, &["a", "b", "c"]),
        (Begin::Latest, &[]),
        (Begin::At(numbers[0].clone()), &["a", "b", "c"]),
        (Begin::At(numbers[2].clone()), &["c"]),
        (Begin::After(numbers[0].clone()), &["b", "c"]),
        (Begin::After(numbers[2].clone()), &[]),
    ];
    for (begin, expected) in table {
        let read = place.read(&stream, FIRST, &begin)?;
        must!(read.texts == expected, "{begin:?} gave {:?}", read.texts);
        must!(read.end.is_none(), "an open shard ended");
    }
    Ok(())
}

fn latest_sees_only_what_comes_later(place: &Place) -> Outcome {
    let stream = place.stream(1);
    place.put(&stream, 0, b"early")?;
    let iterator = place.iterator(&stream, FIRST, &Begin::Latest)?;
    place.put(&stream, 0, b"late")?;
    must!(
        place.read_on(iterator)?.texts == ["late"],
        "LATEST did not give just the record put after it"
    );
    Ok(())
}

fn a_time_between_two_records_is_exact(place: &Place) -> Outcome {
    // More than once, so that rounding to seconds cannot be right by accident.
    for _ in 0..3 {
        let stream = place.stream(1);
        let start = now_millis();
        std::thread::sleep(Duration::from_millis(150));
        place.put(&stream, 0, b"a")?;
        std::thread::sleep(Duration::from_millis(150));
        let between = now_millis();
        std::thread::sleep(Duration::from_millis(150));
        place.put(&stream, 0, b"b")?;
        let read = place.read(&stream, FIRST, &Begin::Time(start))?.texts;
        must!(read == ["a", "b"], "the time before both gave {read:?}");
        let read = place.read(&stream, FIRST, &Begin::Time(between))?.texts;
        must!(read == ["b"], "the time between gave {read:?}");
    }
    Ok(())
}

fn a_time_after_the_last_record_gives_what_comes_later(place: &Place) -> Outcome {
    let stream = place.stream(1);
    place.put(&stream, 0, b"a")?;
    std::thread::sleep(Duration::from_millis(150));
    let after = now_millis();
    std::thread::sleep(Duration::from_millis(150));
    let iterator = place.iterator(&stream, FIRST, &Begin::Time(after))?;
    must!(
        place.read_on(iterator.clone())?.texts.is_empty(),
        "there is nothing yet"
    );
    place.put(&stream, 0, b"b")?;
    let read = place.read_on(iterator)?.texts;
    must!(read == ["b"], "{read:?}");
    Ok(())
}

fn limits_make_pages(place: &Place) -> Outcome {
    let stream = place.stream(1);
    for number in 0..5 {
        place.put(&stream, 0, format!("{number}").as_bytes())?;
    }
    let (mut iterator, mut texts) = (place.iterator(&stream, FIRST, &Begin::Start)?, Vec::new());
    for expected in [2, 2, 1] {
        let page = place.get(&iterator, Some(2))?;
        must!(
            page.records.len() == expected,
            "a page of {} where {expected} was due",
            page.records.len()
        );
        texts.extend(
            page.records
                .iter()
                .map(|record| String::from_utf8_lossy(record.data.as_ref()).into_owned()),
        );
        iterator = page.next_shard_iterator.ok_or("an open shard ended")?;
    }
    must!(texts == ["0", "1", "2", "3", "4"], "{texts:?}");
    Ok(())
}

fn iterators_can_be_used_twice(place: &Place) -> Outcome {
    let stream = place.stream(1);
    place.put(&stream, 0, b"a")?;
    let iterator = place.iterator(&stream, FIRST, &Begin::Start)?;
    for time in ["first", "second"] {
        must!(
            place.get(&iterator, None)?.records.len() == 1,
            "the {time} use did not give the record"
        );
    }
    Ok(())
}

fn millis_behind_latest_tells_the_age_of_what_is_unread(place: &Place) -> Outcome {
    // Whether it is told from the last record read, from the first one not read or from the newest one,
    // and up to now or up to the newest: here it is always more than a second.
    let stream = place.stream(1);
    for number in 0..3 {
        place.put(&stream, 0, format!("{number}").as_bytes())?;
        std::thread::sleep(Duration::from_millis(1200));
    }
    let iterator = place.iterator(&stream, FIRST, &Begin::Start)?;
    let first = place.get(&iterator, Some(1))?;
    let behind = first.millis_behind_latest.unwrap_or(0);
    must!(
        (1000..60_000).contains(&behind),
        "{behind} ms behind with two unread records, each more than a second later"
    );
    let rest = place.get(
        &first.next_shard_iterator.ok_or("an open shard ended")?,
        None,
    )?;
    must!(rest.records.len() == 2, "{} records", rest.records.len());
    let tip = place.get(
        &rest.next_shard_iterator.ok_or("an open shard ended")?,
        None,
    )?;
    must!(
        tip.millis_behind_latest == Some(0),
        "{:?} ms behind at the tip",
        tip.millis_behind_latest
    );
    Ok(())
}

fn an_answer_has_at_most_ten_megabytes(place: &Place) -> Outcome {
    const RECORDS: usize = 14;
    let stream = place.stream(1);
    let data = vec![b'x'; 1_000_000];
    for _ in 0..RECORDS {
        place.put(&stream, 0, &data)?;
    }
    let (mut next, mut sizes) = (
        Some(place.iterator(&stream, FIRST, &Begin::Start)?),
        Vec::new(),
    );
    while sizes.iter().sum::<usize>() < RECORDS {
        must!(
            sizes.len() < RECORDS,
            "after {sizes:?} records something is missing"
        );
        let page = place.get(&next.take().ok_or("an open shard ended")?, None)?;
        let bytes: usize = page
            .records
            .iter()
            .map(|record| record.data.as_ref().len())
            .sum();
        must!(bytes <= 10 << 20, "an answer of {bytes} bytes");
        sizes.push(page.records.len());
        next = page.next_shard_iterator;
    }
    must!(
        sizes.iter().sum::<usize>() == RECORDS,
        "pages of {sizes:?} records"
    );
    Ok(())
}

fn iterators_are_checked(place: &Place) -> Outcome {
    refused(
        "an iterator that nobody gave",
        "InvalidArgumentException",
        place.get("AAAAnonsense", None),
    )
}

fn sequence_numbers_of_others_are_refused(place: &Place) -> Outcome {
    let stream = place.stream(2);
    let (shard, number) = place.put(&stream, 0, b"x")?;
    must!(shard == FIRST, "hash key 0 went to {shard}");
    for begin in [Begin::At(number.clone()), Begin::After(number)] {
        let answer = place.iterator(&stream, "shardId-000000000001", &begin);
        refused(
            &format!("{begin:?} in another shard"),
            "InvalidArgumentException",
            answer,
        )?;
    }
    Ok(())
}

fn what_is_no_sequence_number_is_refused(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let Err(error) = place.iterator(&stream, FIRST, &Begin::At("nonsense".to_owned())) else {
        return Err("'nonsense' was accepted".to_owned());
    };
    // AWS describes the argument by a pattern, which speaks for the first.
    let names = ["ValidationException", "InvalidArgumentException"];
    must!(
        names.contains(&error.code.as_str()),
        "{}",
        String::from(error)
    );
    Ok(())
}
