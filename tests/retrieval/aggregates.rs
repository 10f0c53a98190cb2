//! Aggregates beside the modules that AWS publishes for making and reading them: ours must be the same,
//! byte for byte, for random user records, and what is read from them must be the same records.

use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_daemon::core::aggregate::{Aggregator, Deaggregated, NewRecord, RangeFilter, deaggregate};
use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::os::entropy::SystemEntropy;
use kcl_daemon::ports::Entropy as _;
use serde_json::{Value, json};

use super::support::Sandbox;
use super::tools::{Node, Tool};

/// Groups of user records.
const GROUPS: usize = 1_000;

/// Reads groups from STDIN, one a line; writes for each what the module makes of it, and what it reads
/// from our aggregate and from broken copies of it.
const PYTHON: &str = r#"
import base64, json, sys
from aws_kinesis_agg.aggregator import AggRecord
from aws_kinesis_agg.deaggregator import deaggregate_records
def read(data):
    out = deaggregate_records([{"kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": "raw", "sequenceNumber": "1",
                                            "approximateArrivalTimestamp": 1, "data": data}}])
    if len(out) == 1 and not out[0]["kinesis"].get("aggregated"):
        return None
    return [[r["kinesis"]["subSequenceNumber"], r["kinesis"]["partitionKey"], base64.b64encode(
        base64.b64decode(r["kinesis"]["data"])).decode()] for r in out]
for line in sys.stdin:
    group = json.loads(line)
    made = AggRecord(max_size=1 << 30)
    for key, hash_key, data in group["records"]:
        assert made.add_user_record(key, base64.b64decode(data), hash_key)
    print(json.dumps({"made": base64.b64encode(made.get_contents()[2]).decode(),
                      "read": read(group["ours"]), "broken": [read(data) for data in group["broken"]]}))
"#;

/// The same for Node. Its reader reports a wrong digest as an error instead of passing the record on.
const NODE: &str = r#"
const agg = require("aws-kinesis-agg");
const lines = require("readline").createInterface({ input: process.stdin });
function read(data) {
  let records = [], failed = false;
  agg.deaggregateSync({ data, partitionKey: "raw", sequenceNumber: "1" }, true, (error, found) => {
    if (error) failed = true; else if (found) records = found;
  });
  return failed ? null : records.map((r) => [r.subSequenceNumber, r.partitionKey, r.data]);
}
lines.on("line", (line) => {
  const group = JSON.parse(line);
  const made = new agg.RecordAggregator();
  for (const [partitionKey, explicitHashKey, data] of group.records)
    made.addUserRecord({ partitionKey, explicitHashKey: explicitHashKey || undefined, data: Buffer.from(data, "base64") });
  console.log(JSON.stringify({ made: made.build().data.toString("base64"), read: read(group.ours),
                               broken: group.broken.map(read) }));
});
"#;

struct Record {
    key: String,
    hash_key: Option<u128>,
    data: Vec<u8>,
}

struct Chance(SystemEntropy);

impl Chance {
    fn bytes(&self, most: usize) -> Vec<u8> {
        (0..self.0.below(most + 1))
            .map(|_| self.0.next_u64() as u8)
            .collect()
    }

    fn key(&self) -> String {
        const PIECES: [&str; 8] = ["a", "key-", "é", "漢", "😀", "x y", "\"\\", "user:"];
        let mut key = PIECES[self.0.below(PIECES.len())].to_owned();
        match self.0.below(4) {
            0 => {}
            1 => key.push_str(&self.0.below(1_000).to_string()),
            2 => key.push_str(&"k".repeat(self.0.below(250))),
            _ => key.push_str(PIECES[self.0.below(PIECES.len())]),
        }
        key
    }

    /// As the modules take them: Node's would mix up those that look like array indices.
    fn hash_key(&self) -> Option<u128> {
        match self.0.below(4) {
            0 => Some(u128::MAX),
            1 => Some(u128::from(u32::MAX) + u128::from(self.0.next_u64())),
            _ => None,
        }
    }

