"""The few calls to Kinesis and DynamoDB that the figures need, over plain HTTP; emulators check no signature."""

import base64
import http.client
import json
import threading
import time

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


class DynamoDb(Service):
    def __init__(self, port):
        super().__init__(port, "dynamodb", "DynamoDB_20120810", "1.0")

    def owners(self, table):
        """Owner (or None) of each shard's lease."""
        rows, start = {}, None
        while True:
            page = self.call("Scan", TableName=table, **({"ExclusiveStartKey": start} if start else {}))
            for row in page["Items"]:
                key = row["leaseKey"]["S"]
                if key.startswith("shardId-"):
                    rows[key] = row.get("leaseOwner", {}).get("S")
            start = page.get("LastEvaluatedKey")
            if not start:
                return rows
