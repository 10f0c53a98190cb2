//! One operation: body in, typed call, body out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    super::{
        describe::check_tags,
        engine::Kinesis,
        error::{ErrorKind, KinesisError},
        faults::Operation,
        ids::parse_hash_key,
        records::PutEntry,
        shards::ShardQuery,
        stream::StreamMode,
        subscribe::SubscriptionId,
    },
    answers,
    requests::{self, count, optional_shard, parse, required, shard, text},
};

type Answer = Result<Vec<u8>, KinesisError>;

/// What operations answer that have nothing to say.
const NOTHING: Vec<u8> = Vec::new();

pub(super) fn call(
    kinesis: &mut Kinesis,
    operation: Operation,
    body: &[u8],
    now_ms: i64,
) -> Answer {
    match operation {
        Operation::PutRecords => put_records(kinesis, parse(body)?, now_ms),
        Operation::PutRecord => put_record(kinesis, parse(body)?, now_ms),
        Operation::GetRecords => get_records(kinesis, &parse(body)?, now_ms),
        Operation::GetShardIterator => get_shard_iterator(kinesis, &parse(body)?, now_ms),
        Operation::ListShards => list_shards(kinesis, &parse(body)?, now_ms),
        Operation::ListStreams => list_streams(kinesis, &parse(body)?, now_ms),
        Operation::CreateStream => create_stream(kinesis, parse(body)?, now_ms),
        Operation::DescribeLimits => describe_limits(kinesis, now_ms),
        Operation::RegisterStreamConsumer
        | Operation::DescribeStreamConsumer
        | Operation::ListStreamConsumers
        | Operation::DeregisterStreamConsumer => {
            on_consumer(kinesis, operation, &parse(body)?, now_ms)
        }
        Operation::SubscribeToShard => Err(KinesisError::new(
            ErrorKind::UnknownOperation,
            "SubscribeToShard answers with a stream of events, which a plain answer cannot carry.",
        )),
        _ => on_stream(kinesis, operation, parse(body)?, now_ms),
    }
}

