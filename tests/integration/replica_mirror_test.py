#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one
"""Mirrored volumes and a mirrored share in a replication group: the standby makes them with two copies,
and what waits to go there, too, where its pool has two devices; with one where it has not."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                        # pylint: disable=wrong-import-position
from replica import Node, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position


def second_device(node):
    node.granary("pool", "add", "tank", os.path.join(node.state, "second") + ":300M")


def mirrors(node):
    return {volume["name"]: volume["mirror"] for volume in node.ask("volume", "list")}


def group(node, peer, name, *members):
    node.granary("replica", "group", "create", name, *members, "--peer", peer, "--rpo", "1s")
    return wait(lambda: sealed(node, name))


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-replica-") as top:
        nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
        try:
            one, two = nodes
            peer = pair(one, two)
            second_device(one)
            one.granary("volume", "create", "tank/early", "16M", "--mirror")
            points.point(group(one, peer, "early", "tank/early"),
                         "a mirrored volume is replicated to a pool of one device", one.group("early"))
            made = mirrors(two)
            points.point(made["early"] is False and made["early-staging"] is False,
                         "where it has one copy", made)
            points.point("has one copy here" in two.server.log(), "and the log says so")
            second_device(two)
            one.granary("volume", "create", "tank/late", "16M", "--mirror")
            one.granary("volume", "create", "tank/plain", "16M")
            one.granary("share", "create", "tank/vmstore", "--mirror")
            points.point(group(one, peer, "late", "tank/late", "tank/plain", "tank/vmstore"),
                         "another group to one of two", one.group("late"))
            made = mirrors(two)
            points.point((made["late"], made["late-staging"], made["plain"]) == (True, True, False),
                         "where it has two copies, as what waits for it, and others have one", made)
            one.granary("replica", "switchover", "late")
            shares = {share["name"]: share for share in two.ask("share", "list")}
            points.point(shares["vmstore"]["mirror"] is True, "a share likewise, after a switchover",
                         shares)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
