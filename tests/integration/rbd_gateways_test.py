#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=one
"""Two gateways on one Ceph pool: the same LUN with the same name on both, served by one; a planned
move, a gateway that is killed, one that is stopped and comes back after it was replaced."""

import os
import re
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
import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import server  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
from nfs4_locks_test import GRACE, WRITE, Locker  # pylint: disable=wrong-import-position

MIB = 1 << 20
STANDBY = (2, 4, 0x0b)  # not ready: logical unit not accessible, target port in standby state
BUSY, MISCOMPARE = 8, 0x0e
RACES = 80  # rounds
LEAD = 12   # of them while the volume moves, at most
JUKEBOX = 10008
EVERYTHING = ("--client", "127.0.0.1", "--insecure", "--no-root-squash")


def volume(daemon, name="v"):
    found = [one for one in daemon.json("volume", "list") if one["name"] == name]
    return found[0] if found else {"state": "not there"}


def serves(daemon, name="v"):
    return volume(daemon, name)["state"] == "online"


def connect(daemon, name="host"):
    client = iscsi_client.Connection("127.0.0.1", daemon.port, timeout=60.0)
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
    return outcome(client, cdb, old + new)[:2]


def race(points, first, second):
    """Hosts on both gateways want one block in each round, while the volume goes from one gateway to
    the other and back: each round has one winner."""
    wins, winners, wrong = [], set(), []
    limit = time.monotonic() + 150
    ahead = [RACES // 4 + LEAD]  # no round from this one on, until the volume has been moved

    def host(daemon, name):
        with connect(daemon, name) as client:
            for number in range(RACES):
                old, new = (value.to_bytes(4, "big") * 128 for value in (number, number + 1))
                while number >= ahead[0] and time.monotonic() < limit:
                    time.sleep(0.005)
                while number not in wins and time.monotonic() < limit:
                    status, sense = compare_and_write(client, old, new)
                    if status == 0:
                        wins.append(number)
                        winners.add(name)
                    elif sense and sense[0] == MISCOMPARE:
                        break  # somebody else's; he may not have said so yet
                    elif sense != STANDBY and status != BUSY:
                        wrong.append((name, number, status, sense))
                    time.sleep(0.005)
                time.sleep(0.02)

    with connect(first) as client:
        outcome(client, write_cdb(64, 1), bytes(512))
    hosts = [threading.Thread(target=host, args=(daemon, name))
             for daemon, name in ((first, "a"), (first, "b"), (second, "c"), (second, "d"))]
    for thread in hosts:
        thread.start()
    for number, daemon, until in ((RACES // 4, second, RACES // 2 + LEAD), (RACES // 2, first, RACES)):
        pools.wait_for(lambda at=number: len(wins) > at, 60)
        daemon.good("volume", "take", "far/v")
        ahead[0] = until
    for thread in hosts:
        thread.join()
    points.point(sorted(wins) == list(range(RACES)) and not wrong,
                 f"COMPARE AND WRITE through both gateways, {RACES} rounds: one winner each",
                 (sorted(wins), wrong))
    points.point(winners & {"a", "b"} and winners & {"c", "d"}, "hosts of both gateways win",
                 winners)


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
    there = pools.wait_for(lambda: serves(first), 90)
    took = time.monotonic() - begin
    points.point(there and took < 20, f"kill -9: the other serves after {took:.1f} s",
                 first.log()[-1500:])
    points.point(first.holds(MIB, MIB, 0x33) and first.holds(2 * MIB, MIB, 0x55),
                 "with everything that was acknowledged")
    first.write(3 * MIB, MIB, 0x66)
    second.start()
    points.point(serves(first) and not serves(second), "the one that comes back is standby")


def files(daemon):
    """A connection to its NFS server."""
    port = re.findall(r"^READY .*nfs=(\d+)", daemon.log(), re.M)[-1]
    return rpc.Connection(int(port), timeout=60.0)


def share_state(daemon):
    return daemon.json("share", "show", "far/s")["state"]


def share_made(points, first, second):
    """On the first gateway, with a file that is open: (its handle, what is in it)"""
    first.good("share", "create", "far/s")
    refused = pools.wait_for(lambda: second.run("share", "import", "far/s").returncode == 1
                             and "s" in [one["name"] for one in second.json("volume", "list")])
    points.point(refused, "a share has one writer: another gateway does not open it")
    first.good("share", "allow", "far/s", *EVERYTHING)
    with files(first) as connection:
        client = Locker(connection, b"host")
        handle, opened = client.open(client.walk("s"), "file", how=nfs41.UNCHECKED)
        points.point(client.write(handle, opened, 0, b"before") == 0 and
                     len(client.lock(handle, WRITE, 0, 10, opened, b"p")) == 16,
                     "a client writes to it and has a lock")
    return handle


def reclaimed(points, daemon, handle, content, how):
    """The client goes on with what it had, and nobody else before it has."""
    with files(daemon) as connection:
        other = Locker(connection, b"other", complete=False)
        denied = other.open(other.walk("s"), "file")
        client = Locker(connection, b"host", complete=False)
        mine = client.reclaim_open(handle)
        points.point(denied == GRACE and len(mine) == 16 and
                     len(client.lock(handle, WRITE, 0, 10, mine, b"p", reclaim=1)) == 16 and
                     client.read(handle, mine, 0, 100) == (True, content),
                     f"{how}: handle, open file and lock are the client's still",
                     (denied, mine))
        client.complete()
        points.point(client.write(handle, mine, 0, content + b"!") == 0, "and it writes again")


def share_moves(points, first, second):
    """A share is served where its volume is, and nowhere else: by the other gateway when the one that
    serves it is killed, and when the volume is moved."""
    handle = share_made(points, first, second)
    first.stop(signal.SIGKILL)
    took_over = pools.wait_for(lambda: serves(second, "s"), 90)
    second.good("share", "import", "far/s")
    second.good("share", "allow", "far/s", *EVERYTHING)
    reclaimed(points, second, handle, b"before", "kill -9")
    first.start()
    points.point(took_over and share_state(second) == "online"
                 and share_state(first) == "unavailable",
                 "a share is served by the gateway that has its volume, alone")
    with files(first) as connection:
        told = rpc.Nfs3(connection).getattr(handle).status
        points.point(told == JUKEBOX, "the other one's clients are told to come again", told)
    first.good("volume", "take", "far/s")
    points.point(pools.wait_for(lambda: share_state(first) == "online", 90) and
                 pools.wait_for(lambda: share_state(second) == "unavailable", 90),
                 "it goes with its volume in a planned move", (first.log()[-1500:],
                                                               second.log()[-1500:]))
    said = [line for line in second.log().splitlines()
            if line.startswith(("<4>", "<3>")) and "share far/s" in line]
    points.point(not said, "which the other one has closed before, in order", said)
    reclaimed(points, first, handle, b"before!", "a planned move")
    with files(second) as connection:
        told = rpc.Nfs3(connection).getattr(handle).status
        points.point(told == JUKEBOX, "there clients are told to come again now", told)
    first.stop()
    points.point(pools.wait_for(lambda: share_state(second) == "online", 90),
                 "and by the other as soon as that one is gone", second.log()[-1500:])
    check = second.run("share", "check", "far/s")
    points.point(check.returncode == 0, "with a clean check", check.stdout + check.stderr)
    first.start()


def deleted(points, first, second):
    """Where it is served; the other gateway has it open, too, and lets go of it."""
    first.good("volume", "create", "far/w", "16M")
    known = pools.wait_for(lambda: volume(second, "w")["state"] == "standby", 90)
    refused = second.run("volume", "delete", "far/w", "--yes")
    points.point(known and refused.returncode == 1 and "delete it there" in refused.stderr,
                 "a volume is not deleted where it is standby", refused.stderr)
    first.good("volume", "delete", "far/w", "--yes")
    points.point(pools.wait_for(lambda: volume(second, "w")["state"] == "not there", 90),
                 "deleted where it is served, it is gone at both", second.log()[-1500:])


def replaced(points, first, second):
    """The one that serves hangs; when it wakes up it was replaced, and nothing it does counts."""
    first.write(4 * MIB, MIB, 0x66)
    first.good("snapshot", "create", "far/v@kept")
    first.good("lun", "map", pools.IQN, "far/v@kept", "--lun", "5")
    opened = first.holds(4 * MIB, MIB, 0x66, lun=5)
    with connect(first) as client:
        outcome(client, bytes(6))
        server.pause(first.process.pid)
        try:
            late = client.send_command(write_cdb(3 * 2048, 8), data=b"\x99" * 4096,
                                       immediate=b"\x99" * 4096)
            points.point(pools.wait_for(lambda: serves(second), 90),
                         "a gateway that hangs is replaced", second.log()[-1500:])
            second.write(3 * MIB, MIB, 0x77)
        finally:
            first.process.send_signal(signal.SIGCONT)
        points.point(client.finish(late).status != 0, "what it was about to write is refused")
    points.point(second.holds(3 * MIB, MIB, 0x77), "nothing is overwritten by it")
    back = pools.wait_for(lambda: first.json("pool", "show", "far")["state"] == "online")
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
            deleted(points, first, second)
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
