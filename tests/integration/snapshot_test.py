#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=one asan
"""Snapshots and clones through the daemon, the command line and an initiator: what they hold, that
they are read-only LUNs, differences, rollback, promotion, holds, deletion, and all of it after
a kill."""

import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
from server import CEPH  # pylint: disable=wrong-import-position

MIB = 1 << 20


def refused(points, daemon, says, *words):
    result = daemon.run(*words)
    points.point(result.returncode == 1 and says in result.stderr,
                 f"refused: granary {' '.join(words)}", result.stdout + result.stderr)


def names(daemon, volume):
    return [one["name"] for one in daemon.json("snapshot", "list", volume)]


def measured(daemon):
    """What each snapshot holds is counted in the background where it is not known."""
    return pools.wait_for(lambda: all(one["space"] == "known"
                                      for one in daemon.json("snapshot", "list", "tank/one")))


def straight(points, daemon):
    daemon.serve("tank/one", "64M")
    daemon.write(0, 4 * MIB, 0x11)
    daemon.good("snapshot", "create", "tank/one@a")
    daemon.write(MIB, MIB, 0x22)
    daemon.good("lun", "map", pools.IQN, "tank/one@a", "--lun", "1")
    points.point(daemon.holds(0, 4 * MIB, 0x11, lun=1) and daemon.holds(MIB, MIB, 0x22) and
                 daemon.holds(0, MIB, 0x11), "a snapshot holds what was, its volume what is")
    good, text = daemon.io("write -P 9 0 4096", lun=1)
    points.point(not good, "a snapshot as a LUN can not be written", text)
    refused(points, daemon, "unmap it first", "snapshot", "delete", "tank/one@a", "--yes")
    refused(points, daemon, "already", "snapshot", "create", "tank/one@a")
    refused(points, daemon, "POOL/VOLUME@SNAPSHOT", "snapshot", "create", "tank/one")
    refused(points, daemon, "no volume", "snapshot", "create", "tank/none@a")
    diff = daemon.json("snapshot", "diff", "tank/one@a")
    points.point(diff == [{"offset": MIB, "length": MIB, "mapped": True}],
                 "the difference is what was written", diff)
    daemon.good("snapshot", "create", "tank/one@b")
    points.point(daemon.json("snapshot", "diff", "tank/one@a", "@b") == diff and
                 daemon.json("snapshot", "diff", "tank/one@b") == [],
                 "and between two snapshots, too")
    if CEPH:  # which does not say what a snapshot holds alone
        return
    measured(daemon)
    shown = daemon.json("snapshot", "show", "tank/one@a")
    points.point(shown["exclusive_bytes"] == MIB and shown["used_bytes"] == 4 * MIB,
                 "deleting it would give back what was overwritten since", shown)
    listed = daemon.json("snapshot", "list", "tank/one")
    points.point([(one["exclusive_bytes"], one["reclaimable_bytes"], one["space"])
                  for one in listed] == [(MIB, MIB, "known"), (0, 0, "known")],
                 "a list shows what each holds alone, and gives back", listed)


def killed(points, daemon):
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point(names(daemon, "tank/one") == ["a", "b"] and
                 daemon.holds(0, 4 * MIB, 0x11, lun=1) and daemon.holds(MIB, MIB, 0x22) and
                 not daemon.io("write -P 9 0 4096", lun=1)[0],
                 "after a kill snapshots and their LUNs are as they were",
                 names(daemon, "tank/one"))
    if CEPH:
        return
    measured(daemon)
    table = daemon.good("snapshot", "list", "tank/one")
    line = [words for words in table.splitlines() if " a " in words][0]
    points.point("EXCLUSIVE" in table and "RECLAIMABLE" in table and line.count("1 MiB") == 2,
                 "and so is what each of them holds alone", table)


def clones(points, daemon):
    daemon.good("volume", "clone", "tank/one@a", "tank/copy")
    daemon.good("lun", "map", pools.IQN, "tank/copy", "--lun", "2")
    daemon.write(2 * MIB, MIB, 0x33, lun=2)
    points.point(daemon.holds(0, 2 * MIB, 0x11, lun=2) and
                 daemon.holds(2 * MIB, MIB, 0x33, lun=2) and
                 daemon.holds(2 * MIB, MIB, 0x11) and daemon.holds(0, 4 * MIB, 0x11, lun=1),
                 "a clone is writable and leaves its origin alone")
    daemon.good("lun", "unmap", pools.IQN, "1")
    refused(points, daemon, "clone", "snapshot", "delete", "tank/one@a", "--yes")
    refused(points, daemon, "not a clone", "volume", "promote", "tank/one")
    daemon.good("volume", "promote", "tank/copy")
    if CEPH:  # a snapshot stays with its image; the clone has all data for itself
        daemon.good("snapshot", "delete", "tank/one@a", "--yes")
        points.point(names(daemon, "tank/copy") == [] and names(daemon, "tank/one") == ["b"],
                     "a promoted clone stands on nothing")
        return
    points.point(names(daemon, "tank/copy") == ["a"] and names(daemon, "tank/one") == ["b"],
                 "a promoted clone has the snapshot it stood on")


