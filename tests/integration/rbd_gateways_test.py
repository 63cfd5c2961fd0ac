#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one
"""Two gateways on one Ceph pool: the same LUN with the same name on both, served by one; a planned
move, a gateway that is killed, one that is stopped and comes back after it was replaced."""

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

MIB = 1 << 20
STANDBY = (2, 4, 0x0b)  # not ready: logical unit not accessible, target port in standby state


def volume(daemon, name="v"):
    found = [one for one in daemon.json("volume", "list") if one["name"] == name]
    return found[0] if found else {"state": "not there"}


def serves(daemon, name="v"):
    return volume(daemon, name)["state"] == "online"


def connect(daemon, name="host"):
    client = iscsi_client.Connection("127.0.0.1", daemon.port, timeout=30.0)
    client.login(pools.IQN, f"iqn.2026-11.org.example:{name}")
    return client


def outcome(client, cdb, data=b"", expected=0):
    """(status, sense) of a command, past unit attentions."""
    for _ in range(8):
        if data:
            result = client.finish(client.send_command(cdb, data=data, immediate=data), data)
        else:
            result = client.command(cdb, expected=expected)
        if result.status != 2 or result.key_asc_ascq[0] != 6:
            break
    return result.status, result.key_asc_ascq if result.status == 2 else None, result.data


def write_cdb(lba, blocks):
    return bytes([0x2a, 0]) + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"


def access_state(client):
    """Of the first group of REPORT TARGET PORT GROUPS."""
    _, _, data = outcome(client, bytes([0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]), expected=256)
    return data[4] & 15


def one_serves(points, first, second):
    points.point(all(volume(first)[key] == volume(second)[key]
                     for key in ("uuid", "naa", "serial", "size_bytes")),
                 "both gateways show the same LUN")
    points.point(serves(first) and not serves(second), "one serves it, the other is standby")
    with connect(first) as good, connect(second) as bad:
        written, _, _ = outcome(good, write_cdb(0, 8), b"\x11" * 4096)
        refused = [outcome(bad, bytes(6))[1], outcome(bad, write_cdb(0, 8), b"\x22" * 4096)[1],
                   outcome(bad, bytes([0x28]) + write_cdb(0, 8)[1:], expected=4096)[1]]
        points.point(written == 0 and refused == [STANDBY] * 3,
                     "the standby answers 02h/04h/0Bh to TEST UNIT READY, WRITE and READ", refused)
        inquiry, _, _ = outcome(bad, bytes([0x12, 0, 0, 0, 96, 0]), expected=96)
        points.point(inquiry == 0 and access_state(good) == 0 and access_state(bad) == 2,
                     "INQUIRY goes on; REPORT TARGET PORT GROUPS says optimized and standby")


def compare_and_write(client, old, new):
    cdb = bytes([0x89, 0]) + (64).to_bytes(8, "big") + bytes([0, 0, 0, 1, 0, 0])
    return outcome(client, cdb, old + new)[0] == 0


def race(points, first, second):
    """Hosts on both gateways for one block: nobody wins twice, and not two at a time."""
    wins, stop = [], 50

    def host(daemon, name, rounds):
        with connect(daemon, name) as client:
            for number in range(rounds):
                old = number.to_bytes(4, "big") * 128
                new = (number + 1).to_bytes(4, "big") * 128
                if compare_and_write(client, old, new):
                    wins.append((number, name))
                time.sleep(0.01)

    with connect(first) as client:
        outcome(client, write_cdb(64, 1), bytes(512))
    hosts = [threading.Thread(target=host, args=(daemon, name, stop))
             for daemon, name in ((first, "a"), (first, "b"), (second, "c"))]
    for thread in hosts:
        thread.start()
    for thread in hosts:
        thread.join()
    rounds = [number for number, _ in wins]
    points.point(rounds == sorted(set(rounds)) and rounds,
                 "COMPARE AND WRITE through both gateways: never two winners of a round", wins)


def moved(points, first, second):
    """The volume is taken while a host writes to whoever serves it: no write is lost."""
    begin = time.monotonic()
    second.good("volume", "take", "far/v")
    took = time.monotonic() - begin
    points.point(serves(second) and pools.wait_for(lambda: not serves(first))
                 and second.holds(0, 4096, 0x11), f"a planned move takes {took:.1f} s",
                 (volume(first), volume(second)))
    second.write(MIB, MIB, 0x33)
    with connect(first) as client:
        points.point(outcome(client, write_cdb(0, 8), b"\x44" * 4096)[1] == STANDBY,
                     "and the first is standby now")


