#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one waits
"""Persistent reservations of a LUN that two gateways have: what is registered through either is
known to both, outlives the gateway that is killed, and holds at the one that serves the LUN as soon
as whoever changed it through the other has his answer."""

import os
import signal
import struct
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))
sys.path.insert(0, HERE)

import ceph  # pylint: disable=wrong-import-position
import iscsi_client  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

REGISTER, RESERVE, PREEMPT, IGNORE = 0, 1, 4, 6
WRITE_EXCLUSIVE_REGISTRANTS = 5
GOOD, CHECK, BUSY, CONFLICT = 0, 2, 8, 0x18
ROUNDS = 6


class Second(pools.Daemon):
    """With a portal group of its own, as the manual asks for."""
    bind = "127.0.0.1,2"


class Path:
    """A host's session with one gateway."""

    def __init__(self, daemon, number):
        self.client = iscsi_client.Connection("127.0.0.1", daemon.port, timeout=60.0)
        self.client.isid = bytes([0x80, 0, 0, 0, 0, number])
        self.client.login(pools.IQN, f"iqn.2026-11.org.example:host{number}")
        self.heard = []

    def ask(self, cdb, data=b"", expected=0):
        """The result past unit attentions, which are kept, and BUSY."""
        while True:
            if data:
                result = self.client.finish(
                    self.client.send_command(cdb, data=data, immediate=data), data)
            else:
                result = self.client.command(cdb, expected=expected)
            if result.status == CHECK and result.key_asc_ascq[0] == 6:
                self.heard.append(result.key_asc_ascq[1:])
            elif result.status != BUSY:
                return result

    def out(self, action, key, other=0, kind=0, aptpl=0):
        cdb = struct.pack(">BBBHIB", 0x5F, action, kind, 0, 24, 0)
        return self.ask(cdb, struct.pack(">QQ", key, other) + bytes([0, 0, 0, 0, aptpl, 0, 0, 0])
                        ).status

    def keys(self):
        """(generation, keys in order)"""
        data = self.ask(struct.pack(">BBBBBBBHB", 0x5E, 0, 0, 0, 0, 0, 0, 512, 0),
                        expected=512).data
        generation, length = struct.unpack(">II", data[:8])
        return generation, sorted(value for (value,) in
                                  struct.iter_unpack(">Q", data[8:8 + length]))

    def reservation(self):
        """(key, type), or None"""
        data = self.ask(struct.pack(">BBBBBBBHB", 0x5E, 1, 0, 0, 0, 0, 0, 512, 0),
                        expected=512).data
        if struct.unpack(">I", data[4:8])[0] == 0:
            return None
        return struct.unpack(">Q", data[8:16])[0], data[21] & 15

    def write(self, lba=0):
        return self.ask(bytes([0x2a, 0]) + lba.to_bytes(4, "big") + b"\0\0\1\0", bytes(512)).status

    def close(self):
        self.client.close()


def serves(daemon):
    return any(one["name"] == "v" and one["state"] == "online"
               for one in daemon.json("volume", "list"))


def registered(points, first, second):
    """Two hosts on both gateways; (paths of host 1, of host 2, a stranger's to the second)"""
    one = [Path(first, 1), Path(second, 1)]
    two = [Path(first, 2), Path(second, 2)]
    done = [path.out(REGISTER, 0, 0x11) for path in one]
    done += [path.out(REGISTER, 0, 0x22) for path in two]
    done.append(one[0].out(RESERVE, 0x11, kind=WRITE_EXCLUSIVE_REGISTRANTS))
    points.point(done == [GOOD] * 5, "two hosts register through both gateways, one reserves", done)
    seen = [path.keys() for path in one + two]
    points.point(seen[0][1] == [0x11, 0x11, 0x22, 0x22] and all(one == seen[0] for one in seen),
                 "both gateways show the same keys and generation", seen)
    stranger = Path(first, 3)
    points.point(stranger.write() == CONFLICT and one[0].write() == GOOD and two[0].write() == GOOD
                 and two[1].reservation() == (0x11, WRITE_EXCLUSIVE_REGISTRANTS),
                 "registrants write, a stranger does not")
    stranger.close()
    return one, two, seen[0]


