#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""Which NFS clients had state on a share is on its volume, so it goes with a replication group: after
a failover and after a switchover the promoted node has a grace period, in which a client claims the
open file and the lock it had, one that had none claims nothing, and nobody has anything new."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import nfs41_wire_test as nfs41                   # pylint: disable=wrong-import-position
import rpc_client as rpc                          # pylint: disable=wrong-import-position
import tap                                        # pylint: disable=wrong-import-position
from nfs4_locks_test import GRACE, NO_GRACE, READ, WRITE, Locker  # pylint: disable=wrong-import-position
from replica import Node, pair, sealed, stop_all, wait         # pylint: disable=wrong-import-position

SHARE = "tank/docs"


def online(node):
    return any(one["name"] == "docs" and one["state"] == "online"
               for one in node.ask("share", "list"))


def level(node):
    group = node.group()
    return sealed(node) and group["lag_bytes"] == 0 and group["lag_seconds"] < 1


def set_up(points, one, two):
    one.granary("share", "create", SHARE)
    one.granary("share", "allow", SHARE, "--client", "127.0.0.1", "--insecure", "--no-root-squash")
    one.granary("replica", "group", "create", "vms", SHARE, "--peer", pair(one, two), "--rpo", "1s")
    wait(lambda: sealed(one))
    with rpc.Connection(one.nfs) as connection:
        host, idle = Locker(connection, b"host"), Locker(connection, b"idle")
        file, opened = host.open(host.walk("docs"), "file", how=nfs41.UNCHECKED)
        points.point(host.write(file, opened, 0, b"before") == 0 and
                     len(host.lock(file, WRITE, 0, 10, opened, b"p")) == 16,
                     "a client writes to a file and has a lock")
        idle.walk("docs")
    points.point(wait(lambda: level(one)), "which the standby has", one.group())
    return file


def reclaimed(points, node, file, content, how, stranger=b"idle", others=()):
    points.point(wait(lambda: online(node)), f"{how}: the share is served", node.group())
    with rpc.Connection(node.nfs) as connection:
        idle, host = (Locker(connection, name, complete=False) for name in (stranger, b"host"))
        said = idle.reclaim_open(file)
        points.point(said == NO_GRACE, f"{how}: who had nothing open claims nothing", said)
        idle.complete()
        said = idle.open(idle.walk("docs"), "file")
        points.point(said == GRACE, f"{how}: nor opens it anew before who had it is back", said)
        mine = host.reclaim_open(file)
        lock = host.lock(file, WRITE, 0, 10, mine, b"p", reclaim=1) if len(mine) == 16 else None
        points.point(lock and len(lock) == 16 and host.read(file, mine, 0, 100) == (True, content),
                     f"{how}: who had it claims file and lock", (mine, lock))
        host.complete()
        for name in others:  # who had something before, or the grace period waits for them
            Locker(connection, name, complete=False).complete()
        opened = wait(lambda: (found := idle.open(idle.walk("docs"), "file")) != GRACE and found, 20)
        said = idle.lock(file, READ, 0, 1, opened[1], b"q")
        points.point(said[:3] == (0, 10, WRITE), f"{how}: then others open it, and find the lock",
                     said)
        idle.close(*opened)
        points.point(host.write(file, mine, 0, content + b"!") == 0, f"{how}: and it writes on")


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            file = set_up(points, one, two)
            one.kill()
            two.granary("replica", "promote", "vms", "--yes")
            reclaimed(points, two, file, b"before", "a failover")
            one.start()
            wait(lambda: one.group()["role"] == "fenced")
            one.granary("replica", "demote", "vms", "--yes")
            wait(lambda: level(two))
            two.granary("replica", "switchover", "vms")
            reclaimed(points, one, file, b"before!", "a switchover", b"stranger", (b"idle",))
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
