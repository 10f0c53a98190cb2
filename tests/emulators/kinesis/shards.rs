//! Streams and lists of shards.

use aws_sdk_kinesis::types::{ConsumerStatus, ShardFilterType, StreamMode, StreamModeDetails};

use super::place::{Begin, closed, range, refused};
use super::{Outcome, Place, checks, must};
use crate::support::until;
use std::time::Duration;

checks![
    new_shards_cover_the_hash_space,
    shards_page_by_token_alone,
    shards_start_after_an_id,
    shards_by_arn,
    iterators_by_arn,
    filter_latest_leaves_out_closed_shards,
    filter_after_shard_id,
    filter_trim_horizon_leaves_out_children,
    filter_timestamp_gives_the_shards_of_then,
    summary_counts_open_shards,
    on_demand_streams_have_four_shards,
    unknown_stream_and_shard,
    streams_are_created_once_and_deleted,
    consumers_are_registered_once,
];

fn new_shards_cover_the_hash_space(place: &Place) -> Outcome {
    let stream = place.stream(5);
    let shards = place.shards(&stream)?;
    must!(shards.len() == 5, "{} shards", shards.len());
    let mut next = Some(0_u128);
    for (number, shard) in shards.iter().enumerate() {
        must!(
            shard.shard_id == format!("shardId-{number:012}"),
            "id {}",
            shard.shard_id
        );
        let (first, last) = range(shard)?;
        must!(
            Some(first) == next && last > first,
            "{} has {first}..{last}, expected from {next:?}",
            shard.shard_id
        );
        next = last.checked_add(1);
        must!(
            shard.parent_shard_id().is_none() && shard.adjacent_parent_shard_id().is_none(),
            "a new shard has parents"
        );
        must!(!closed(shard), "a new shard is closed");
        let starts = shard
            .sequence_number_range()
            .is_some_and(|range| !range.starting_sequence_number().is_empty());
        must!(starts, "no starting sequence number");
    }
    must!(next.is_none(), "the ranges end at {next:?}");
    Ok(())
}

fn shards_page_by_token_alone(place: &Place) -> Outcome {
    let stream = place.stream(5);
    let mut pages = Vec::new();
    let first = place.ask(
        place
            .client()
            .list_shards()
            .stream_name(&stream)
            .max_results(2)
            .send(),
    )?;
    let mut token = first.next_token.clone();
    pages.push(first.shards.unwrap_or_default());
    while let Some(next) = token.take() {
        must!(pages.len() < 5, "the pages do not end");
        let page = place.ask(
            place
                .client()
                .list_shards()
                .next_token(next)
                .max_results(2)
                .send(),
        )?;
        token = page.next_token.clone();
        pages.push(page.shards.unwrap_or_default());
    }
    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    must!(sizes == [2, 2, 1], "pages of {sizes:?}");
    let ids: Vec<&str> = pages
        .iter()
        .flatten()
        .map(|shard| shard.shard_id())
        .collect();
    must!(
        ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]),
        "{ids:?}"
    );
    Ok(())
}

fn shards_start_after_an_id(place: &Place) -> Outcome {
    let stream = place.stream(3);
    let call = place
        .client()
        .list_shards()
        .stream_name(&stream)
        .exclusive_start_shard_id("shardId-000000000000");
    let shards = place.ask(call.send())?.shards.unwrap_or_default();
    let ids: Vec<&str> = shards.iter().map(|shard| shard.shard_id()).collect();
    must!(
        ids == ["shardId-000000000001", "shardId-000000000002"],
        "{ids:?}"
    );
    Ok(())
}

fn shards_by_arn(place: &Place) -> Outcome {
    let stream = place.stream(2);
    let arn = place.arn(&stream)?;
    must!(arn.ends_with(&format!(":stream/{stream}")), "ARN {arn}");
    let shards = place
        .ask(place.client().list_shards().stream_arn(&arn).send())?
        .shards
        .unwrap_or_default();
    must!(shards.len() == 2, "{} shards", shards.len());
    Ok(())
}

fn iterators_by_arn(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let arn = place.arn(&stream)?;
    let call = place
        .client()
        .get_shard_iterator()
        .stream_arn(&arn)
        .shard_id("shardId-000000000000")
        .shard_iterator_type(aws_sdk_kinesis::types::ShardIteratorType::TrimHorizon);
    let iterator = place.ask(call.send())?.shard_iterator.unwrap_or_default();
    place.put(&stream, 0, b"x")?;
    must!(
        place.read_on(iterator)?.texts == ["x"],
        "an iterator made by ARN does not find the record"
    );
    Ok(())
}

fn filter_latest_leaves_out_closed_shards(place: &Place) -> Outcome {
    let stream = place.stream(2);
    let children = place.aws().split(&stream, "shardId-000000000000");
    let ids = place.filtered(&stream, ShardFilterType::AtLatest, None, None)?;
    let mut expected = vec!["shardId-000000000001".to_owned()];
    expected.extend(children);
    must!(ids == expected, "{ids:?}");
    Ok(())
}