fn on_stream(
    kinesis: &mut Kinesis,
    operation: Operation,
    request: requests::OfStream<'_>,
    now_ms: i64,
) -> Answer {
    let stream = request.stream()?;
    let limit = count("Limit", request.limit)?;
    match operation {
        Operation::DeleteStream => {
            kinesis.delete_stream(
                stream,
                request.enforce_consumer_deletion.unwrap_or(false),
                now_ms,
            )?;
            Ok(NOTHING)
        }
        Operation::DescribeStream => {
            let after = optional_shard(&request.exclusive_start_shard_id)?;
            let (stream, shards, has_more) =
                kinesis.describe_stream(stream, after, limit, now_ms)?;
            let mut description = answers::stream(&stream);
            description["Shards"] = shards.iter().map(answers::shard).collect();
            description["HasMoreShards"] = json!(has_more);
            Ok(answers::to_body(
                &json!({ "StreamDescription": description }),
            ))
        }
        Operation::DescribeStreamSummary => {
            let stream = kinesis.describe_stream_summary(stream, now_ms)?;
            let mut summary = answers::stream(&stream);
            summary["OpenShardCount"] = json!(stream.open_shards);
            summary["ConsumerCount"] = json!(stream.consumers);
            Ok(answers::to_body(
                &json!({ "StreamDescriptionSummary": summary }),
            ))
        }
        Operation::IncreaseStreamRetentionPeriod => {
            let hours = required("RetentionPeriodHours", request.retention_period_hours)?;
            kinesis.increase_retention(stream, hours, now_ms)?;
            Ok(NOTHING)
        }
        Operation::DecreaseStreamRetentionPeriod => {
            let hours = required("RetentionPeriodHours", request.retention_period_hours)?;
            kinesis.decrease_retention(stream, hours, now_ms)?;
            Ok(NOTHING)
        }
        Operation::AddTagsToStream => {
            kinesis.add_tags(stream, required("Tags", request.tags.as_ref())?, now_ms)?;
            Ok(NOTHING)
        }
        Operation::RemoveTagsFromStream => {
            kinesis.remove_tags(
                stream,
                required("TagKeys", request.tag_keys.as_ref())?,
                now_ms,
            )?;
            Ok(NOTHING)
        }
        Operation::ListTagsForStream => {
            let page = kinesis.list_tags(
                stream,
                text(&request.exclusive_start_tag_key),
                limit,
                now_ms,
            )?;
            let tags: Value = page
                .tags
                .iter()
                .map(|(key, value)| json!({ "Key": key, "Value": value }))
                .collect();
            Ok(answers::to_body(
                &json!({ "Tags": tags, "HasMoreTags": page.has_more }),
            ))
        }
        Operation::SplitShard => {
            let id = shard("ShardToSplit", &request.shard_to_split)?;
            let at = parse_hash_key(required(
                "NewStartingHashKey",
                text(&request.new_starting_hash_key),
            )?)?;
            kinesis.split_shard(stream, id, at, now_ms)?;
            Ok(NOTHING)
        }
        Operation::MergeShards => {
            let id = shard("ShardToMerge", &request.shard_to_merge)?;
            let adjacent = shard("AdjacentShardToMerge", &request.adjacent_shard_to_merge)?;
            kinesis.merge_shards(stream, id, adjacent, now_ms)?;
            Ok(NOTHING)
        }
        Operation::UpdateShardCount => {
            let target = required(
                "TargetShardCount",
                count("TargetShardCount", request.target_shard_count)?,
            )?;
            match required("ScalingType", text(&request.scaling_type))? {
                "UNIFORM_SCALING" => {}
                other => {
                    return Err(KinesisError::validation(format!(
                        "There is no ScalingType {other}."
                    )));
                }
            }
            let before = kinesis.update_shard_count(stream, target, now_ms)?;
            let name = super::super::ids::stream_name(stream)?;
            Ok(answers::to_body(&json!({
                "StreamName": name,
                "StreamARN": kinesis.stream_arn(name),
                "CurrentShardCount": before,
                "TargetShardCount": target,
            })))
        }
        // proven: `call` sends only the operations above here.
        other => Err(KinesisError::new(
            ErrorKind::UnknownOperation,
            format!("{} is not done to a stream.", other.name()),
        )),
    }
}

fn create_stream(
    kinesis: &mut Kinesis,
    request: requests::CreateStream<'_>,
    now_ms: i64,
) -> Answer {
    let name = required("StreamName", text(&request.stream_name))?;
    let mode = match request
        .stream_mode_details
        .as_ref()
        .and_then(|details| text(&details.stream_mode))
    {
        None | Some("PROVISIONED") => StreamMode::Provisioned,
        Some("ON_DEMAND") => StreamMode::OnDemand,
        Some(other) => {
            return Err(KinesisError::validation(format!(
                "There is no StreamMode {other}."
            )));
        }
    };
    let shards = count("ShardCount", request.shard_count)?;
    if mode == StreamMode::OnDemand && shards.is_some() {
        return Err(KinesisError::validation(
            "An on-demand stream takes no ShardCount.",
        ));
    }
    let tags = request.tags.unwrap_or_default();
    check_tags(&tags)?;
    kinesis.create_stream(name, mode, shards.unwrap_or(0), now_ms)?;
    kinesis.put_tags(name, &tags)?;
    Ok(NOTHING)
}

fn list_streams(kinesis: &mut Kinesis, request: &requests::ListStreams<'_>, now_ms: i64) -> Answer {
    let (after, token) = (
        text(&request.exclusive_start_stream_name),
        text(&request.next_token),
    );
    let page = kinesis.list_streams(after, token, count("Limit", request.limit)?, now_ms)?;
    let names: Value = page
        .streams
        .iter()
        .map(|stream| stream.name.as_str())
        .collect();
    let summaries = page.streams.iter().map(|stream| {
        json!({
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "StreamStatus": stream.status.name(),
            "StreamModeDetails": { "StreamMode": stream.mode.name() },
            "StreamCreationTimestamp": answers::seconds(stream.created_ms),
        })
    });
    let summaries: Value = summaries.collect();
    let mut answer = json!({ "StreamNames": names, "StreamSummaries": summaries, "HasMoreStreams": page.next_token.is_some() });
    if let Some(token) = page.next_token {
        answer["NextToken"] = json!(token);
    }
    Ok(answers::to_body(&answer))
}

