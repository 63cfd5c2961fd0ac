#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=one
"""Snapshots and clones of RBD volumes: what they hold, that they are read-only LUNs, differences,
clones and what they stand on, the way back, holds, several volumes at one instant under load, a
second gateway that sees them, and all of it after a kill."""

import os
import signal
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))
sys.path.insert(0, HERE)

import ceph  # pylint: disable=wrong-import-position
import iscsi_client  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
from rbd_test import create_pool  # pylint: disable=wrong-import-position
from snapshot_test import names, refused  # pylint: disable=wrong-import-position

MIB = 1 << 20


def kill(daemon):
    """Its locks are still there when it comes back."""
    daemon.stop(signal.SIGKILL)
    daemon.start()
    pools.wait_for(lambda: daemon.json("pool", "show", "far")["state"] == "online", 60)
    pools.wait_for(lambda: daemon.io("read 0 4096")[0], 60)


def straight(points, daemon):
    daemon.serve("far/one", "64M")
    pools.wait_for(lambda: daemon.io("read 0 4096")[0], 60)
    daemon.write(0, 4 * MIB, 0x11)
    daemon.good("snapshot", "create", "far/one@a")
    daemon.write(MIB, MIB, 0x22)
    daemon.good("lun", "map", pools.IQN, "far/one@a", "--lun", "1")
    points.point(daemon.holds(0, 4 * MIB, 0x11, lun=1) and daemon.holds(MIB, MIB, 0x22) and
                 daemon.holds(0, MIB, 0x11), "a snapshot holds what was, its volume what is")
    good, text = daemon.io("write -P 9 0 4096", lun=1)
    points.point(not good, "a snapshot as a LUN can not be written", text)
    refused(points, daemon, "unmap it first", "snapshot", "delete", "far/one@a", "--yes")
    refused(points, daemon, "already", "snapshot", "create", "far/one@a")
    diff = daemon.json("snapshot", "diff", "far/one@a")
    points.point(diff == [{"offset": MIB, "length": MIB, "mapped": True}],
                 "the difference is what was written", diff)
    daemon.good("snapshot", "create", "far/one@b")
    points.point(daemon.json("snapshot", "diff", "far/one@a", "@b") == diff and
                 daemon.json("snapshot", "diff", "far/one@b") == [],
                 "and between two snapshots, too")


def killed(points, daemon):
    before = [(one["name"], one["created"]) for one in daemon.json("snapshot", "list", "far/one")]
    kill(daemon)
    after = [(one["name"], one["created"]) for one in daemon.json("snapshot", "list", "far/one")]
    points.point(before == after and daemon.holds(0, 4 * MIB, 0x11, lun=1) and
                 daemon.holds(MIB, MIB, 0x22) and not daemon.io("write -P 9 0 4096", lun=1)[0],
                 "after a kill snapshots and their LUNs are as they were", (before, after))


def clones(points, daemon, cluster):
    daemon.good("volume", "clone", "far/one@a", "far/copy")
    daemon.good("lun", "map", pools.IQN, "far/copy", "--lun", "2")
    pools.wait_for(lambda: daemon.io("read 0 4096", lun=2)[0], 90)
    daemon.write(2 * MIB, MIB, 0x33, lun=2)
    points.point(daemon.holds(0, 2 * MIB, 0x11, lun=2) and
                 daemon.holds(2 * MIB, MIB, 0x33, lun=2) and
                 daemon.holds(2 * MIB, MIB, 0x11) and daemon.holds(0, 4 * MIB, 0x11, lun=1),
                 "a clone is writable and leaves its origin alone")
    naas = [one["naa"] for one in daemon.json("volume", "list")]
    points.point(len(set(naas)) == 2, "and another LUN", naas)
    points.point(daemon.json("snapshot", "show", "far/one@a")["clones"] == 1,
                 "its snapshot says so")
    daemon.good("lun", "unmap", pools.IQN, "1")
    refused(points, daemon, "clone", "snapshot", "delete", "far/one@a", "--yes")
    refused(points, daemon, "not a clone", "volume", "promote", "far/one")
    daemon.good("volume", "promote", "far/copy")
    points.point("parent" not in cluster.rbd("info", "rbd/copy") and
                 daemon.holds(2 * MIB, MIB, 0x33, lun=2) and
                 daemon.holds(0, 2 * MIB, 0x11, lun=2), "a promoted clone stands on nothing")
    daemon.good("snapshot", "delete", "far/one@a", "--yes")
    points.point(names(daemon, "far/one") == ["b"], "and its snapshot can go")


