//! Properties under random writes, reshardings and reads.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put { hash: u128 },
    PutMany { count: usize },
    Split { which: usize, share: u8 },
    Merge { which: usize },
    Scale { count: usize },
    Wait { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u128>().prop_map(|hash| Step::Put { hash }),
        3 => (1..20usize).prop_map(|count| Step::PutMany { count }),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(which, share)| Step::Split { which, share }),
        2 => any::<usize>().prop_map(|which| Step::Merge { which }),
        1 => (1..7usize).prop_map(|count| Step::Scale { count }),
        3 => (1..50i64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// A stream after some steps, and what the writer knows of it.
struct World {
    kinesis: Kinesis,
    now: i64,
    written: Vec<(i64, String, PutReceipt)>,
}

impl World {
    fn new(shards: usize, options: Options) -> Self {
        Self {
            kinesis: with_options(shards, options),
            now: T0,
            written: Vec::new(),
        }
    }

    fn open(&mut self) -> Vec<ShardDescription> {
        let query = ShardQuery::Of {
            stream: "s",
            exclusive_start: None,
            filter: Some(ShardFilter::AtLatest),
        };
        let mut open = self
            .kinesis
            .list_shards(query, None, self.now)
            .unwrap()
            .shards;
        open.sort_by_key(|shard| shard.hash_key_range.start);
        open
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Put { hash } => {
                let data = format!("{}", self.written.len());
                let entry = PutEntry {
                    explicit_hash_key: Some(hash),
                    ..entry("k", data.as_bytes())
                };
                let receipt = self.kinesis.put_record("s", entry, self.now).unwrap();
                self.written.push((self.now, data, receipt));
            }
            Step::PutMany { count } => {
                let first = self.written.len();
                let data: Vec<_> = (first..first + count).map(|i| i.to_string()).collect();
                let entries: Vec<_> = data.iter().map(|d| entry(d, d.as_bytes())).collect();
                let receipts = self.kinesis.put_records("s", &entries, self.now).unwrap();
                let now = self.now;
                self.written.extend(
                    data.iter()
                        .cloned()
                        .zip(receipts)
                        .map(|(d, r)| (now, d, r.unwrap())),
                );
            }
            Step::Split { which, share } => {
                let open = self.open();
                let shard = &open[which % open.len()];
                let range = shard.hash_key_range;
                let at = range.start + (range.end - range.start) / 256 * u128::from(share) + 1;
                if at <= range.end {
                    self.kinesis
                        .split_shard("s", shard.shard_id, at, self.now)
                        .unwrap();
                }
            }
            Step::Merge { which } => {
                let open = self.open();
                if open.len() > 1 {
                    let at = which % (open.len() - 1);
                    self.kinesis
                        .merge_shards("s", open[at].shard_id, open[at + 1].shard_id, self.now)
                        .unwrap();
                }
            }
            Step::Scale { count } => {
                self.kinesis
                    .update_shard_count("s", count, self.now)
                    .unwrap();
            }
            Step::Wait { ms } => self.now += ms,
        }
        // A resharding may need a millisecond of its own.
        self.now = self.now.max(self.kinesis.clock_ms);
    }

    fn listed(&mut self, filter: ShardFilter) -> Vec<ShardDescription> {
        let query = ShardQuery::Of {
            stream: "s",
            exclusive_start: None,
            filter: Some(filter),
        };
        self.kinesis
            .list_shards(query, None, self.now)
            .unwrap()
            .shards
    }

    /// Reads a shard to its end or tip; returns its records and the children told at the end.
    fn drain(
        &mut self,
        shard: ShardId,
        position: &Position,
        limit: usize,
    ) -> (Vec<Record>, Option<Vec<ChildShard>>) {
        let mut it = self
            .kinesis
            .get_shard_iterator("s", shard, position, self.now)
            .unwrap();
        let mut records = Vec::new();
        loop {
            let page = self
                .kinesis
                .get_records(&it, Some(limit), None, self.now)
                .unwrap();
            let tip = page.millis_behind_latest == 0 && page.records.is_empty();
            records.extend(page.records);
            match page.next_iterator {
                None => return (records, Some(page.child_shards)),
                Some(_) if tip => return (records, None),
                Some(next) => it = next,
            }
        }
    }

    /// What a consumer gets that begins with the shards of `filter`, at `position`, and follows children from their
    /// beginning when all their parents are done.
    fn walk(
        &mut self,
        filter: ShardFilter,
        position: &Position,
        limit: usize,
    ) -> Vec<(ShardId, Vec<Record>)> {
        let first: BTreeSet<ShardId> = self
            .listed(filter)
            .iter()
            .map(|shard| shard.shard_id)
            .collect();
        let (mut todo, mut seen) = (first.clone(), first.clone());
        let (mut done, mut read) = (BTreeSet::new(), Vec::new());
        while let Some(shard) = todo.pop_first() {
            let position = if first.contains(&shard) {
                position
            } else {
                &Position::TrimHorizon
            };
            let (records, children) = self.drain(shard, position, limit);
            read.push((shard, records));
            done.insert(shard);
            for child in children.unwrap_or_default() {
                assert!(child.parent_shards.contains(&shard));
                seen.insert(child.shard_id);
                if child
                    .parent_shards
                    .iter()
                    .all(|parent| done.contains(parent))
                {
                    assert!(
                        todo.insert(child.shard_id),
                        "a child is told of as ready once"
                    );
                }
            }
        }
        assert_eq!(seen, done, "no child waits for ever");
        read
    }
}

