//! Records: what goes in comes out, and where.

use super::place::{Begin, now_millis, range, refused, sequence};
use super::{Outcome, Place, checks, must};

checks![
    records_come_out_as_they_went_in,
    explicit_hash_keys_choose_the_shard,
    partition_keys_are_hashed_by_md5,
    records_of_almost_a_megabyte,
    five_hundred_records_at_once,
    more_than_five_hundred_are_refused,
    arrival_times_are_in_milliseconds,
];

const FIRST: &str = "shardId-000000000000";

fn records_come_out_as_they_went_in(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = [
        ("plain", vec![b'a']),
        ("Schlüssel-鍵", every_byte),
        ("third", vec![0]),
    ];
    let records: Vec<(String, Vec<u8>)> = records.map(|(key, data)| (key.to_owned(), data)).into();
    must!(
        place.put_many(&stream, &records)? == 0,
        "entries were refused"
    );
    let iterator = place.iterator(&stream, FIRST, &Begin::Start)?;
    let answer = place.get(&iterator, None)?;
    let got: Vec<(String, Vec<u8>)> = answer
        .records
        .iter()
        .map(|record| {
            (
                record.partition_key().unwrap_or_default().to_owned(),
                record.data.as_ref().to_vec(),
            )
        })
        .collect();
    must!(got == records, "{got:?}");
    let numbers: Vec<&str> = answer
        .records
        .iter()
        .map(|record| record.sequence_number())
        .collect();
    must!(
        numbers
            .windows(2)
            .all(|pair| sequence(pair[0]) < sequence(pair[1])),
        "{numbers:?} do not ascend"
    );
    let (shard, number) = place.put(&stream, 0, b"one more")?;
    let last = place.read(&stream, &shard, &Begin::At(number.clone()))?;
    must!(
        last.numbers == [number],
        "the number that PutRecord told is not the record's: {last:?}"
    );
    Ok(())
}

fn explicit_hash_keys_choose_the_shard(place: &Place) -> Outcome {
    let stream = place.stream(3);
    for shard in place.shards(&stream)? {
        let (first, last) = range(&shard)?;
        for hash in [first, first + (last - first) / 2, last] {
            let (taken, _) = place.put(&stream, hash, b"x")?;
            must!(
                taken == shard.shard_id,
                "{hash} went to {taken}, not to {}",
                shard.shard_id
            );
        }
    }
    Ok(())
}

fn partition_keys_are_hashed_by_md5(place: &Place) -> Outcome {
    // MD5 of "a" is 0cc1…, of "b" 92eb…, of "kcl" 7f62….
    let stream = place.stream(2);
    for (key, shard) in [("a", FIRST), ("b", "shardId-000000000001"), ("kcl", FIRST)] {
        let call = place
            .client()
            .put_record()
            .stream_name(&stream)
            .partition_key(key)
            .data(aws_sdk_kinesis::primitives::Blob::new("x"));
        let taken = place.ask(call.send())?.shard_id;
        must!(taken == shard, "{key:?} went to {taken}");
    }
    Ok(())
}

fn records_of_almost_a_megabyte(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let data = vec![b'x'; (1 << 20) - 100];
    place.put(&stream, 0, &data)?;
    let iterator = place.iterator(&stream, FIRST, &Begin::Start)?;
    let answer = place.get(&iterator, None)?;
    must!(
        answer.records.len() == 1 && answer.records[0].data.as_ref() == data,
        "the data is not the same"
    );
    Ok(())
}

fn five_hundred_records_at_once(place: &Place) -> Outcome {
    let stream = place.stream(2);
    let records: Vec<(String, Vec<u8>)> = (0..500)
        .map(|n| (format!("key{n}"), format!("{n}").into_bytes()))
        .collect();
    must!(
        place.put_many(&stream, &records)? == 0,
        "entries were refused"
    );
    let mut texts = Vec::new();
    for shard in place.shards(&stream)? {
        let read = place.read(&stream, shard.shard_id(), &Begin::Start)?;
        let own: Vec<u32> = read
            .texts
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        must!(
            own.is_sorted(),
            "{} does not keep the order of one call",
            shard.shard_id
        );
        must!(
            own.len() > 150,
            "{} got only {} of 500",
            shard.shard_id,
            own.len()
        );
        texts.extend(own);
    }
    texts.sort_unstable();
    must!(
        texts == (0..500).collect::<Vec<u32>>(),
        "{} of 500 came out",
        texts.len()
    );
    Ok(())
}

fn more_than_five_hundred_are_refused(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let records: Vec<(String, Vec<u8>)> =
        (0..501).map(|n| (format!("key{n}"), vec![b'x'])).collect();
    refused(
        "PutRecords of 501 records",
        "ValidationException",
        place.put_many(&stream, &records),
    )?;
    must!(
        place.read(&stream, FIRST, &Begin::Start)?.texts.is_empty(),
        "some of them were written"
    );
    Ok(())
}

fn arrival_times_are_in_milliseconds(place: &Place) -> Outcome {
    let stream = place.stream(1);
    // Three, so that seconds only would be found out whenever this runs.
    for _ in 0..3 {
        let before = now_millis();
        let (shard, number) = place.put(&stream, 0, b"x")?;
        let after = now_millis();
        let iterator = place.iterator(&stream, &shard, &Begin::At(number))?;
        let answer = place.get(&iterator, Some(1))?;
        let arrived = answer
            .records
            .first()
            .and_then(|record| record.approximate_arrival_timestamp());
        let arrived = arrived
            .ok_or("no arrival time")?
            .to_millis()
            .map_err(|error| error.to_string())?;
        // The answer has seconds with a fraction, which may round down by one.
        must!(
            (before - 1..=after).contains(&arrived),
            "arrived at {arrived}, but put between {before} and {after}"
        );
        std::thread::sleep(std::time::Duration::from_millis(137));
    }
    Ok(())
}
