"""The rows of the table: each makes a world of its own, measures, and says whether the goal is reached.

A measurement is a function of a kind of daemon; it returns the figure by which runs are compared, the text of the
cell, and whether it is good enough. Every goal is ours; Java's figures stand beside for comparison and are never judged.
"""

import random
import signal
import time
from dataclasses import dataclass
from typing import Callable

from fleet import TooLate, World, wait

# Java needs up to four minutes for some of these.
LONG = 420
# How long a fleet may take to share its leases evenly.
PATIENCE = 150


@dataclass
class Row:
    title: str
    goal: str
    measure: Callable
    # Of several runs the median counts, not the worst.
    median: bool = False


ROWS = {}


def row(name, title, goal):
    def add(measure):
        ROWS[name] = Row(title, goal, measure)
        return measure

    return add


def flowing(world, daemon, since, shards=None):
    """Seconds from `since` until each of the shards has got a record."""
    moment = wait("all shards flow", LONG, lambda: daemon.alive() and world.ledger.all_flow(shards or world.shards, since))
    return moment - since


def fleet(world, kind, names):
    """Starts workers by name, the first and then the others: of Java's 3.x that create the tables together one may fail."""
    first, *others = names
    workers = {first: world.daemon(kind, first)}
    wait("all leases are held", LONG, lambda: workers[first].alive() and len(world.held()) == len(world.shards), every=0.2)
    return workers | {name: world.daemon(kind, name) for name in others}


def settled(world, daemons, feed=lambda: None):
    """Waits until all leases are held, by all the daemons and evenly, and all shards flow.

    Java's 3.x may leave leases uneven for as long as it likes; after PATIENCE it is taken as it is. Returns
    text that says so, empty when the shares are even. `feed` puts a record into each shard, where no load does.
    """

    def holders():
        return [daemon.alive() for daemon in daemons] and world.held()

    def even():
        owners = list(holders().values())
        shares = [owners.count(owner) for owner in set(owners)]
        return len(owners) == len(world.shards) and len(shares) == len(daemons) and max(shares) - min(shares) <= 1

    wait("all leases are held", LONG, lambda: len(holders()) == len(world.shards), every=0.2)
    uneven = ""
    try:
        wait("leases are balanced", PATIENCE, even, every=0.2)
    except TooLate:
        owners = list(holders().values())
        uneven = ", leases held " + " : ".join(f"{owner} {owners.count(owner)}" for owner in sorted(set(owners)))
    since = time.monotonic()
    feed()
    flowing(world, daemons[0], since)
    return uneven


@row("start", "new application: start → first record (all shards)", "≤ 2 s")
def start(kind):
    with World() as world:
        world.put_one_each("early")
        daemon = world.daemon(kind)
        every = flowing(world, daemon, daemon.started)
        first = world.ledger.first(daemon.started) - daemon.started
        return first, f"{first:.1f} s ({every:.1f} s)", first <= 2


def stopped_under_load(world, kind):
    load = world.load()
    daemon = world.daemon(kind)
    flowing(world, daemon, daemon.started)
    flowing(world, daemon, time.monotonic())
    at = time.monotonic()
    daemon.signal(signal.SIGTERM)
    code = daemon.ends()
    return load, time.monotonic() - at, code


@row("sigterm", "SIGTERM under load with 30 s grace: time, exit code, leases still held", "≤ 2 s, 0, none")
def sigterm(kind):
    with World() as world:
        load, took, code = stopped_under_load(world, kind)
        held = len(world.held())
        load.end()
        return took, f"{took:.2f} s, {code}, {held} of {len(world.shards)}", took <= 2 and code == 0 and held == 0


@row("resume", "started again after that: first record (all shards)", "≤ 2 s")
def resume(kind):
    with World() as world:
        load, _, _ = stopped_under_load(world, kind)
        daemon = world.daemon(kind)
        every = flowing(world, daemon, daemon.started)
        first = world.ledger.first(daemon.started) - daemon.started
        missing = nothing_lost(world, load)
        return first, f"{first:.1f} s ({every:.1f} s){missing}", first <= 2 and not missing


def nothing_lost(world, load):
    """Ends the load and waits for every record; text about what is missing, empty when nothing is."""
    sent = set(load.end())
    try:
        wait("every record", 60, lambda: not sent - world.ledger.ids(), every=0.5)
    except TooLate:
        return f", {len(sent - world.ledger.ids())} of {len(sent)} records LOST"
    return ""


