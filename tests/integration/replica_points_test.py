#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""Two daemons: the standby keeps points of a group under load, each a cut through all members;
clones of one are tried out, written to, while replication goes on, and keep it; the rest is thinned
out; the rule is changed while the group runs."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                       # pylint: disable=wrong-import-position
from replica import IQN, Node, end, make_luns, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

LUNS = 2
MEMBERS = [f"tank/cut{lun}" for lun in range(LUNS)]
KEPT = 4


def epochs(node):
    return [point["epoch"] for point in node.ask("replica", "group", "points", "vms")]


def set_up(points, one, two):
    peer = pair(one, two)
    make_luns(one, *MEMBERS)
    said = one.refused("replica", "group", "create", "vms", *MEMBERS, "--peer", peer, "--points",
                       "all")
    points.point("0 to 512 points" in said, "a rule that keeps everything is refused", said)
    one.granary("replica", "group", "create", "vms", *MEMBERS, "--peer", peer, "--rpo", "1s",
                "--points", str(KEPT))
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())


def kept(points, two):
    points.point(wait(lambda: len(epochs(two)) >= KEPT), "points are kept under load",
                 two.ask("replica", "group", "points", "vms"))
    first = wait(lambda: (now := epochs(two)) and len(now) <= KEPT + 1 and now)
    points.point(first and first == sorted(first, reverse=True), "so many, the newest first", first)
    points.point(wait(lambda: min(epochs(two), default=0) > max(first)), "and go on", epochs(two))
    one = two.ask("replica", "group", "points", "vms")[0]
    points.point([s.split("@")[0] for s in one["snapshots"]] == MEMBERS, "of all members", one)
    text = two.granary("replica", "group", "points", "vms")
    points.point("EPOCH" in text and "tank/cut0@point-" in text, "shown as a table", text)


def clones(points, one, two, top):
    """A failover tried out."""
    said = two.refused("replica", "point", "clone", "vms", "999999999")
    points.point("keeps no point of epoch" in said, "a point that is not there", said)
    epoch = None
    for _ in range(10):  # it may be thinned out at the same moment
        epoch = epochs(two)[0]
        said = two.refused("replica", "point", "clone", "vms", str(epoch), "tank/try0")
        if "2 volumes" in said:
            break
    points.point("2 volumes" in said, "a name for each", said)
    two.granary("volume", "create", "tank/try1", "1M")
    while "exists" not in (said := two.refused("replica", "point", "clone", "vms",
                                               str(epochs(two)[0]), "tank/try0", "tank/try1")):
        if "keeps no point" not in said:
            break
    names = [v["name"] for v in two.ask("volume", "list")]
    points.point("try1" in said and "try0" not in names, "all of the clones or none", (said, names))
    two.granary("volume", "delete", "tank/try1", "--yes")
    for _ in range(10):
        epoch = epochs(two)[0]
        said = two.refused("replica", "point", "clone", "vms", str(epoch), "tank/try0", "try1")
        if not said:
            break
    points.point(said == "", "an epoch is cloned while replication goes on", said)
    two.granary("target", "create", IQN)
    two.granary("target", "allow", IQN, "--network", "127.0.0.0/8")
    for lun in range(LUNS):
        two.granary("lun", "map", IQN, f"tank/try{lun}")
    good, said = two.verify(LUNS)
    points.point(good and int(said) > 0, "what is cloned is a cut through all members", said)
    log = os.path.join(top, "tried")
    load = two.write(LUNS, int(said) + 1 if good else 1, log)
    try:
        points.point(wait(lambda: os.path.exists(log) and os.path.getsize(log) > 2000),
                     "the clones are written to")
        passed = epoch + 2 * KEPT
        points.point(wait(lambda: min((e for e in epochs(two) if e != epoch), default=0) > passed) and
                     epoch in epochs(two), "a point with clones stays, others come and go",
                     (epoch, epochs(two)))
        points.point(wait(lambda: sealed(one)) and one.group()["role"] == "primary", "the group goes on",
                     one.group())
    finally:
        end(load)
    said = two.refused("snapshot", "delete", f"tank/cut0@{name_of(two, epoch)}", "--yes")
    points.point("clone" in said, "nor is it deleted by hand", said)
    for lun in range(LUNS):
        two.granary("lun", "unmap", IQN, str(lun))
        two.granary("volume", "delete", f"tank/try{lun}", "--yes")
    points.point(wait(lambda: epoch not in epochs(two)), "until they are gone", epochs(two))