fn describe_limits(kinesis: &mut Kinesis, now_ms: i64) -> Answer {
    let limits = kinesis.describe_limits(now_ms)?;
    Ok(answers::to_body(&json!({
        "ShardLimit": limits.shard_limit,
        "OpenShardCount": limits.open_shards,
        "OnDemandStreamCount": limits.on_demand_streams,
        "OnDemandStreamCountLimit": limits.on_demand_stream_limit,
    })))
}

fn list_shards(kinesis: &mut Kinesis, request: &requests::ListShards<'_>, now_ms: i64) -> Answer {
    let query = match text(&request.next_token) {
        // As AWS, which refuses both beside a token that names the stream and the place already.
        Some(_) if request.stream_name.is_some() || request.exclusive_start_shard_id.is_some() => {
            return Err(KinesisError::invalid(
                "NextToken goes without StreamName and without ExclusiveStartShardId.",
            ));
        }
        Some(token) => ShardQuery::Next(token),
        None => ShardQuery::Of {
            stream: requests::stream(&request.stream_name, &request.stream_arn)?,
            exclusive_start: optional_shard(&request.exclusive_start_shard_id)?,
            filter: request
                .shard_filter
                .as_ref()
                .map(requests::Filter::resolve)
                .transpose()?,
        },
    };
    let page = kinesis.list_shards(query, count("MaxResults", request.max_results)?, now_ms)?;
    let shards: Value = page.shards.iter().map(answers::shard).collect();
    let mut answer = json!({ "Shards": shards });
    if let Some(token) = page.next_token {
        answer["NextToken"] = json!(token);
    }
    Ok(answers::to_body(&answer))
}

fn get_shard_iterator(
    kinesis: &mut Kinesis,
    request: &requests::GetShardIterator<'_>,
    now_ms: i64,
) -> Answer {
    let stream = requests::stream(&request.stream_name, &request.stream_arn)?;
    let id = shard("ShardId", &request.shard_id)?;
    let iterator = kinesis.get_shard_iterator(stream, id, &request.position()?, now_ms)?;
    Ok(answers::to_body(&json!({ "ShardIterator": iterator })))
}

pub(super) fn subscribe(
    kinesis: &mut Kinesis,
    body: &[u8],
    now_ms: i64,
) -> Result<SubscriptionId, KinesisError> {
    let request: requests::SubscribeToShard<'_> = parse(body)?;
    let consumer = required("ConsumerARN", text(&request.consumer_arn))?;
    let id = shard("ShardId", &request.shard_id)?;
    kinesis.subscribe(consumer, id, &request.position()?, now_ms)
}

fn get_records(kinesis: &mut Kinesis, request: &requests::GetRecords<'_>, now_ms: i64) -> Answer {
    let iterator = required("ShardIterator", text(&request.shard_iterator))?;
    let limit = count("Limit", request.limit)?;
    let page = kinesis.get_records(iterator, limit, text(&request.stream_arn), now_ms)?;
    Ok(answers::records(&page))
}

fn put_record(kinesis: &mut Kinesis, request: requests::PutRecord<'_>, now_ms: i64) -> Answer {
    let stream = requests::stream(&request.stream_name, &request.stream_arn)?;
    let mut data = Vec::new();
    decode(&request.entry, &mut data)?;
    let receipt = kinesis.put_record(stream, entry(&request.entry, &data)?, now_ms)?;
    Ok(answers::put_record(&receipt))
}

