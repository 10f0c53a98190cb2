"""The rows about fleets: who gets which shard how soon when workers come, go and die, and what it costs.

Each is measured alike for Java and for ours, for ours in both algorithms. Of several runs the median counts.
"""

import signal
import time

from fleet import TooLate, World, wait
from rows import LONG, ROWS, Row, flowing, nothing_lost, start

# How long a newcomer may take to get a fair share; Java's 3.x gives an idle one none at all.
JOINING = 150
# Java sleeps so long after it has made the leases, 60 s by default: not where only the set-up would wait for it.
SET_UP = {"shardSyncIntervalMillis": "1000"}
# Two workers by the 2.x algorithm: the one that Java's shuffle makes leader (`src/core/leader.rs`, JAVA_LEADERS).
FIRST, SECOND = "one", "two"

# The rows of the table of fleets, in order.
FLEETS = {}


def row(name, title, goal):
    def add(measure):
        FLEETS[name] = ROWS[name] = Row(title, goal, measure, median=True)
        return measure

    return add


row("first-record", "new application: start → first record (all shards)", "≤ 2 s")(start)


def shares(world):
    """How many leases each worker works on; a lease that is being handed over is still its old worker's."""
    counts = {}
    for lease in world.dynamodb.leases(world.application).values():
        if lease.worker:
            counts[lease.worker] = counts.get(lease.worker, 0) + 1
    return counts


def said(counts):
    return " : ".join(f"{worker} {count}" for worker, count in sorted(counts.items()))


def is_fair(world, workers):
    counts = shares(world).values()
    return sum(counts) == len(world.shards) and len(counts) == workers and max(counts) - min(counts) <= 1


def team(world, kind, names):
    """Workers by name, all at work; the others start when the first has made the leases and holds them."""
    workers = {}
    for name in names:
        workers[name] = world.daemon(kind, name, **SET_UP)
        wait("all leases are held", LONG, lambda: workers[name].alive() and len(world.held()) == len(world.shards), every=0.2)
    uneven = ""
    try:
        wait("leases are shared", JOINING, lambda: is_fair(world, len(workers)), every=0.2)
    except TooLate:
        uneven = f", leases held {said(shares(world))}"
        wait("each worker has a lease", LONG, lambda: len(shares(world)) == len(workers), every=0.2)
    return workers, uneven


def joined(world, kind, feed):
    """Seconds from the start of a second worker until the leases are shared fairly and in work."""
    first = world.daemon(kind, FIRST, **SET_UP)
    flowing(world, first, first.started)
    wait("all leases are held", LONG, lambda: first.alive() and len(world.held()) == len(world.shards), every=0.2)
    time.sleep(30)
    second = world.daemon(kind, SECOND)
    try:
        wait("leases are shared", JOINING, lambda: second.alive() and is_fair(world, 2), every=0.02)
    except TooLate:
        return float("inf"), f"not within {JOINING} s: {said(shares(world))}"
    fair = time.monotonic() - second.started
    since = time.monotonic()
    feed()
    flow = flowing(world, second, since)
    return fair, f"{fair:.1f} s (all flow after {fair + flow:.1f} s)"


@row("join-idle", "a second worker joins an idle one: leases 2 : 2", "≤ 10 s")
def join_idle(kind):
    with World() as world:
        world.put_one_each("early")
        took, text = joined(world, kind, lambda: world.put_one_each("late"))
        return took, text, took <= 10


@row("join-busy", "a second worker joins a busy one: leases 2 : 2", "≤ 10 s, nothing lost")
def join_busy(kind):
    with World() as world:
        load = world.load()
        took, text = joined(world, kind, lambda: None)
        missing = nothing_lost(world, load)
        again = repeated(world)
        return took, f"{text}{again}{missing}", took <= 10 and not missing


def repeated(world):
    """Text about records that came more than once, empty when there are none."""
    deliveries = [payload for line in world.ledger.deliveries() for payload in line["ids"]]
    twice = len(deliveries) - len(set(deliveries))
    return f", {twice} of {len(deliveries)} twice" if twice else ""


@row("kill-follower", "kill -9 of a worker that does not lead, failover 10 s, under load: its shards flow", "≤ 12 s, nothing lost")
def kill_follower(kind):
    return killed(kind, lambda leader: SECOND if leader == FIRST else FIRST)