    fn records(&self) -> Vec<Record> {
        let (few, many) = (1 + self.0.below(5), 1 + self.0.below(300));
        let count = if self.0.below(10) == 0 { many } else { few };
        let keys: Vec<String> = (0..=self.0.below(count)).map(|_| self.key()).collect();
        (0..count)
            .map(|_| Record {
                key: keys[self.0.below(keys.len())].clone(),
                hash_key: self.hash_key(),
                data: self.bytes([0, 20, 200, 2_000][self.0.below(4)]),
            })
            .collect()
    }

    /// Truncated, or with a byte changed.
    fn broken(&self, aggregate: &[u8]) -> Vec<u8> {
        let mut broken = aggregate.to_vec();
        let at = self.0.below(broken.len());
        if self.0.below(2) == 0 {
            broken.truncate(at);
        } else {
            broken[at] ^= 1 << self.0.below(8);
        }
        broken
    }
}

fn ours(records: &[Record]) -> Vec<u8> {
    let mut aggregator = Aggregator::new();
    for record in records {
        aggregator.add(&NewRecord {
            partition_key: &record.key,
            explicit_hash_key: record.hash_key,
            data: &record.data,
        });
    }
    aggregator.finish()
}

/// What we read, in the words of the scripts.
fn read(data: &[u8]) -> Value {
    match deaggregate(data, HashRange::FULL, RangeFilter::Off) {
        Deaggregated::Plain => Value::Null,
        Deaggregated::UserRecords { records, .. } => records
            .iter()
            .map(|record| {
                let data = STANDARD.encode(record.data);
                json!([record.sub_sequence, record.partition_key.as_str(), data])
            })
            .collect(),
    }
}

/// Gives each group to a program; sees that it makes and reads the same.
fn compare(sandbox: &Sandbox, mut program: Command) {
    let chance = Chance(SystemEntropy::from_seed(2_026));
    let mut lines = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..GROUPS {
        let records = chance.records();
        let ours = ours(&records);
        let broken: Vec<Vec<u8>> = (0..3).map(|_| chance.broken(&ours)).collect();
        let line = json!({
            "records": records.iter().map(|record| {
                json!([record.key, record.hash_key.map(|key| key.to_string()), STANDARD.encode(&record.data)])
            }).collect::<Vec<_>>(),
            "ours": STANDARD.encode(&ours),
            "broken": broken.iter().map(|data| STANDARD.encode(data)).collect::<Vec<_>>(),
        });
        lines.push(line.to_string());
        expected.push((ours, broken));
    }
    let input = sandbox.write("groups.jsonl", lines.join("\n") + "\n");
    let output = program
        .stdin(std::fs::File::open(input).expect("the groups"))
        .stderr(Stdio::piped())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut answers = 0;
    for ((ours, broken), answer) in expected.iter().zip(said.lines()) {
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        let made = answer["made"].as_str().expect("base64");
        assert_eq!(made, STANDARD.encode(ours), "group {answers}");
        assert_eq!(answer["read"], read(ours), "group {answers}");
        for (data, theirs) in broken
            .iter()
            .zip(answer["broken"].as_array().expect("a list"))
        {
            let ours = read(data);
            // What is no aggregate at all is one raw record: some say so by an error, some by itself.
            if !ours.is_null() || theirs.as_array().is_some_and(|records| records.len() > 1) {
                assert_eq!(*theirs, ours, "group {answers}");
            }
        }
        answers += 1;
    }
    assert_eq!(answers, GROUPS);
}

#[test]
fn as_aws_kinesis_agg_for_python() {
    let sandbox = Sandbox::new("aggregates-python");
    let Some(folder) = Tool::AggregationPython.installed() else {
        return;
    };
    let mut python = Command::new(folder.join("bin/python"));
    python.args(["-c", PYTHON]);
    compare(&sandbox, python);
}

#[test]
fn as_aws_kinesis_agg_for_node() {
    let sandbox = Sandbox::new("aggregates-node");
    let Some(folder) = Tool::AggregationNode.installed() else {
        return;
    };
    // Found before, or the module would not be there.
    let Ok(node) = Node::found() else {
        return;
    };
    let mut node = node.node();
    node.args(["-e", NODE])
        .env("NODE_PATH", folder.join("node_modules"));
    compare(&sandbox, node);
}