fn put_records(kinesis: &mut Kinesis, request: requests::PutRecords<'_>, now_ms: i64) -> Answer {
    let stream = requests::stream(&request.stream_name, &request.stream_arn)?;
    let wanted = required("Records", request.records)?;
    // All data are decoded into one buffer, which the entries then share.
    let texts = wanted.iter().filter_map(|entry| text(&entry.data));
    let mut data = Vec::with_capacity(texts.map(|text| text.len() / 4 * 3 + 3).sum());
    let ends = wanted
        .iter()
        .map(|entry| decode(entry, &mut data))
        .collect::<Result<Vec<_>, _>>()?;
    // proven: decode only appends, so each end lies between the one before and the length of the data.
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let entries = wanted
        .iter()
        .zip(starts.zip(&ends))
        .map(|(wanted, (start, &end))| entry(wanted, &data[start..end]));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    let results = kinesis.put_records(stream, &entries, now_ms)?;
    Ok(answers::put_records(&results))
}

/// Appends an entry's data; returns where they end.
fn decode(entry: &requests::Entry<'_>, into: &mut Vec<u8>) -> Result<usize, KinesisError> {
    let data = required("Data", text(&entry.data))?;
    STANDARD.decode_vec(data, into).map_err(|error| {
        KinesisError::new(
            ErrorKind::Serialization,
            format!("Data is not base64: {error}."),
        )
    })?;
    Ok(into.len())
}

fn entry<'t>(entry: &'t requests::Entry<'_>, data: &'t [u8]) -> Result<PutEntry<'t>, KinesisError> {
    Ok(PutEntry {
        data,
        partition_key: required("PartitionKey", text(&entry.partition_key))?,
        explicit_hash_key: text(&entry.explicit_hash_key)
            .map(parse_hash_key)
            .transpose()?,
    })
}

fn on_consumer(
    kinesis: &mut Kinesis,
    operation: Operation,
    request: &requests::OfConsumer<'_>,
    now_ms: i64,
) -> Answer {
    let stream = text(&request.stream_arn);
    let name = text(&request.consumer_name);
    let by_arn = text(&request.consumer_arn);
    let unnamed =
        || KinesisError::invalid("Name the consumer: ConsumerARN, or StreamARN and ConsumerName.");
    match operation {
        Operation::RegisterStreamConsumer => {
            let (stream, name) = (
                required("StreamARN", stream)?,
                required("ConsumerName", name)?,
            );
            let consumer = kinesis.register_stream_consumer(stream, name, now_ms)?;
            Ok(answers::to_body(
                &json!({ "Consumer": answers::consumer(&consumer) }),
            ))
        }
        Operation::DescribeStreamConsumer => {
            let consumer = match (by_arn, stream, name) {
                (Some(arn), _, _) => kinesis.describe_stream_consumer_arn(arn, now_ms)?,
                (None, Some(stream), Some(name)) => {
                    kinesis.describe_stream_consumer(stream, name, now_ms)?
                }
                _ => return Err(unnamed()),
            };
            let mut description = answers::consumer(&consumer);
            description["StreamARN"] = json!(consumer.stream_arn);
            Ok(answers::to_body(
                &json!({ "ConsumerDescription": description }),
            ))
        }
        Operation::DeregisterStreamConsumer => {
            match (by_arn, stream, name) {
                (Some(arn), _, _) => kinesis.deregister_stream_consumer_arn(arn, now_ms)?,
                (None, Some(stream), Some(name)) => {
                    kinesis.deregister_stream_consumer(stream, name, now_ms)?
                }
                _ => return Err(unnamed()),
            }
            Ok(NOTHING)
        }
        _ => {
            let stream = required("StreamARN", stream)?;
            let size = count("MaxResults", request.max_results)?;
            let page =
                kinesis.list_stream_consumers(stream, text(&request.next_token), size, now_ms)?;
            let consumers: Value = page.consumers.iter().map(answers::consumer).collect();
            let mut answer = json!({ "Consumers": consumers });
            if let Some(token) = page.next_token {
                answer["NextToken"] = json!(token);
            }
            Ok(answers::to_body(&answer))
        }
    }
}