def rollback(points, daemon):
    daemon.write(0, MIB, 0x44)
    daemon.good("volume", "rollback", "tank/one@b", "--keep", "before", "--yes")
    points.point(daemon.holds(0, MIB, 0x11) and daemon.holds(MIB, MIB, 0x22) and
                 names(daemon, "tank/one") == ["b", "before"],
                 "a rollback brings back what was, and keeps what is", names(daemon, "tank/one"))
    daemon.good("volume", "rollback", "tank/one@before", "--keep", "again", "--yes")
    points.point(daemon.holds(0, MIB, 0x44), "and back again")
    daemon.good("volume", "rollback", "tank/one@b", "--yes")


def holds(points, daemon):
    daemon.good("snapshot", "hold", "tank/one@before")
    refused(points, daemon, "is held", "snapshot", "delete", "tank/one@before", "--yes")
    daemon.good("snapshot", "release", "tank/one@before")
    daemon.good("snapshot", "hold", "tank/one@again", "--until", "2199-01-01")
    refused(points, daemon, "can not be taken back", "snapshot", "release", "tank/one@again")
    refused(points, daemon, "no date", "snapshot", "hold", "tank/one@b", "--until", "soon")
    daemon.good("snapshot", "rename", "tank/one@again", "for-ever")
    points.point("for-ever" in names(daemon, "tank/one"), "a snapshot is renamed")


def groups(points, daemon):
    daemon.good("volume", "create", "tank/two", "16M")
    daemon.good("snapshot", "create", "tank/one@g", "tank/two@g")
    one, two = (daemon.json("snapshot", "show", f"tank/{name}@g") for name in ("one", "two"))
    points.point(one["group"] == two["group"], "several snapshots are of one instant", one)
    refused(points, daemon, "already", "snapshot", "create", "tank/two@h", "tank/one@g")
    points.point(names(daemon, "tank/two") == ["g"], "or none is made")
    refused(points, daemon, "has snapshots", "volume", "delete", "tank/two", "--yes")


def deletion(points, daemon):
    """All that can go goes, over a kill; what stays is whole and the check is clean."""
    for name in names(daemon, "tank/one"):
        if name != "for-ever":
            daemon.good("snapshot", "delete", f"tank/one@{name}")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    daemon.good("snapshot", "delete", "tank/two@g", "--yes")
    if CEPH:  # what its snapshot holds may still be counted, which uses it
        pools.wait_for(lambda: daemon.run("volume", "delete", "tank/two", "--yes").returncode == 0,
                       60)
    else:
        daemon.good("volume", "delete", "tank/two", "--yes")
    points.point(names(daemon, "tank/one") == ["for-ever"] and
                 daemon.holds(0, MIB, 0x11) and daemon.holds(MIB, MIB, 0x22) and
                 daemon.holds(2 * MIB, MIB, 0x33, lun=2), "what is left is whole")
    if CEPH:  # checks itself
        return
    check = daemon.json_of("pool", "check", "tank", "--data")
    points.point(check["clean"], "the check is clean", check)


def many(points, daemon, count):
    """The last of many is made as fast as the first, and they can all be deleted."""
    daemon.good("volume", "create", "tank/many", "16M")
    at = 0
    while at < count:
        daemon.good("snapshot", "create", f"tank/many@s{at:05}")
        at += 1
    points.point(len(names(daemon, "tank/many")) == count, f"{count} snapshots of one volume")
    for name in names(daemon, "tank/many"):
        daemon.good("snapshot", "delete", f"tank/many@{name}", "--yes")
    points.point(names(daemon, "tank/many") == [], "and deleted")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-snap-") as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank.pool") + ":512M")
            for part in (straight, killed, clones, rollback, holds, groups, deletion):
                part(points, daemon)
            many(points, daemon, 50)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