@row("takeover", "kill -9 of the only worker, another takes over (all shards), failover 10 s", "≤ 12 s")
def takeover(kind):
    with World() as world:
        load = world.load()
        first = world.daemon(kind, "one")
        flowing(world, first, first.started)
        flowing(world, first, time.monotonic())
        first.kill()
        at = time.monotonic()
        second = world.daemon(kind, "two")
        took = flowing(world, second, at)
        missing = nothing_lost(world, load)
        return took, f"{took:.1f} s{missing}", took <= 12 and not missing


@row("restart", "kill -9, restarted on the same host with the default worker id (all shards)", "≤ 2 s")
def restart(kind):
    with World() as world:
        load = world.load()
        first = world.daemon(kind)
        flowing(world, first, first.started)
        flowing(world, first, time.monotonic())
        first.kill()
        at = time.monotonic()
        second = world.daemon(kind)
        took = flowing(world, second, at)
        missing = nothing_lost(world, load)
        return took, f"{took:.1f} s{missing}", took <= 2 and not missing


@row("kill-one-of-two", "kill -9 of one of two: its shards flow again, failover 10 s, under load", "≤ 12 s")
def kill_one_of_two(kind):
    with World() as world:
        load = world.load()
        pair = fleet(world, kind, ["one", "two"])
        uneven = settled(world, list(pair.values()))
        orphans, survivor, at = kill_one(world, pair)
        took = flowing(world, survivor, at, orphans)
        missing = nothing_lost(world, load)
        return took, f"{took:.1f} s{missing}{uneven}", took <= 12 and not missing and not uneven


def kill_one(world, pair):
    """Kills the worker that holds the lease of the last shard; its shards, the other worker, the moment."""
    # At any moment between two renewals, which are 3.3 s apart: how long it takes depends on that.
    time.sleep(random.uniform(0, 3.3))
    owners = world.held()
    victim = owners[world.shards[-1]]
    (survivor,) = (daemon for name, daemon in pair.items() if name != victim)
    pair[victim].kill()
    return [shard for shard, owner in owners.items() if owner == victim], survivor, time.monotonic()


@row("kill-one-of-idle", "the same in a fleet idle for 30 s, one record a second per shard from the kill on", "≤ 12 s")
def kill_one_of_idle(kind):
    with World() as world:
        world.put_one_each("early")
        pair = fleet(world, kind, ["one", "two"])
        number = 0

        def trickle():
            nonlocal number
            number += 1
            world.put_one_each(f"record{number}")

        uneven = settled(world, list(pair.values()), trickle)
        time.sleep(30)
        orphans, survivor, at = kill_one(world, pair)
        put = at

        def flows():
            nonlocal put
            survivor.alive()
            if time.monotonic() >= put:
                put += 1
                trickle()
            return world.ledger.all_flow(orphans, at)

        took = wait("the orphans flow", LONG, flows) - at
        return took, f"{took:.1f} s{uneven}", took <= 12 and not uneven


@row("idle-memory", "memory idle with 4 shards, daemon alone", "≤ 25 MB")
def idle_memory(kind):
    with World() as world:
        world.put_one_each("early")
        daemon = world.daemon(kind)
        flowing(world, daemon, daemon.started)
        time.sleep(20)
        memory = daemon.memory()
        return memory, f"{memory:.0f} MB", memory <= 25


@row("rolling-restart", "three workers restarted one by one under load: longest silence of any shard", "≤ 3 s, nothing lost")
def rolling_restart(kind):
    return restarted_one_by_one(kind, away=0)


@row("rolling-gap", "the same, each away for 8 s: the others must take its shards", "≤ 3 s, nothing lost")
def rolling_gap(kind):
    return restarted_one_by_one(kind, away=8)


def restarted_one_by_one(kind, away):
    with World() as world:
        load = world.load()
        workers = fleet(world, kind, ["one", "two", "three"])
        uneven = settled(world, list(workers.values()))
        since = time.monotonic()
        for name in workers:
            workers[name].signal(signal.SIGTERM)
            workers[name].ends()
            time.sleep(away)
            workers[name] = world.daemon(kind, name)
            uneven = settled(world, list(workers.values())) or uneven
        silence, _shard = world.ledger.longest_silence(since, time.monotonic())
        missing = nothing_lost(world, load)
        return silence, f"{silence:.1f} s{missing}{uneven}", silence <= 3 and not missing and not uneven


@row("many-shards", "150 shards on one worker: all flowing; memory, daemon alone", "≤ 15 s; ≤ 60 MB")
def many_shards(kind):
    with World(shards=150) as world:
        world.put_one_each("early")
        daemon = world.daemon(kind)
        took = flowing(world, daemon, daemon.started)
        time.sleep(15)
        memory = daemon.memory()
        return took, f"{took:.1f} s; {memory:.0f} MB", took <= 15 and memory <= 60
