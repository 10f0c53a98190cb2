//! Registered consumers and their subscriptions.

use super::*;

fn consumer(kinesis: &mut Kinesis) -> String {
    kinesis.register_stream_consumer("s", "c", T0).unwrap().arn
}

fn event(poll: SubscriptionPoll) -> SubscriptionEvent {
    match poll {
        SubscriptionPoll::Event(event) => event,
        other => panic!("no event: {other:?}"),
    }
}

fn failure(poll: SubscriptionPoll) -> ErrorKind {
    match poll {
        SubscriptionPoll::Failed(error) => error.kind,
        other => panic!("no failure: {other:?}"),
    }
}

#[test]
fn consumers_are_registered_found_and_removed() {
    let mut kinesis = slow(1);
    let now = T0 + 1_000;
    let registered = kinesis.register_stream_consumer("s", "c", now).unwrap();
    assert_eq!(registered.status, ConsumerStatus::Creating);
    assert_eq!(
        registered.arn,
        format!("{}/consumer/c:{}", registered.stream_arn, now / 1000)
    );
    assert_eq!(
        kind(kinesis.register_stream_consumer("s", "c", now)),
        ErrorKind::ResourceInUse
    );
    assert_eq!(
        kind(kinesis.register_stream_consumer("s", "", now)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.register_stream_consumer("t", "c", now)),
        ErrorKind::ResourceNotFound
    );
    let early = kinesis.subscribe(&registered.arn, ShardId(0), &Position::Latest, now);
    assert_eq!(kind(early), ErrorKind::ResourceInUse, "CREATING");

    let later = now + 1_000;
    let found = kinesis.describe_stream_consumer("s", "c", later).unwrap();
    assert_eq!(
        (found.status, found.created_ms),
        (ConsumerStatus::Active, now)
    );
    assert_eq!(
        kinesis.describe_stream_consumer_arn(&registered.arn, later),
        Ok(found)
    );
    assert_eq!(
        kind(kinesis.describe_stream_consumer("s", "d", later)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        kind(kinesis.describe_stream_consumer_arn("arn:aws:x", later)),
        ErrorKind::Validation
    );
    assert_eq!(
        kinesis
            .describe_stream_summary("s", later)
            .unwrap()
            .consumers,
        1
    );
    assert_eq!(
        kind(kinesis.delete_stream("s", false, later)),
        ErrorKind::ResourceInUse
    );

    kinesis
        .deregister_stream_consumer_arn(&registered.arn, later)
        .unwrap();
    assert_eq!(
        kind(kinesis.deregister_stream_consumer("s", "c", later)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        kind(kinesis.describe_stream_consumer_arn(&registered.arn, later)),
        ErrorKind::ResourceNotFound
    );
    kinesis.register_stream_consumer("s", "c", later).unwrap();
    assert_eq!(
        kind(kinesis.describe_stream_consumer_arn(&registered.arn, later)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(kinesis.delete_stream("s", true, later), Ok(()));
}

#[test]
fn consumers_are_limited_and_listed_in_pages() {
    let mut kinesis = slow(1);
    for i in 0..20 {
        let now = T0 + 1_000 + i * 200;
        kinesis
            .register_stream_consumer("s", &format!("c{i:02}"), now)
            .unwrap();
        if i == 4 {
            assert_eq!(
                kind(kinesis.register_stream_consumer("s", "d", now)),
                ErrorKind::LimitExceeded,
                "CREATING"
            );
        }
    }
    let now = T0 + DAY;
    assert_eq!(
        kind(kinesis.register_stream_consumer("s", "d", now)),
        ErrorKind::LimitExceeded,
        "in all"
    );
    let first = kinesis
        .list_stream_consumers("s", None, Some(15), now)
        .unwrap();
    let token = first.next_token.unwrap();
    let second = kinesis
        .list_stream_consumers("s", Some(&token), None, now)
        .unwrap();
    let names: Vec<_> = first
        .consumers
        .iter()
        .chain(&second.consumers)
        .map(|c| c.name.clone())
        .collect();
    assert_eq!(
        names,
        (0..20).map(|i| format!("c{i:02}")).collect::<Vec<_>>()
    );
    assert_eq!(second.next_token, None);
    assert_eq!(
        kind(kinesis.list_streams(None, Some(&token), None, now)),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn a_subscription_gives_backlog_news_and_signs_of_life() {
    let mut kinesis = with_stream(1);
    let arn = consumer(&mut kinesis);
    put(&mut kinesis, "a", T0);
    let id = kinesis
        .subscribe(&arn, ShardId(0), &Position::TrimHorizon, T0)
        .unwrap();
    let backlog = event(kinesis.subscription_poll(id, T0));
    assert_eq!(texts(&backlog.records), ["a"]);
    assert_eq!(
        backlog.continuation,
        Some(backlog.records[0].sequence_number)
    );
    assert_eq!(
        kinesis.subscription_poll(id, T0 + 1),
        SubscriptionPoll::Waiting {
            until_ms: T0 + 5_000
        }
    );
    let idle = event(kinesis.subscription_poll(id, T0 + 5_000));
    assert!(idle.records.is_empty() && idle.continuation > backlog.continuation);
    put(&mut kinesis, "b", T0 + 5_001);
    let news = event(kinesis.subscription_poll(id, T0 + 5_002));
    assert_eq!(
        (texts(&news.records), news.millis_behind_latest),
        (vec!["b".to_owned()], 0)
    );
    assert_eq!(
        kinesis.subscription_poll(id, T0 + 5_003),
        SubscriptionPoll::Waiting {
            until_ms: T0 + 10_002
        }
    );

    for (continuation, expected) in [
        (backlog.continuation, vec!["b"]),
        (idle.continuation, vec!["b"]),
        (news.continuation, vec![]),
    ] {
        let after = Position::AfterSequenceNumber(continuation.unwrap().to_string());
        assert_eq!(read(&mut kinesis, 0, after, T0 + 6_000), expected);
    }
    assert_eq!(
        kinesis.subscription_poll(id, T0 + 300_000),
        SubscriptionPoll::Ended
    );
    assert_eq!(kinesis.subscription_poll(id, T0), SubscriptionPoll::Ended);
}

#[test]
fn the_end_of_a_shard_comes_with_children_and_without_continuation() {
    let mut kinesis = with_stream(1);
    let arn = consumer(&mut kinesis);
    put(&mut kinesis, "a", T0);
    let now = T0 + 9;
    kinesis.split_shard("s", ShardId(0), 9, now).unwrap();
    let id = kinesis
        .subscribe(&arn, ShardId(0), &Position::TrimHorizon, now)
        .unwrap();
    let records = event(kinesis.subscription_poll(id, now));
    assert!(records.continuation.is_some() && records.child_shards.is_empty());
    let end = event(kinesis.subscription_poll(id, now));
    assert_eq!(
        (end.continuation, end.records.len(), end.child_shards.len()),
        (None, 0, 2)
    );
    assert_eq!(kinesis.subscription_poll(id, now), SubscriptionPoll::Ended);
    let again = kinesis
        .subscribe(&arn, ShardId(0), &Position::Latest, now + 5_000)
        .unwrap();
    assert_eq!(
        event(kinesis.subscription_poll(again, now + 5_000))
            .child_shards
            .len(),
        2
    );
}

#[test]
fn a_second_subscription_waits_five_seconds_and_then_takes_over() {
    let mut kinesis = with_stream(2);
    let arn = consumer(&mut kinesis);
    let mut subscribe =
        |shard, now| kinesis.subscribe(&arn, ShardId(shard), &Position::Latest, now);
    let first = subscribe(0, T0).unwrap();
    assert!(subscribe(1, T0).is_ok(), "another shard");
    assert_eq!(kind(subscribe(0, T0 + 4_999)), ErrorKind::ResourceInUse);
    let second = subscribe(0, T0 + 5_000).unwrap();
    assert_eq!(
        failure(kinesis.subscription_poll(first, T0 + 5_000)),
        ErrorKind::ResourceInUse
    );
    assert_eq!(
        kinesis.subscription_poll(first, T0 + 5_000),
        SubscriptionPoll::Ended
    );
    assert!(matches!(
        kinesis.subscription_poll(second, T0 + 5_000),
        SubscriptionPoll::Waiting { .. }
    ));
    kinesis.unsubscribe(second);
    let soon = kinesis.subscribe(&arn, ShardId(0), &Position::Latest, T0 + 5_001);
    assert_eq!(
        kind(soon),
        ErrorKind::ResourceInUse,
        "leaving does not shorten the five seconds"
    );
}

#[test]
fn subscriptions_fail_with_what_they_hang_on() {
    let mut kinesis = with_stream(1);
    let arn = consumer(&mut kinesis);
    let wrong_shard = kinesis.subscribe(&arn, ShardId(3), &Position::Latest, T0);
    assert_eq!(kind(wrong_shard), ErrorKind::ResourceNotFound);
    let foreign = Position::AtSequenceNumber("7".into());
    assert_eq!(
        kind(kinesis.subscribe(&arn, ShardId(0), &foreign, T0)),
        ErrorKind::InvalidArgument
    );
    let id = kinesis
        .subscribe(&arn, ShardId(0), &Position::Latest, T0)
        .unwrap();
    kinesis.break_subscriptions(ErrorKind::InternalFailure);
    assert_eq!(
        failure(kinesis.subscription_poll(id, T0)),
        ErrorKind::InternalFailure
    );
    let id = kinesis
        .subscribe(&arn, ShardId(0), &Position::Latest, T0 + 5_000)
        .unwrap();
    kinesis
        .deregister_stream_consumer("s", "c", T0 + 5_000)
        .unwrap();
    assert_eq!(
        failure(kinesis.subscription_poll(id, T0 + 5_000)),
        ErrorKind::ResourceNotFound
    );
    let arn = kinesis
        .register_stream_consumer("s", "c", T0 + 6_000)
        .unwrap()
        .arn;
    let id = kinesis
        .subscribe(&arn, ShardId(0), &Position::Latest, T0 + 6_000)
        .unwrap();
    kinesis.delete_stream("s", true, T0 + 6_000).unwrap();
    assert_eq!(
        failure(kinesis.subscription_poll(id, T0 + 6_000)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        kind(kinesis.subscribe(&arn, ShardId(0), &Position::Latest, T0 + 6_000)),
        ErrorKind::ResourceNotFound
    );
}

#[test]
fn a_consumer_registered_again_at_once_does_not_inherit() {
    let mut kinesis = with_stream(1);
    let arn = consumer(&mut kinesis);
    let id = kinesis
        .subscribe(&arn, ShardId(0), &Position::Latest, T0)
        .unwrap();
    kinesis.deregister_stream_consumer("s", "c", T0).unwrap();
    assert_eq!(
        consumer(&mut kinesis),
        arn,
        "the ARN has whole seconds only"
    );
    assert_eq!(
        failure(kinesis.subscription_poll(id, T0)),
        ErrorKind::ResourceNotFound
    );
}

#[test]
fn events_are_bounded_and_paced_for_each_consumer() {
    let mut kinesis = with_stream(1);
    let arn = consumer(&mut kinesis);
    let data = vec![b'x'; 600_000];
    for _ in 0..5 {
        kinesis.put_record("s", entry("k", &data), T0).unwrap();
    }
    kinesis.options.enforce_limits = true;
    let id = kinesis
        .subscribe(&arn, ShardId(0), &Position::TrimHorizon, T0)
        .unwrap();
    for _ in 0..4 {
        let event = event(kinesis.subscription_poll(id, T0));
        assert_eq!((event.records.len(), event.millis_behind_latest), (1, 1));
    }
    let SubscriptionPoll::Waiting { until_ms } = kinesis.subscription_poll(id, T0) else {
        panic!("no pause")
    };
    assert!(T0 < until_ms && until_ms < T0 + 1_000, "{until_ms}");
    assert!(matches!(
        kinesis.subscription_poll(id, until_ms - 1),
        SubscriptionPoll::Waiting { .. }
    ));
    assert_eq!(
        event(kinesis.subscription_poll(id, until_ms)).records.len(),
        1
    );
}