def rollback(points, daemon):
    daemon.write(0, MIB, 0x44)
    daemon.good("volume", "resize", "far/one", "80M")
    daemon.good("volume", "rollback", "far/one@b", "--keep", "before", "--yes")
    points.point(daemon.holds(0, MIB, 0x11) and daemon.holds(MIB, MIB, 0x22) and
                 names(daemon, "far/one") == ["b", "before"],
                 "a rollback brings back what was, and keeps what is", names(daemon, "far/one"))
    sizes = [one["size_bytes"] for one in daemon.json("volume", "list") if one["name"] == "one"]
    points.point(sizes == [64 * MIB], "the size, too", sizes)
    daemon.good("volume", "rollback", "far/one@before", "--keep", "again", "--yes")
    points.point(daemon.holds(0, MIB, 0x44), "and back again")


def cut_off(points, daemon, cluster):
    """A gateway that dies on the way back: the next one goes all of it before it serves."""
    daemon.write(0, MIB, 0x55)
    cluster.rbd("image-meta", "set", "rbd/one", "granary.rolling", "b")
    kill(daemon)
    points.point(pools.wait_for(lambda: daemon.holds(0, MIB, 0x11), 90) and
                 daemon.holds(MIB, MIB, 0x22) and
                 "granary.rolling" not in cluster.rbd("image-meta", "list", "rbd/one"),
                 "a rollback that was cut off is finished", daemon.log()[-1000:])


def holds(points, daemon):
    daemon.good("snapshot", "hold", "far/one@before")
    refused(points, daemon, "is held", "snapshot", "delete", "far/one@before", "--yes")
    daemon.good("snapshot", "release", "far/one@before")
    daemon.good("snapshot", "hold", "far/one@again", "--until", "2199-01-01")
    refused(points, daemon, "can not be taken back", "snapshot", "release", "far/one@again")
    daemon.good("snapshot", "rename", "far/one@again", "for-ever")
    kill(daemon)
    shown = daemon.json("snapshot", "show", "far/one@for-ever")
    points.point(shown["held"], "a hold and a new name last over a kill", shown)


def session_of(daemon, number):
    session = iscsi_client.Connection("127.0.0.1", daemon.port, timeout=60.0)
    session.isid = bytes([0x80, 0, 0, 0, 0, number])
    session.login(pools.IQN)
    return session