def outlives(points, first, second, one, two, known):
    first.stop(signal.SIGKILL)
    there = pools.wait_for(lambda: serves(second), 60)
    stranger = Path(second, 3)
    refused = stranger.write(8)
    points.point(there and refused == CONFLICT,
                 "kill -9 of the gateway that served: at the other one a stranger still does not "
                 "write", (refused, second.log()[-1500:]))
    points.point(one[1].write(8) == GOOD and two[1].write(16) == GOOD and
                 one[1].keys() == known and
                 one[1].reservation() == (0x11, WRITE_EXCLUSIVE_REGISTRANTS),
                 "registrants do; keys, generation and reservation are as before",
                 (one[1].keys(), known, one[1].reservation()))
    first.start()
    again = Path(first, 2)
    points.point(not serves(first) and again.keys() == known,
                 "the gateway that comes back knows them, too", again.keys())
    return stranger, again


def preempted(points, one, two, again):
    """Host 2 throws host 1 out through the gateway that does not serve the LUN."""
    one[1].heard.clear()
    done = again.out(PREEMPT, 0x22, 0x11, WRITE_EXCLUSIVE_REGISTRANTS)
    written = one[1].write(24)
    points.point(done == GOOD and written == CONFLICT and two[1].write(24) == GOOD,
                 "PREEMPT through the standby holds at the other gateway when it is GOOD",
                 (done, written))
    points.point((0x2A, 5) in one[1].heard and two[1].keys()[1] == [0x22, 0x22] and
                 two[1].reservation() == (0x22, WRITE_EXCLUSIVE_REGISTRANTS),
                 "who was preempted hears 2Ah/05h", one[1].heard)


def raced(points, first, second):
    """Each throws the other out, through a gateway of its own: one of them does."""
    wrong = []
    for number in range(ROUNDS):
        paths = [Path(first, 4), Path(second, 5)]
        keys, done = (0x44, 0x55), [None, None]
        for path, key in zip(paths, keys):
            if path.out(IGNORE, 0, key) != GOOD:
                wrong.append((number, "not registered"))

        def fence(index):
            done[index] = paths[index].out(PREEMPT, keys[index], keys[1 - index],
                                           WRITE_EXCLUSIVE_REGISTRANTS)

        threads = [threading.Thread(target=fence, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left = [key for key in paths[0].keys()[1] if key in keys]
        if sorted(done) != [GOOD, CONFLICT] or left != [keys[done.index(GOOD)]]:
            wrong.append((number, done, left))
        for path, key in zip(paths, keys):
            path.out(IGNORE, 0, 0)
            path.close()
    points.point(not wrong, f"{ROUNDS} rounds of two that preempt each other through both "
                 "gateways: one winner each", wrong)


def cleared(points, first, second):
    """By the administrator of the gateway that serves it."""
    daemon = first if serves(first) else second
    daemon.good("lun", "release", pools.IQN, "0", "--yes")
    left = [path.keys()[1] for path in (Path(first, 6), Path(second, 6))]
    points.point(left == [[], []] and Path(second, 6).reservation() is None,
                 "what an administrator clears is gone at both", left)


def test(points):
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        place = ("--backend", "rbd", "--conf", cluster.conf, "--ceph-pool", "rbd", "--id",
                 "granary")
        daemons = []
        try:
            daemons.append(pools.Daemon(os.path.join(folder, "first")))
            daemons.append(Second(os.path.join(folder, "second")))
            first, second = daemons
            first.good("pool", "create", "far", *place)
            first.serve("far/v", "64M")
            second.good("pool", "import", *place)
            second.good("target", "create", pools.IQN)
            second.good("target", "allow", pools.IQN, "--network", "127.0.0.0/8")
            second.good("lun", "map", pools.IQN, "far/v", "--lun", "0")
            one, two, known = registered(points, first, second)
            stranger, again = outlives(points, first, second, one, two, known)
            preempted(points, one, two, again)
            raced(points, first, second)
            cleared(points, first, second)
            for path in (*one, *two, stranger, again):
                path.close()
            for daemon in daemons:
                points.point(daemon.stop() == 0, "a daemon ends well", daemon.log()[-1500:])
        finally:
            for daemon in daemons:
                daemon.stop()
            cluster.stop()


if __name__ == "__main__":
    tap.run(test)
