#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""What a promoted node has to export is made once, whatever comes in between: a promotion that was
saved and ended there is gone on with by the next start; after that, and after a handover that comes
to nothing, what the administrator changed stays as it is."""

import json
import os
import shutil
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                                  # pylint: disable=wrong-import-position
from replica import (IQN, Node, pair, query, sealed, stop_all, told,  # pylint: disable=wrong-import-position
                     wait)
from replica_access_test import (allow, host_name, kept_exports, logs_in,  # pylint: disable=wrong-import-position
                                 rules_of, shown)

SHARE = "tank/docs"
ALICE, BOB = "iqn.2026-11.org.example:alice", "iqn.2026-11.org.example:bob"
SECRET, OTHER = "of-alice-before-1", "of-bob-and-none-4"
CLIENTS = ["10.99.0.0/16", "127.0.0.1"]


def set_up(one, two, top):
    one.granary("target", "create", IQN)
    allow(one, top, ALICE, "alice", SECRET)
    allow(one, top, host_name(1))
    for number in (0, 1):
        one.granary("volume", "create", f"tank/disk{number}", "16M")
        one.granary("lun", "map", IQN, f"tank/disk{number}")
    one.granary("host", "create", "second", host_name(2))
    one.granary("lun", "mask", IQN, "1", "second")
    one.granary("share", "create", SHARE)
    for client in CLIENTS:
        one.granary("share", "allow", SHARE, "--client", client)
    one.granary("replica", "group", "create", "vms", "tank/disk0", "tank/disk1", SHARE, "--peer",
                pair(one, two), "--rpo", "1s")
    wait(lambda: sealed(one))


def exported(node):
    """All of it that can be seen from outside."""
    shares = [share["state"] for share in node.ask("share", "list") if share["name"] == "docs"]
    clients = [rule["client"] for rule in node.ask("share", "rules", SHARE)] if shares else []
    targets = [target["iqn"] for target in node.ask("target", "list")]
    return (rules_of(node), shown(node), shares, sorted(clients)) if IQN in targets else None


def kept_access(node):
    return query(node, "select access is not null from grp")[0] == 1


def fails(node, name, when):
    """What @node saves of a group @when fails from now on; or no more."""
    query(node, f"create trigger {name} before update on grp when {when}"
          f" begin select raise(abort, '{name}'); end" if when else f"drop trigger {name}")


def ended_there(points, one, two, top):
    """Saved as promoted, and nothing made: what is made is taken away, and what is saved behind the
    promotion is not."""
    told(one, two)
    before = exported(one)
    for node in (one, two):
        node.kill()
    configuration = [name for name in os.listdir(two.state) if name.startswith("config.db")]
    for name in configuration:
        shutil.copy(os.path.join(two.state, name), top)
    fails(two, "over", "old.role = 1")
    two.start()
    two.granary("replica", "promote", "vms", "--yes")
    points.point(wait(lambda: exported(two) == before), "a promotion makes what was exported",
                 (before, exported(two)))
    two.kill()
    fails(two, "over", None)
    points.point(query(two, "select role from grp") == (1,) and kept_exports(two) and
                 kept_access(two), "what is to be made is kept with it until all of it is")
    for name in configuration:
        shutil.copy(os.path.join(top, name), two.state)
    store = sqlite3.connect(os.path.join(two.state, "config.db"))
    counts = [store.execute(f"select count(*) from {text}").fetchone()[0]
              for text in (f"target where iqn = '{IQN}'", "share where name = 'docs'")]
    store.close()
    points.point(counts == [0, 0], "a node ends before it made any of it", counts)
    two.start()
    points.point(wait(lambda: exported(two) == before), "its start makes all of it",
                 (before, exported(two)))
    points.point(wait(lambda: not kept_exports(two) and not kept_access(two)),
                 "and keeps nothing of it then", kept_exports(two))
    said = [logs_in(two, ALICE, "alice", SECRET), logs_in(two, ALICE, "alice", OTHER),
            logs_in(two, ALICE)]
    points.point(said == [True, False, False], "CHAP lets in whom it did", said)
    return before


def change(node, top):
    """What is not to be overwritten."""
    node.granary("target", "deny", IQN, "--initiator", host_name(1))
    allow(node, top, BOB, "bob", OTHER)
    node.granary("lun", "mask", IQN, "1")
    node.granary("lun", "unmap", IQN, "0", "--yes")
    node.granary("share", "deny", SHARE, "--client", CLIENTS[0])
    return exported(node)


def stays(node, changed):
    """Whatever waits for its turn is over when this change is."""
    node.granary("host", "create", "turn", host_name(9))
    node.granary("host", "delete", "turn", "--yes")
    return exported(node) == changed


def starts(points, node, changed, what):
    node.kill()
    node.start()
    points.point(not wait(lambda: not stays(node, changed), 1.5), f"{what} overwrites nothing",
                 (changed, exported(node)))


def comes_to_nothing(points, one, two, changed):
    """The standby says no, at the last moment."""
    one.start()
    wait(lambda: one.group()["role"] == "fenced")
    one.granary("replica", "demote", "vms", "--yes")
    wait(lambda: sealed(two))
    fails(one, "no", "old.role = 2 and new.role = 1")
    said = two.refused("replica", "switchover", "vms")
    points.point("handed over" in said and "is handover now" in two.server.log(),
                 "a handover that the standby refuses fails", said)
    points.point(wait(lambda: two.group()["role"] == "primary") and one.group()["role"] == "standby",
                 "it is the primary again", (two.group(), one.group()))
    points.point(stays(two, changed), "with what it had at the end", (changed, exported(two)))
    fails(one, "no", None)
    two.granary("lun", "map", IQN, "tank/disk0", "--lun", "0")
    changed = exported(two)
    wait(lambda: sealed(two))
    two.granary("replica", "switchover", "vms")
    points.point(wait(lambda: exported(one) == changed), "the next one is, and takes that along",
                 (changed, exported(one)))


def of_before(points, node, definition):
    """A primary of a release that left there for good what it was promoted with."""
    changed = exported(node)
    points.point(wait(lambda: not kept_exports(node)), "nothing is kept of it", kept_exports(node))
    node.kill()
    version = query(node, "pragma user_version")[0]
    query(node, f"pragma user_version = {version - 1}")
    now = json.loads(query(node, "select definition from grp")[0])
    now["exports"] = definition["exports"]
    query(node, "update grp set definition = ?", json.dumps(now))
    node.start()
    points.point(not wait(lambda: not stays(node, changed), 1.5) and not kept_exports(node),
                 "what a release before left there is not made again", (changed, exported(node)))


def luns(node):
    return [(lun["lun"], lun["volume"]) for lun in node.ask("lun", "list", IQN)]


def moved(points, one, two):
    """What was unmapped, and mapped as something else, while the other node had the group."""
    points.point(wait(lambda: sealed(one)) and two.group()["role"] == "standby" and
                 luns(two) == [(0, "disk0"), (1, "disk1")], "the standby had two LUNs",
                 luns(two))
    two.granary("volume", "create", "tank/own", "16M")
    two.granary("lun", "map", IQN, "tank/own", "--lun", "7")
    one.granary("lun", "unmap", IQN, "0", "--yes")
    one.granary("lun", "unmap", IQN, "1", "--yes")
    one.granary("lun", "map", IQN, "tank/disk1", "--lun", "0")
    one.granary("replica", "switchover", "vms")
    points.point(wait(lambda: luns(two) == [(0, "disk1"), (7, "own")]),
                 "a LUN that was unmapped meanwhile does not come back, its own stays",
                 luns(two))


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            set_up(one, two, top)
            wait(lambda: query(two, "select count(*) from grp where role = 2") == (1,))
            told(one, two)
            definition = json.loads(query(two, "select definition from grp")[0])
            ended_there(points, one, two, top)
            changed = change(two, top)
            starts(points, two, changed, "a start after that")
            comes_to_nothing(points, one, two, changed)
            of_before(points, one, definition)
            moved(points, one, two)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
