#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one
"""A volume moves from a native pool to a Ceph cluster and back while a host writes numbered records,
and the daemon is killed on the way there and on the way back; a second gateway never takes the half
that is not the volume for it."""

import os
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))
sys.path.insert(0, HERE)

import ceph  # pylint: disable=wrong-import-position
import iscsi_client  # pylint: disable=wrong-import-position
import move_test  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20
LIMIT = 90
TAKEN_OVER = 9  # seconds; a dead gateway's volumes are served by another after 6


def over(daemon, volume):
    return pools.wait_for(lambda: "is not on the move" in
                          daemon.good("volume", "move", volume, "--status"), LIMIT)


def intact(daemon):
    return all(daemon.holds(at * MIB, 4 * MIB, byte) for at, byte in move_test.DATA) and \
        daemon.holds(30 * MIB, 8 * MIB, 0)


def keys(daemon):
    with move_test.connect(daemon) as client:
        return move_test.keys(client)


def keys_at_standby(daemon):
    client = iscsi_client.Connection("127.0.0.1", daemon.port, timeout=60.0)
    try:
        client.login(pools.IQN, "iqn.2026-11.org.example:witness")
        return move_test.keys(client)
    finally:
        client.close()


def seen_by(points, other):
    """The reservation key that was registered at the native volume."""
    points.point(pools.wait_for(lambda: "far/v" in states(other), LIMIT),
                 "another gateway sees the volume")
    other.good("target", "create", pools.IQN)
    other.good("target", "allow", pools.IQN, "--network", "127.0.0.0/8")
    other.good("lun", "map", pools.IQN, "far/v", "--lun", "0")
    points.point(pools.wait_for(lambda: keys_at_standby(other) == [move_test.KEY], LIMIT),
                 "and its reservation key", other.log()[-1500:])


def states(daemon):
    return {f"{one['pool']}/{one['name']}": one["state"] for one in daemon.json("volume", "list")
            if "state" in one}


def there(points, daemon, other, load, known):
    """Native to RBD, killed half-way; the other gateway looks on."""
    daemon.good("volume", "move", "tank/v", "far", "--rate", "8M")
    points.point(pools.wait_for(lambda: daemon.json("volume", "move", "tank/v", "--status")
                                ["written_bytes"] > 2 * MIB, LIMIT), "a move to RBD is under way",
                 daemon.log()[-1500:])
    points.point(pools.wait_for(lambda: "far/v.moving" in states(other), LIMIT),
                 "another gateway sees its copy")
    daemon.stop(signal.SIGKILL)
    time.sleep(TAKEN_OVER)
    seen = states(other)
    points.point(seen.get("far/v.moving") != "online",
                 "and does not take it for a volume when the gateway that fills it is dead", seen)
    daemon.start()
    points.point(move_test.where(daemon) == ["tank"] and load.grows(),
                 "after kill -9 the volume is where it was, and the host goes on")
    daemon.good("volume", "move", "tank/v", "--rate", "0")
    points.point(over(daemon, "tank/v") and move_test.where(daemon) == ["far"] and load.grows() and
                 move_test.identity(daemon) == known,
                 "the copy is gone on with, and the volume is on RBD with the same identity",
                 daemon.log()[-2000:])
    points.point(intact(daemon) and keys(daemon) == [move_test.KEY],
                 "with everything that was there, and the reservation key", keys(daemon))


def back(points, daemon, other, load, known, cluster):
    # 16 s at least: a gateway that asks for the volume waits for 10
    daemon.good("volume", "move", "far/v", "tank", "--rate", "4M")
    points.point(pools.wait_for(lambda: daemon.json("volume", "move", "far/v", "--status")
                                ["written_bytes"] > 2 * MIB, LIMIT), "and back",
                 daemon.log()[-1500:])
    refused = other.run("volume", "take", "far/v")
    points.point(refused.returncode == 1, "meanwhile no other gateway takes it", refused.stderr)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    other.stop()  # what two gateways have open can not be removed
    points.point(pools.wait_for(lambda: move_test.where(daemon) == ["far"] and load.grows(), LIMIT),
                 "kill -9: the volume is still on RBD, and the host goes on",
                 daemon.log()[-2000:])
    daemon.good("volume", "move", "far/v", "--rate", "0")
    points.point(over(daemon, "far/v") and move_test.where(daemon) == ["tank"] and load.grows() and
                 move_test.identity(daemon) == known, "then it is back in the native pool",
                 daemon.log()[-2000:])
    points.point(cluster.rbd("ls").split() == [], "nothing is left of it in the cluster",
                 cluster.rbd("ls"))


def test(points):
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        place = ("--backend", "rbd", "--conf", cluster.conf, "--ceph-pool", "rbd", "--id",
                 "granary")
        daemons, load = [], None
        try:
            for name in ("state", "second"):
                daemons.append(pools.Daemon(os.path.join(folder, name)))
            daemon, other = daemons
            load = move_test.Load(daemon, folder)
            daemon.good("pool", "create", "tank", os.path.join(folder, "tank:512M"))
            daemon.good("pool", "create", "far", *place)
            other.good("pool", "import", *place)
            daemon.serve("tank/v", "64M")
            for at, byte in move_test.DATA:
                daemon.write(at * MIB, 4 * MIB, byte)
            known = move_test.identity(daemon)
            with move_test.connect(daemon) as client:
                points.point(move_test.register(client), "a reservation key is registered")
            load.start()
            points.point(load.grows(), "a host writes")
            there(points, daemon, other, load, known)
            seen_by(points, other)
            back(points, daemon, other, load, known, cluster)
            load.stop()
            good, said = load.verify()
            points.point(keys(daemon) == [move_test.KEY], "the reservation key came along")
            points.point(good and intact(daemon),
                         f"{load.newest()} numbered records, all there", said)
            points.point(daemon.stop() == 0, "the daemon ends well", daemon.log()[-1500:])
        finally:
            if load:
                load.stop()
            for one in daemons:
                one.stop()
            cluster.stop()


if __name__ == "__main__":
    tap.run(test)