def killed(points, first, second):
    """The one that serves is killed; the other takes over by itself."""
    second.write(2 * MIB, MIB, 0x55)
    second.stop(signal.SIGKILL)
    begin = time.monotonic()
    there = pools.wait_for(lambda: serves(first), 40)
    took = time.monotonic() - begin
    points.point(there and took < 20, f"kill -9: the other serves after {took:.1f} s",
                 first.log()[-1500:])
    points.point(first.holds(MIB, MIB, 0x33) and first.holds(2 * MIB, MIB, 0x55),
                 "with everything that was acknowledged")
    first.write(3 * MIB, MIB, 0x66)
    second.start()
    points.point(serves(first) and not serves(second), "the one that comes back is standby")


def share_moves(points, first, second):
    """A share is served where its volume is, and nowhere else."""
    def state(daemon):
        return daemon.json("share", "show", "far/s")["state"]

    first.good("share", "create", "far/s")
    refused = pools.wait_for(lambda: second.run("share", "import", "far/s").returncode == 1
                             and "s" in [one["name"] for one in second.json("volume", "list")])
    first.stop(signal.SIGKILL)
    took_over = pools.wait_for(lambda: serves(second, "s"), 40)
    second.good("share", "import", "far/s")
    first.start()
    points.point(refused and took_over and state(second) == "online"
                 and state(first) == "unavailable",
                 "a share is served by the gateway that has its volume, alone")
    second.stop()
    points.point(pools.wait_for(lambda: state(first) == "online", 40),
                 "and by the other as soon as that one is gone", first.log()[-1500:])
    check = first.run("share", "check", "far/s")
    points.point(check.returncode == 0, "with a clean check", check.stdout + check.stderr)
    second.start()


def replaced(points, first, second):
    """The one that serves hangs; when it wakes up it was replaced, and nothing it does counts."""
    first.write(4 * MIB, MIB, 0x66)
    first.good("snapshot", "create", "far/v@kept")
    first.good("lun", "map", pools.IQN, "far/v@kept", "--lun", "5")
    opened = first.holds(4 * MIB, MIB, 0x66, lun=5)
    with connect(first) as client:
        outcome(client, bytes(6))
        first.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)  # until all its threads have
        try:
            late = client.send_command(write_cdb(3 * 2048, 8), data=b"\x99" * 4096,
                                       immediate=b"\x99" * 4096)
            points.point(pools.wait_for(lambda: serves(second), 40),
                         "a gateway that hangs is replaced", second.log()[-1500:])
            second.write(3 * MIB, MIB, 0x77)
        finally:
            first.process.send_signal(signal.SIGCONT)
        points.point(client.finish(late).status != 0, "what it was about to write is refused")
    points.point(second.holds(3 * MIB, MIB, 0x77), "nothing is overwritten by it")
    back = pools.wait_for(lambda: first.json("pool", "show", "far")["state"] == "online", 20)
    points.point(back and not serves(first), "it joins again, as standby", first.log()[-1500:])
    first.good("volume", "take", "far/v")
    points.point(first.holds(3 * MIB, MIB, 0x77) and serves(first), "and can be given it back")
    points.point(opened and first.holds(4 * MIB, MIB, 0x66, lun=5) and
                 [one["name"] for one in second.json("snapshot", "list", "far/v")] == ["kept"],
                 "its snapshots are there as before")


def test(points):
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        place = ("--backend", "rbd", "--conf", cluster.conf, "--ceph-pool", "rbd", "--id",
                 "granary")
        daemons = []
        try:
            for name in ("first", "second"):
                daemons.append(pools.Daemon(os.path.join(folder, name)))
            first, second = daemons
            first.good("pool", "create", "far", *place)
            first.serve("far/v", "64M")
            second.good("pool", "import", *place)
            second.good("target", "create", pools.IQN)
            second.good("target", "allow", pools.IQN, "--network", "127.0.0.0/8")
            second.good("lun", "map", pools.IQN, "far/v", "--lun", "0")
            one_serves(points, first, second)
            race(points, first, second)
            moved(points, first, second)
            killed(points, first, second)
            replaced(points, first, second)
            share_moves(points, first, second)
            for daemon in daemons:
                points.point(daemon.stop() == 0, "a daemon ends well", daemon.log()[-1500:])
        finally:
            for daemon in daemons:
                daemon.process.send_signal(signal.SIGCONT)
                daemon.stop()
            cluster.stop()


if __name__ == "__main__":
    tap.run(test)