def name_of(node, epoch):
    """Of the snapshots of a point; one that has just been thinned out has none."""
    return next((point["snapshots"][0].split("@")[1]
                 for point in node.ask("replica", "group", "points", "vms") if point["epoch"] == epoch),
                "gone")


def read_only(points, two):
    """A snapshot of a point as a LUN keeps the whole point."""
    for _ in range(10):
        epoch = epochs(two)[0]
        name = name_of(two, epoch)
        said = two.refused("lun", "map", IQN, f"tank/cut0@{name}", "--ro")
        if not said:
            break
    points.point(said == "", "a snapshot of a point is a LUN", said)
    points.point(wait(lambda: min((e for e in epochs(two) if e != epoch), default=0) > epoch + KEPT) and
                 len([p for p in two.ask("replica", "group", "points", "vms")
                      if p["epoch"] == epoch and len(p["snapshots"]) == LUNS]) == 1,
                 "and its point stays, whole", (epoch, epochs(two)))
    two.granary("lun", "unmap", IQN, "0")
    points.point(wait(lambda: epoch not in epochs(two)), "until it is none any more", epochs(two))


def changed(points, one, two):
    said = two.refused("replica", "group", "set", "vms", "--points", "2")
    points.point("on its primary" in said, "a group is changed on its primary", said)
    one.granary("replica", "group", "set", "vms", "--points", "last=2,daily=1")
    points.point(wait(lambda: 0 < len(epochs(two)) <= 3) and
                 two.group()["points"] == "last=2,daily=1", "another rule, live",
                 (epochs(two), two.group()))
    one.granary("replica", "group", "set", "vms", "--rpo", "2s", "--limit", "100M")
    points.point(wait(lambda: two.group()["rpo_seconds"] == 2) and
                 one.group()["limit_bytes"] == 100 << 20, "RPO and limit too, on both",
                 (one.group(), two.group()))
    one.granary("replica", "group", "set", "vms", "--points", "0", "--limit", "0")
    points.point(wait(lambda: epochs(two) == []), "none are kept", epochs(two))
    one.granary("replica", "group", "set", "vms", "--points", "3")
    points.point(wait(lambda: len(epochs(two)) >= 2), "some are again", epochs(two))


def promoted(points, one, two):
    """What the standby kept is there when it is the primary, and can be gone back to."""
    two.granary("replica", "promote", "vms", "--yes")
    last = epochs(two)
    points.point(last, "points outlive a promotion", two.group())
    before = two.verify(LUNS)
    made = two.ask("replica", "point", "clone", "vms", str(last[0]))
    points.point([m["volume"] for m in made] == [f"{m}-{last[0]}" for m in MEMBERS],
                 "clones have a name by themselves", made)
    two.granary("target", "create", IQN + ".then")
    two.granary("target", "allow", IQN + ".then", "--network", "127.0.0.0/8")
    points.point(before[0], "what is promoted is a cut", before)
    points.point(wait(lambda: one.group()["role"] == "fenced"), "the other one is fenced",
                 one.group())


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes, load = [], None
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            set_up(points, one, two)
            load = one.write(LUNS, 1, os.path.join(top, "log"))
            kept(points, two)
            clones(points, one, two, top)
            read_only(points, two)
            changed(points, one, two)
            promoted(points, one, two)
        finally:
            if load:
                end(load)
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