fn filter_after_shard_id(place: &Place) -> Outcome {
    let stream = place.stream(3);
    let ids = place.filtered(
        &stream,
        ShardFilterType::AfterShardId,
        Some("shardId-000000000001"),
        None,
    )?;
    must!(ids == ["shardId-000000000002"], "{ids:?}");
    Ok(())
}

fn filter_trim_horizon_leaves_out_children(place: &Place) -> Outcome {
    let stream = place.stream(2);
    place.aws().split(&stream, "shardId-000000000000");
    let ids = place.filtered(&stream, ShardFilterType::AtTrimHorizon, None, None)?;
    must!(
        ids == ["shardId-000000000000", "shardId-000000000001"],
        "{ids:?}"
    );
    Ok(())
}

fn filter_timestamp_gives_the_shards_of_then(place: &Place) -> Outcome {
    let stream = place.stream(1);
    std::thread::sleep(Duration::from_millis(1100));
    let before = super::place::now_millis();
    std::thread::sleep(Duration::from_millis(1100));
    let children = place.aws().split(&stream, "shardId-000000000000");
    std::thread::sleep(Duration::from_millis(1100));
    let after = super::place::now_millis();
    let ids = place.filtered(&stream, ShardFilterType::AtTimestamp, None, Some(before))?;
    must!(ids == ["shardId-000000000000"], "before the split: {ids:?}");
    let ids = place.filtered(&stream, ShardFilterType::AtTimestamp, None, Some(after))?;
    must!(ids == children, "after the split: {ids:?}");
    Ok(())
}

fn summary_counts_open_shards(place: &Place) -> Outcome {
    let stream = place.stream(2);
    place.aws().split(&stream, "shardId-000000000001");
    let answer = place.ask(
        place
            .client()
            .describe_stream_summary()
            .stream_name(&stream)
            .send(),
    )?;
    let open = answer
        .stream_description_summary()
        .map(|summary| summary.open_shard_count());
    must!(open == Some(3), "{open:?} open shards");
    Ok(())
}

fn on_demand_streams_have_four_shards(place: &Place) -> Outcome {
    let mode = StreamModeDetails::builder()
        .stream_mode(StreamMode::OnDemand)
        .build()
        .expect("complete");
    place.ask(
        place
            .client()
            .create_stream()
            .stream_name("on-demand")
            .stream_mode_details(mode)
            .send(),
    )?;
    place.aws().wait_active("on-demand");
    let shards = place.shards("on-demand")?.len();
    must!(shards == 4, "{shards} shards");
    Ok(())
}

fn unknown_stream_and_shard(place: &Place) -> Outcome {
    const CODE: &str = "ResourceNotFoundException";
    let stream = place.stream(1);
    refused("ListShards of no stream", CODE, place.shards("nobody"))?;
    refused("PutRecord to no stream", CODE, place.put("nobody", 0, b"x"))?;
    refused(
        "an iterator of no stream",
        CODE,
        place.iterator("nobody", "shardId-000000000000", &Begin::Start),
    )?;
    refused(
        "an iterator of no shard",
        CODE,
        place.iterator(&stream, "shardId-000000000007", &Begin::Start),
    )
}

fn streams_are_created_once_and_deleted(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let again = place.ask(
        place
            .client()
            .create_stream()
            .stream_name(&stream)
            .shard_count(1)
            .send(),
    );
    refused("a stream that is there", "ResourceInUseException", again)?;
    place.ask(place.client().delete_stream().stream_name(&stream).send())?;
    until("the stream is gone", Duration::from_secs(20), || {
        refused("", "ResourceNotFoundException", place.shards(&stream)).is_ok()
    });
    Ok(())
}

fn consumers_are_registered_once(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let arn = place.arn(&stream)?;
    let register = || {
        place.ask(
            place
                .client()
                .register_stream_consumer()
                .stream_arn(&arn)
                .consumer_name("reader")
                .send(),
        )
    };
    let made = register()?.consumer.ok_or("no consumer in the answer")?;
    must!(
        made.consumer_name == "reader"
            && made
                .consumer_arn
                .starts_with(&format!("{arn}/consumer/reader:")),
        "{made:?}"
    );
    let status = || {
        let call = place
            .client()
            .describe_stream_consumer()
            .stream_arn(&arn)
            .consumer_name("reader");
        place
            .ask(call.send())
            .ok()?
            .consumer_description
            .map(|consumer| consumer.consumer_status)
    };
    until("the consumer is ACTIVE", Duration::from_secs(20), || {
        status() == Some(ConsumerStatus::Active)
    });
    refused(
        "the same consumer again",
        "ResourceInUseException",
        register(),
    )
}