@row("kill-leader", "kill -9 of the leader, the same (2.x: of the one that the shuffle names)", "≤ 12 s, nothing lost")
def kill_leader(kind):
    return killed(kind, lambda leader: leader)


def killed(kind, choose):
    with World() as world:
        load = world.load()
        workers, uneven = team(world, kind, [FIRST, SECOND])
        flowing(world, workers[FIRST], time.monotonic())
        victim = choose(world.dynamodb.leader(world.application) or FIRST)
        (survivor,) = (daemon for name, daemon in workers.items() if name != victim)
        orphans = [shard for shard, lease in world.dynamodb.leases(world.application).items() if lease.worker == victim]
        workers[victim].kill()
        at = time.monotonic()
        took = flowing(world, survivor, at, orphans)
        missing = nothing_lost(world, load)
        return took, f"{took:.1f} s{missing}{uneven}", took <= 12 and not missing


@row("rolling", "three workers, six shards, restarted one by one under load: longest silence of any shard", "≤ 3 s, nothing lost; nothing twice, but with the 2.x algorithm")
def rolling(kind):
    with World(shards=6) as world:
        load = world.load()
        workers, uneven = team(world, kind, [FIRST, SECOND, "three"])
        flowing(world, workers[FIRST], time.monotonic())
        before = repeated(world)
        since = time.monotonic()
        for name in workers:
            workers[name].signal(signal.SIGTERM)
            workers[name].ends()
            workers[name] = world.daemon(kind, name)
            wait("each worker has a lease", LONG, lambda: workers[name].alive() and len(shares(world)) == 3, every=0.2)
            at = time.monotonic()
            flowing(world, workers[name], at)
        silence, _shard = world.ledger.longest_silence(since, time.monotonic())
        missing = nothing_lost(world, load)
        again = repeated(world)
        # A steal of the 2.x algorithm repeats the batch in flight, with Java as with us.
        unique = kind.steals or again == before == ""
        good = silence <= 3 and not missing and unique
        return silence, f"{silence:.1f} s{again}{missing}{uneven}", good


@row("reshard", "a shard is split under load, two workers: its shardEnded → first record of a child (split → that, both)", "≤ 2 s")
def reshard(kind):
    # Java needs ChildShards, which of the emulators that neither of us wrote only kinesis-local tells. It takes about
    # a second to answer, and more to split.
    with World(shards=2, kinesis="kinesis-local") as world:
        load = world.load(per_second=40)
        workers, _uneven = team(world, kind, [FIRST, SECOND])
        flowing(world, workers[FIRST], time.monotonic())
        at = time.monotonic()
        children = world.kinesis.split(world.stream, world.shards[0])
        both = flowing(world, workers[FIRST], at, children)
        ended = next(line["t"] for line in world.ledger.read() if line["event"] == "shardEnded" and line["t"] > at)
        first = min(line["t"] for line in world.ledger.deliveries(at) if line["shard"] in children)
        missing = nothing_lost(world, load)
        took = first - ended
        return took, f"{took:.1f} s ({first - at:.1f} s, {both:.1f} s){missing}", took <= 2 and not missing


@row("calls", "calls to DynamoDB per lease and hour: two idle workers, eight shards, over two minutes", "–")
def calls(kind):
    return counted(kind, 0)


@row("calls-busy", "the same with 1.25 records a second and shard, each a batch with a checkpoint", "–")
def calls_busy(kind):
    return counted(kind, 10)


def counted(kind, per_second):
    seconds = 120
    with World(shards=8, counted=True) as world:
        world.put_one_each("early")
        team(world, kind, [FIRST, SECOND])
        if per_second:
            world.load(per_second)
        time.sleep(45)
        before = world.calls()
        time.sleep(seconds)
        counts = {name: count - before.get(name, 0) for name, count in world.calls().items()}
        hours = len(world.shards) * seconds / 3600
        total = sum(counts.values()) / hours
        parts = ", ".join(f"{name} {count / hours:.0f}" for name, count in sorted(counts.items(), key=lambda part: -part[1]) if count)
        return total, f"{total:.0f} ({parts})", True
