//! The files in `tests/cases/aggregate` say where they come from.

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    if text == "\"\"" {
        return Vec::new();
    }
    assert_eq!(text.len() % 2, 0, "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn case_lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(' ').collect())
}

#[test]
fn same_bytes_as_aws_kinesis_agg() {
    let mut name = String::new();
    let mut records: Vec<Record> = Vec::new();
    let mut cases = 0;
    for line in case_lines(include_str!("../../../../tests/cases/aggregate/encode.txt")) {
        match line[..] {
            ["case", ..] => name = line[1..].join(" "),
            ["record", key, hash_key, data] => records.push((
                String::from_utf8(unhex(key)).unwrap(),
                (hash_key != "-").then(|| hash_key.parse().unwrap()),
                unhex(data),
            )),
            ["aggregate", expected] => {
                let expected = unhex(expected);
                assert_eq!(aggregated(&records), expected, "{name}");
                assert_eq!(deaggregated(&expected), records, "{name}");
                records.clear();
                cases += 1;
            }
            _ => panic!("{line:?}"),
        }
    }
    assert_eq!(cases, 15);
}

#[test]
fn same_records_as_java() {
    let mut cases = 0;
    for line in case_lines(include_str!(
        "../../../../tests/cases/aggregate/deaggregate.txt"
    )) {
        let [data, start, end, kind, ref expected @ ..] = line[..] else {
            panic!("{line:?}");
        };
        let data = unhex(data);
        let range = HashRange::parse(start, end).unwrap();
        match deaggregate(&data, range, RangeFilter::Whole) {
            Deaggregated::Plain => assert_eq!(kind, "plain", "{line:?}"),
            Deaggregated::UserRecords { records, dropped } => {
                assert_eq!(kind, "records", "{line:?}");
                // Java goes no further than the first malformed record.
                let java_end = dropped
                    .first_malformed
                    .map_or(u64::MAX, |malformed| malformed.sub_sequence);
                let delivered: Vec<_> = records
                    .iter()
                    .filter(|record| record.sub_sequence < java_end)
                    .map(|record| {
                        (
                            record.sub_sequence,
                            record.partition_key.as_bytes().to_vec(),
                            record.data.to_vec(),
                        )
                    })
                    .collect();
                let expected: Vec<_> = expected
                    .iter()
                    .map(|text| {
                        let [sub, key, data] = text.split(':').collect::<Vec<_>>()[..] else {
                            panic!("{text}");
                        };
                        (sub.parse().unwrap(), unhex(key), unhex(data))
                    })
                    .collect();
                assert_eq!(delivered, expected, "{line:?}");
            }
        }
        cases += 1;
    }
    assert!(cases > 50, "{cases}");
}
