#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one
"""Two daemons and what an administrator does to a replication group: members that may not be made
smaller, rolled back or mapped, pausing on either side, growing, stops in order, a missing pool,
members in two pools, verifying, failing back, deletion under load and a second group of the same name and volumes."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                       # pylint: disable=wrong-import-position
from replica import IQN, Node, end, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

LUNS = 2
MEMBERS = [f"tank/cut{lun}" for lun in range(LUNS)]


def create(node, peer, name, *members):
    node.granary("replica", "group", "create", name, *members, "--peer", peer, "--rpo", "1s")


def set_up(points, one, two):
    peer = pair(one, two)
    one.granary("target", "create", IQN)
    one.granary("target", "allow", IQN, "--network", "127.0.0.0/8")
    for member in MEMBERS:
        one.granary("volume", "create", member, "16M")
        one.granary("snapshot", "create", f"{member}@empty")
        one.granary("lun", "map", IQN, member)
    said = one.refused("replica", "group", "create", "vms", MEMBERS[0], MEMBERS[0], "--peer", peer)
    points.point("named twice" in said, "a member is named once", said)
    create(one, peer, "vms", *MEMBERS)
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())
    return peer


def refusals(points, one, two):
    for words, text in ((("volume", "resize", MEMBERS[0], "8M", "--shrink"), "made smaller"),
                        (("lun", "map", IQN, "tank/vms-staging"), "given to guests"),
                        (("volume", "rollback", "tank/vms-staging@x", "--yes"), "rolled back")):
        said = one.refused(*words)
        points.point(text in said, f"{words[0]} {words[1]} is refused: {text}", said)
    two.granary("snapshot", "create", f"{MEMBERS[0]}@mine")
    said = two.refused("volume", "rollback", f"{MEMBERS[0]}@mine", "--yes")
    points.point("rolled back" in said, "a standby's image is not rolled back", said)
    for member in (MEMBERS[0], "tank/vms-staging"):
        said = two.refused("volume", "delete", member, "--with-snapshots", "--yes")
        points.point("of replication group vms and can not be deleted" in said,
                     f"{member} is not deleted", said)
    left = [one["name"] for one in two.ask("snapshot", "list", MEMBERS[0])]
    points.point(len(left) == 1 and left[0].endswith("mine"), "nor are its snapshots", left)
    two.granary("snapshot", "delete", f"{MEMBERS[0]}@mine", "--yes")
    said = two.refused("replica", "group", "delete", "vms", "--yes")
    points.point("delete it there first" in said, "nor deleted while its primary is there", said)


def pausing(points, one, two):
    two.granary("replica", "pause", "vms")
    points.point(wait(lambda: "paused" in one.group()["reason"] and
                      two.group()["state"] == "paused") and not sealed(one),
                 "a pause on the standby is one", (one.group(), two.group()))
    two.granary("replica", "resume", "vms")
    points.point(wait(lambda: sealed(one)), "and ends", one.group())
    points.point(not one.group()["reason"] and not two.group()["reason"],
                 "of which nothing is said any more", (one.group(), two.group()))
    one.granary("replica", "pause", "vms")
    paused = wait(lambda: one.group()["reason"] == "paused" and one.group())
    one.granary("replica", "resume", "vms")
    points.point(paused and wait(lambda: sealed(one)) and wait(lambda: not two.group()["reason"]) and
                 not one.group()["reason"], "nor on the primary, paused and resumed there",
                 (paused, one.group(), two.group()))
    one.granary("volume", "resize", MEMBERS[0], "32M")

    def size():
        return next(v["size_bytes"] for v in two.ask("volume", "list") if v["name"] == "cut0")
    points.point(wait(lambda: size() == 32 << 20) and wait(lambda: sealed(one)),
                 "a member that grows is as large on the standby", size())


def stop(points, node, what):
    status = node.server.stop()
    points.point(status == 0, what, node.server.log()[-2000:])


def stops(points, one, two):
    """Stops in order: what is known of the other node afterwards."""
    before = wait(lambda: one.group()["lag_seconds"] == 0 and one.group())
    stop(points, two, "the standby stops")
    stop(points, one, "the primary stops")
    two.start()
    alone = two.group()
    points.point(alone["sealed_epoch"] == before["sealed_epoch"] and alone["promotable"] and
                 alone["lag_seconds"] > 0, "a standby alone knows its image", alone)
    points.point(wait(lambda: two.group()["alarms"] == ["link"]), "and misses its primary",
                 two.group())
    stop(points, two, "it stops")
    one.start()
    alone = one.group()
    points.point(alone["sealed_epoch"] == before["sealed_epoch"] and alone["lag_bytes"] == 0,
                 "a primary that stopped in order knows what is sealed", (before, alone))
    two.start()
    wait(lambda: sealed(one) and one.group()["lag_seconds"] == 0)
    stop(points, one, "it stops")
    pool = os.path.join(one.state, "tank.pool")
    os.rename(pool, pool + ".away")
    one.start()
    points.point(one.group()["state"] == "unavailable", "without its pool it is unavailable",
                 one.group())
    stop(points, one, "and stops")
    os.rename(pool + ".away", pool)
    two.granary("replica", "pause", "vms")
    one.start()
    alone = one.group()
    points.point(alone["sealed_epoch"] == 0 and alone["lag_bytes"] > 0,
                 "what guests did meanwhile is unknown to it", alone)
    two.granary("replica", "resume", "vms")
    points.point(wait(lambda: sealed(one)), "until it has compared", one.group())


def two_pools(points, one, two, peer):
    side = os.path.join(one.state, "side.pool")
    one.granary("pool", "create", "side", f"{side}:512M")
    for volume in ("tank/a", "side/b"):
        one.granary("volume", "create", volume, "8M")
    create(one, peer, "wide", "tank/a", "side/b")
    points.point(wait(lambda: sealed(one, "wide")), "members in two pools", one.group("wide"))
    stop(points, one, "it stops")
    os.rename(side, side + ".away")
    one.start()
    points.point(one.group("wide")["state"] == "unavailable", "one of them is missing",
                 one.group("wide"))
    stop(points, one, "its volumes are let go")
    os.rename(side + ".away", side)
    two.granary("replica", "promote", "wide", "--yes")
    one.start()
    points.point(wait(lambda: one.group("wide")["role"] == "fenced"), "it was promoted elsewhere",
                 one.group("wide"))
    one.granary("replica", "demote", "wide", "--yes")
    kept = [one.ask("snapshot", "list", volume) for volume in ("tank/a", "side/b")]
    points.point(wait(lambda: sealed(two, "wide")) and all(len(list_) == 1 for list_ in kept),
                 "and demoted, with a snapshot in each pool", kept)
    two.granary("replica", "group", "delete", "wide", "--yes")
    points.point(wait(lambda: not one.refused("replica", "group", "delete", "wide", "--yes")),
                 "and deleted")


def verify_and_back(points, one, two, top):
    """Compared under load; then promoted, and handed back."""
    load = one.write(LUNS, 1, os.path.join(top, "before"))
    try:
        points.point(wait(lambda: sealed(one)), "a guest writes", one.group())
        one.granary("replica", "verify", "vms")
        done = wait(lambda: one.group()["verify"]["state"] == "done" and one.group()["verify"])
        points.point(done and done["mismatches"] == 0 and done["done_bytes"] == 48 << 20,
                     "all of it is compared under load, and nothing differs", one.group())
        two.granary("replica", "pause", "vms")
        points.point(wait(lambda: "rpo" in one.group()["alarms"]), "an RPO that is not kept is an "
                     "alarm", one.group())
        two.granary("replica", "resume", "vms")
        points.point(wait(lambda: sealed(one) and not one.group()["alarms"]), "until it is kept",
                     one.group())
        said = two.refused("replica", "verify", "vms")
        points.point("is standby here" in said, "the primary does that", said)
        said = two.granary("replica", "promote", "vms", "--yes")
        points.point("seconds before (epoch" in said and "is not in it: at most" in said,
                     "a promotion that asks nobody says how old the image is", said)
        points.point(wait(lambda: one.group()["role"] == "fenced"), "the standby is promoted",
                     one.group())
    finally:
        end(load)
    before = two.verify(LUNS)
    one.granary("replica", "failback", "vms", "--yes")
    points.point(one.group()["role"] == "primary" and wait(lambda: sealed(one) and
                 two.group()["role"] == "standby"), "the old primary is the primary again",
                 (one.group(), two.group()))
    after = one.verify(LUNS)
    points.point(before[0] and after == before, "with what the other one had", (before, after))
    said = one.refused("replica", "failback", "vms", "--yes")
    points.point("is primary here" in said, "and needs no failback any more", said)


def again(points, one, two, peer, top):
    """Deleted while a guest writes; then one of the same name and volumes, emptied meanwhile."""
    log = os.path.join(top, "log")
    load = one.write(LUNS, 1, log)
    try:
        points.point(wait(lambda: os.path.exists(log) and os.path.getsize(log) > 1000) and
                     wait(lambda: sealed(one)), "a guest writes")
        one.granary("replica", "group", "delete", "vms", "--yes")
        points.point(wait(lambda: not two.refused("replica", "group", "delete", "vms", "--yes")),
                     "a group is deleted on both nodes")
        written = os.path.getsize(log)
        points.point(wait(lambda: os.path.getsize(log) > written) and load.poll() is None,
                     "the guest does not notice")
        create(one, peer, "vms", *MEMBERS)
        points.point(wait(lambda: sealed(one)), "another one of the same name is seeded under it",
                     (one.group(), two.group()))
        one.granary("replica", "group", "delete", "vms", "--yes")
        wait(lambda: not two.refused("replica", "group", "delete", "vms", "--yes"))
    finally:
        end(load)
    staging = [v["name"] for node in (one, two) for v in node.ask("volume", "list")
               if "staging" in v["name"]]
    points.point(not staging, "staging logs go with their groups", staging)
    for member in MEMBERS:
        one.granary("volume", "rollback", f"{member}@empty", "--yes")
    create(one, peer, "third", *MEMBERS)
    points.point(wait(lambda: sealed(one, "third")), "a third one, of volumes that are empty now",
                 one.group("third"))
    two.granary("replica", "promote", "third", "--yes")
    wait(lambda: len(two.ask("lun", "list", IQN)) == LUNS)
    result = two.verify(LUNS)
    points.point(result == (True, "0"), "nothing of the old ones is on its standby", result)


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            peer = set_up(points, one, two)
            refusals(points, one, two)
            pausing(points, one, two)
            stops(points, one, two)
            two_pools(points, one, two, peer)
            verify_and_back(points, one, two, top)
            again(points, one, two, peer, top)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
