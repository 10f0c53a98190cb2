"""The few calls to Kinesis and DynamoDB that the figures need, over plain HTTP; emulators check no signature."""

import base64
import http.client
import json
import threading
import time
from dataclasses import dataclass

TWO_128 = 1 << 128


class ServiceError(Exception):
    """The service refused the call."""


class Service:
    """One service on a port of this host; each thread that uses it has its own connection."""

    def __init__(self, port, name, target, version):
        self.port, self.name, self.target, self.version = port, name, target, version
        self.own = threading.local()

    def call(self, operation, **request):
        headers = {
            "Content-Type": f"application/x-amz-json-{self.version}",
            "X-Amz-Target": f"{self.target}.{operation}",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=figures/20260101/us-east-1/{self.name}/aws4_request, "
            "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64,
        }
        for attempt in (1, 2):
            connection = getattr(self.own, "connection", None)
            if connection is None:
                connection = self.own.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("POST", "/", json.dumps(request), headers)
                response = connection.getresponse()
                body = response.read()
                break
            except (ConnectionError, http.client.HTTPException):
                # A kept connection may have been closed by the server since the last call.
                connection.close()
                self.own.connection = None
                if attempt == 2:
                    raise
        answer = json.loads(body) if body else {}
        if response.status != 200:
            raise ServiceError(f"{operation}: {response.status} {answer}")
        return answer


class Kinesis(Service):
    def __init__(self, port):
        super().__init__(port, "kinesis", "Kinesis_20131202", "1.1")

    def create_stream(self, name, shards):
        self.call("CreateStream", StreamName=name, ShardCount=shards)
        while self.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] != "ACTIVE":
            time.sleep(0.02)

    def split(self, name, shard):
        """Splits a shard in the middle; its children."""
        shards = self.call("ListShards", StreamName=name)["Shards"]
        (parent,) = (one for one in shards if one["ShardId"] == shard)
        first, last = (int(parent["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
        self.call("SplitShard", StreamName=name, ShardToSplit=shard, NewStartingHashKey=str((first + last) // 2 + 1))
        while True:
            shards = self.call("ListShards", StreamName=name)["Shards"]
            children = [one["ShardId"] for one in shards if one.get("ParentShardId") == shard]
            if len(children) == 2:
                return children
            time.sleep(0.02)

    def put(self, stream, payloads, hash_keys=None):
        """Writes each payload; spread by its own text, or to the hash keys given."""
        for start in range(0, len(payloads), 500):
            records = []
            for index, payload in enumerate(payloads[start : start + 500], start):
                record = {"Data": base64.b64encode(payload.encode()).decode(), "PartitionKey": payload[:200]}
                if hash_keys is not None:
                    record["ExplicitHashKey"] = str(hash_keys[index])
                records.append(record)
            answer = self.call("PutRecords", StreamName=stream, Records=records)
            if answer.get("FailedRecordCount"):
                raise ServiceError(f"PutRecords: {answer['FailedRecordCount']} entries were refused")


@dataclass
class Lease:
    owner: str | None
    # While a lease is being handed over, `owner` is the next one, and the former one still works on it.
    worker: str | None


class DynamoDb(Service):
    def __init__(self, port):
        super().__init__(port, "dynamodb", "DynamoDB_20120810", "1.0")

    def items(self, table):
        """All items of a table by key; none when there is no table."""
        items, start = {}, None
        while True:
            try:
                page = self.call("Scan", TableName=table, **({"ExclusiveStartKey": start} if start else {}))
            except ServiceError as error:
                if "ResourceNotFound" in str(error):
                    return {}
                raise
            items |= {item["leaseKey"]["S"]: item for item in page["Items"]}
            start = page.get("LastEvaluatedKey")
            if not start:
                return items

    def leases(self, table):
        """The lease of each shard that is not finished."""
        leases = {}
        for key, item in self.items(table).items():
            if key.startswith("shardId-") and item["checkpoint"]["S"] != "SHARD_END":
                text = {name: item[name]["S"] for name in ("leaseOwner", "checkpointOwner") if name in item}
                owner = text.get("leaseOwner")
                leases[key] = Lease(owner, text.get("checkpointOwner", owner))
        return leases

    def leader(self, table):
        """Who holds the lock of the 3.x leader, or None."""
        return self.items(table).get("Leader", {}).get("ownerName", {}).get("S")

    def owners(self, table):
        """Owner (or None) of each unfinished shard's lease."""
        return {shard: lease.owner for shard, lease in self.leases(table).items()}