def write(session, lun, data):
    """A unit attention (LUNs come and go) is no failure."""
    cdb = bytes([0x2a]) + bytes(6) + bytes([0, len(data) // 512, 0])
    for _ in range(4):
        result = session.command(cdb, data, lun=lun)
        if result.status == 0:
            return
    raise AssertionError(f"WRITE(10) ended with status {result.status:02x}")


def groups(points, daemon):
    """Numbers written to two volumes in turn: what a common snapshot holds is a prefix of them."""
    daemon.good("volume", "create", "far/two", "16M")
    daemon.good("lun", "map", pools.IQN, "far/two", "--lun", "3")
    pools.wait_for(lambda: daemon.io("read 0 4096", lun=3)[0], 90)
    stop, written = threading.Event(), [0]

    def load():
        with session_of(daemon, 1) as session:
            while not stop.is_set():
                number = written[0] + 1
                for lun in (0, 3):
                    write(session, lun, number.to_bytes(8, "big") * 512)
                written[0] = number

    guest = threading.Thread(target=load)
    guest.start()
    try:
        while written[0] < 20 and guest.is_alive():
            time.sleep(0.01)
        for turn in range(8):
            before = written[0]
            daemon.good("snapshot", "create", f"far/one@g{turn}", f"far/two@g{turn}")
            after = written[0]
            for lun, name in ((4, "one"), (5, "two")):
                daemon.good("lun", "map", pools.IQN, f"far/{name}@g{turn}", "--lun", str(lun))
            with session_of(daemon, 2) as session:
                for lun in (4, 5):
                    session.command(bytes(6), lun=lun)  # its unit attention
                first, second = (int.from_bytes(session.read(0, 1, lun=lun)[:8], "big")
                                 for lun in (4, 5))
            for lun in (4, 5):
                daemon.good("lun", "unmap", pools.IQN, str(lun))
            good = before <= second <= first <= second + 1 and first <= after + 2
            if not good or turn == 7:
                points.point(good, "two volumes have one instant under load",
                             (before, first, second, after))
            if not good:
                break
    finally:
        stop.set()
        guest.join()
    one, two = (daemon.json("snapshot", "show", f"far/{name}@g1") for name in ("one", "two"))
    points.point(one["group"] == two["group"], "and say so", (one, two))
    refused(points, daemon, "already", "snapshot", "create", "far/two@h", "far/one@g1")
    daemon.good("lun", "unmap", pools.IQN, "3")
    refused(points, daemon, "has snapshots", "volume", "delete", "far/two", "--yes")
    points.point("h" not in names(daemon, "far/two"), "or none is made")


def second_gateway(points, daemon, cluster, folder):
    other = pools.Daemon(os.path.join(folder, "second"))
    try:
        other.good("pool", "import", "--backend", "rbd", "--conf", cluster.conf,
                   "--ceph-pool", "rbd", "--id", "granary")
        points.point(names(other, "far/one") == names(daemon, "far/one"),
                     "a second gateway sees them", names(other, "far/one"))
        refused(points, other, "another gateway", "snapshot", "create", "far/one@mine")
        daemon.good("snapshot", "delete", "far/one@g2", "--yes")
        daemon.good("snapshot", "create", "far/one@new")
        limit = time.monotonic() + 90
        while names(other, "far/one") != names(daemon, "far/one") and time.monotonic() < limit:
            time.sleep(0.2)
        points.point(names(other, "far/one") == names(daemon, "far/one"),
                     "and what becomes of them", (names(other, "far/one"),
                                                  names(daemon, "far/one")))
    finally:
        points.point(other.stop() == 0, "it stops cleanly")


def deletion(points, daemon):
    for name in names(daemon, "far/one"):
        if name != "for-ever":
            daemon.good("snapshot", "delete", f"far/one@{name}", "--yes")
    points.point(names(daemon, "far/one") == ["for-ever"], "all that can go goes",
                 names(daemon, "far/one"))
    # The cluster tells of the snapshot that went, and the image is looked at for it: no use of it.
    refusals = []
    for _ in range(12):
        daemon.good("volume", "clone", "far/one@for-ever", "far/brief")
        daemon.good("snapshot", "create", "far/brief@s")
        daemon.good("snapshot", "delete", "far/brief@s", "--yes")
        done = daemon.run("volume", "delete", "far/brief", "--yes")
        if done.returncode:
            refusals.append(done.stderr)
            pools.wait_for(lambda: not daemon.run("volume", "delete", "far/brief",
                                                  "--yes").returncode)
    points.point(not refusals, "a volume can go as soon as its last snapshot is gone", refusals)


def test(points):
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        daemon = None
        try:
            daemon = pools.Daemon(os.path.join(folder, "state"))
            create_pool(daemon, cluster)
            straight(points, daemon)
            killed(points, daemon)
            clones(points, daemon, cluster)
            rollback(points, daemon)
            cut_off(points, daemon, cluster)
            holds(points, daemon)
            groups(points, daemon)
            second_gateway(points, daemon, cluster, folder)
            deletion(points, daemon)
        finally:
            if daemon:
                status = daemon.stop()
                points.point(status == 0, "clean stop", daemon.log()[-3000:])
            cluster.stop()


if __name__ == "__main__":
    tap.run(test)