fn tile(shards: &[ShardDescription]) -> bool {
    let mut ranges: Vec<_> = shards.iter().map(|shard| shard.hash_key_range).collect();
    ranges.sort_by_key(|range| range.start);
    ranges.first().is_some_and(|range| range.start == 0)
        && ranges.last().is_some_and(|range| range.end == MAX_HASH_KEY)
        && ranges
            .windows(2)
            .all(|pair| pair[0].end.checked_add(1) == Some(pair[1].start))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shards_open_at_any_instant_tile_the_hash_keys(shards in 1..5usize, steps in prop::collection::vec(step(), 0..25)) {
        let mut world = World::new(shards, Options::default());
        for step in &steps {
            world.take(step);
            prop_assert!(tile(&world.listed(ShardFilter::AtLatest)), "after {step:?}");
        }
        for at in T0..=world.now {
            prop_assert!(tile(&world.listed(ShardFilter::AtTimestamp(at))), "at {at}");
        }
        let (begin, end) = (world.now, world.now + DAY);
        for trim_horizon in T0..=begin {
            world.now = trim_horizon + DAY;
            prop_assert!(tile(&world.listed(ShardFilter::AtTrimHorizon)), "at the trim horizon {trim_horizon}");
        }
        prop_assert_eq!(world.now, end);
    }

    #[test]
    fn every_record_is_read_exactly_once_in_the_order_of_its_shard(
        shards in 1..5usize,
        steps in prop::collection::vec(step(), 0..40),
        limit in 1..30usize,
        last_records_with_end: bool,
    ) {
        let mut world = World::new(shards, Options { last_records_with_end, ..Options::default() });
        steps.iter().for_each(|step| world.take(step));
        let read = world.walk(ShardFilter::AtTrimHorizon, &Position::TrimHorizon, limit);
        let mut expected: BTreeMap<ShardId, Vec<(SequenceNumber, String)>> = BTreeMap::new();
        for (_, data, receipt) in &world.written {
            expected.entry(receipt.shard_id).or_default().push((receipt.sequence_number, data.clone()));
        }
        for (shard, records) in &read {
            let got: Vec<_> = records.iter().map(|r| r.sequence_number).zip(texts(records)).collect();
            prop_assert!(got.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert_eq!(got, expected.remove(shard).unwrap_or_default());
        }
        prop_assert!(expected.is_empty(), "never read: {:?}", expected);
    }

    #[test]
    fn children_come_after_their_parents(shards in 1..5usize, steps in prop::collection::vec(step(), 0..25)) {
        let mut world = World::new(shards, Options::default());
        steps.iter().for_each(|step| world.take(step));
        let all: BTreeMap<_, _> =
            world.listed(ShardFilter::FromTrimHorizon).into_iter().map(|shard| (shard.shard_id, shard)).collect();
        for child in all.values() {
            for parent in [child.parent, child.adjacent_parent].into_iter().flatten() {
                let ending = all[&parent].ending_sequence_number;
                prop_assert!(ending.is_some_and(|ending| ending < child.starting_sequence_number));
                prop_assert!(ending.unwrap().to_string() < child.starting_sequence_number.to_string());
            }
        }
        for (_, _, receipt) in &world.written {
            let shard = &all[&receipt.shard_id];
            prop_assert!(shard.starting_sequence_number < receipt.sequence_number);
            prop_assert!(shard.ending_sequence_number.is_none_or(|ending| receipt.sequence_number < ending));
        }
    }

    #[test]
    fn a_timestamp_neither_loses_nor_replays(
        shards in 1..4usize,
        steps in prop::collection::vec(step(), 0..30),
        share in 0..=100i64,
    ) {
        let mut world = World::new(shards, Options::default());
        steps.iter().for_each(|step| world.take(step));
        let at = T0 + (world.now - T0) * share / 100;
        // Made before a last record comes, which they must give too.
        let ids: Vec<_> = world.listed(ShardFilter::FromTrimHorizon).iter().map(|shard| shard.shard_id).collect();
        let position = Position::AtTimestamp(at);
        let its: Vec<_> = ids
            .iter()
            .map(|&id| world.kinesis.get_shard_iterator("s", id, &position, world.now).unwrap())
            .collect();
        world.take(&Step::Put { hash: 0 });
        let mut read = Vec::new();
        for it in its {
            read.extend(texts(&world.kinesis.get_records(&it, None, None, world.now).unwrap().records));
        }
        let mut expected: Vec<_> =
            world.written.iter().filter(|(arrival, ..)| *arrival >= at).map(|(_, data, _)| data.clone()).collect();
        read.sort();
        expected.sort();
        prop_assert_eq!(&read, &expected);

        let walked = world.walk(ShardFilter::AtTimestamp(at), &position, 7);
        let mut walked: Vec<_> = walked.iter().flat_map(|(_, records)| texts(records)).collect();
        walked.sort();
        prop_assert_eq!(walked, expected, "from the shards open then");
    }

    #[test]
    fn a_subscription_gives_what_reading_gives(
        steps in prop::collection::vec(step(), 0..30),
        polls in prop::collection::vec(0..3usize, 0..30),
    ) {
        let mut world = World::new(1, Options::default());
        let arn = world.kinesis.register_stream_consumer("s", "c", T0).unwrap().arn;
        let id = world.kinesis.subscribe(&arn, ShardId(0), &Position::TrimHorizon, T0).unwrap();
        let (mut got, mut continuations, mut ended) = (Vec::new(), Vec::new(), false);
        let mut poll = |world: &mut World| {
            if let SubscriptionPoll::Event(event) = world.kinesis.subscription_poll(id, world.now) {
                got.extend(texts(&event.records));
                ended |= event.continuation.is_none();
                continuations.extend(event.continuation);
            }
        };
        for (i, step) in steps.iter().enumerate() {
            world.take(step);
            (0..polls.get(i).copied().unwrap_or(0)).for_each(|_| poll(&mut world));
        }
        (0..3).for_each(|_| poll(&mut world));
        prop_assert!(continuations.is_sorted_by(|a, b| a < b));
        let (records, end) = world.drain(ShardId(0), &Position::TrimHorizon, 1_000);
        prop_assert_eq!(got, texts(&records));
        prop_assert_eq!(ended, end.is_some());
    }
}
