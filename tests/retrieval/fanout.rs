//! The life of subscriptions.

use std::time::Duration;

use super::world::{Way, World, named, on_virtual_time};

#[test]
fn a_shard_is_read_to_its_end_through_a_registered_consumer() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        world.put(named("a", 10));
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(10).await;
        world.put(named("b", 10));
        reading.until(20).await;
        world.split();
        reading.to_end().await;
        assert_eq!(reading.read, [named("a", 10), named("b", 10)].concat());
        assert_eq!(
            reading.children.unwrap(),
            ["shardId-000000000001", "shardId-000000000002"]
        );
        let operations: Vec<String> = world.door.calls().into_iter().map(|c| c.operation).collect();
        assert_eq!(
            operations,
            [
                "DescribeStreamSummary",
                "DescribeStreamConsumer",
                "RegisterStreamConsumer",
                "SubscribeToShard"
            ]
        );
        assert!(world.clock.now().since_origin() < Duration::from_secs(1));
    });
}
