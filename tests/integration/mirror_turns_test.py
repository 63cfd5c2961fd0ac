#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=360 engines=one asan
"""The devices of a pool with a mirrored volume are lost one after the other, the first to begin with,
which has the journal, each under initiators that write with FUA and with the daemon killed in the
middle of it: what was lost is back, or has a blank one in its place, and is made good; then it is
all there is. Whatever an initiator was told is durable is there after each start."""

import os
import signal
import struct
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi     # pylint: disable=wrong-import-position
import mirror_away_test as away  # pylint: disable=wrong-import-position
import pools                     # pylint: disable=wrong-import-position
import tap                       # pylint: disable=wrong-import-position
from mirror_away_test import LONG  # pylint: disable=wrong-import-position

PLACES = 1024  # of each initiator, 4 KiB each
WRITERS = 2


class Load:
    """An initiator that writes its places with FUA, over and over, till the daemon is gone."""

    def __init__(self, number):
        self.number = number
        self.count = 0                    # acknowledged ones
        self.durable = [0] * PLACES       # by place: the write that was acknowledged last
        self.tried = [0] * PLACES         # ... that was sent last
        self.trouble = ""
        self.ends = False
        self.thread = None
        self.client = None

    def lba(self, place):
        return (self.number * PLACES + place) * 8

    def data(self, place, write):
        return struct.pack(">QQ", self.lba(place), write) * 256 if write else bytes(4096)

    def begin(self, daemon):
        self.ends, self.trouble = False, ""
        self.client = iscsi.Connection("127.0.0.1", daemon.port, timeout=LONG)
        self.client.isid = bytes([0x80, 0, 0, 0, 0, 10 + self.number])
        self.client.login(pools.IQN)
        while self.client.command(bytes(6)).status:
            pass  # unit attentions
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.ends:
                place = self.count * 7 % PLACES
                write = self.count + 1
                self.tried[place] = write
                cdb = struct.pack(">BBIBHB", 0x2A, 8, self.lba(place), 0, 8, 0)
                if self.client.command(cdb, self.data(place, write)).status:
                    raise AssertionError(f"write {write} failed")
                self.durable[place] = self.count = write
        except Exception as trouble:  # pylint: disable=broad-exception-caught
            self.trouble = repr(trouble)

    def more(self, count):
        until = self.count + count
        return pools.wait_for(lambda: self.count >= until or self.trouble, LONG) and \
            not self.trouble

    def end(self):
        self.ends = True
        self.thread.join(LONG)
        self.client.close()

    def lost(self, client):
        """The places that hold neither what was acknowledged last nor what was under way."""
        lost = []
        for place in range(PLACES):
            holds = client.read(self.lba(place), 8)
            if holds == self.data(place, self.tried[place]):
                self.durable[place] = self.tried[place]
            elif holds != self.data(place, self.durable[place]):
                lost.append((place, self.durable[place], holds[:16].hex()))
            self.tried[place] = self.durable[place]
        return lost


class Loads:
    def __init__(self, points, daemon):
        self.points = points
        self.daemon = daemon
        self.all = [Load(number) for number in range(WRITERS)]

    def begin(self):
        for load in self.all:
            load.begin(self.daemon)

    def goes_on(self, what, count=300):
        good = all([load.more(count) for load in self.all])
        self.points.point(good, what, [load.trouble for load in self.all])

    def end(self):
        for load in self.all:
            load.end()

    def killed(self, state, what):
        """The daemon is, in the middle of it, and starts with what is there, without being asked
        for anything."""
        self.daemon.stop(signal.SIGKILL)
        self.end()
        self.daemon.start()
        self.points.point(away.state(self.daemon) == state, "killed and started: " + state,
                          away.state(self.daemon))
        self.verify(what)

    def verify(self, what):
        client = iscsi.Connection("127.0.0.1", self.daemon.port, timeout=LONG)
        client.login(pools.IQN)
        while client.command(bytes(6)).status:
            pass
        lost = [load.lost(client) for load in self.all]
        client.close()
        self.points.point(lost == [[]] * WRITERS, what, lost)


def is_lost(points, daemon, loads, there, which):
    """@there goes under the load, for good; the daemon is killed twice: while the root that says so
    is on its way, perhaps, and when there is a single journal."""
    loads.begin()
    loads.goes_on("initiators write")
    there.pull()
    loads.goes_on(f"{which} is lost: they go on")
    points.point(away.becomes(daemon, "degraded") and
                 away.device(daemon, there.path).get("state") == "away" and
                 daemon.json("pool", "show", "tank")["journal_copies"] == 1,
                 "the pool is degraded, with one journal", daemon.json("pool", "show", "tank"))
    loads.killed("degraded", f"what was acknowledged is there without {which}")
    loads.begin()
    loads.goes_on("they go on")
    loads.killed("degraded", "also after another kill, of a pool with one journal")


def is_made_good(points, daemon, loads, what, *words):
    loads.begin()
    daemon.good("pool", *words)
    loads.goes_on(f"{what}, under load", 100)
    points.point(away.two_journals(daemon), "it is made good, and either device may go again",
                 daemon.json("pool", "show", "tank"))
    loads.end()  # a check of all data would take what is under way for damage
    away.whole(points, daemon, "all copies are good")
    loads.verify("nothing is lost")


def run(points, folder, first, second):
    daemon, loads = pools.Daemon(os.path.join(folder, "state")), None
    blank = [os.path.join(folder, name + ".pool") for name in "cd"]
    try:
        daemon.good("pool", "create", "tank", first.path, second.path)
        daemon.serve("tank/one", "64M", "--mirror")
        points.point(away.two_journals(daemon), "there are two journals")
        loads = Loads(points, daemon)

        is_lost(points, daemon, loads, first, "the first device")
        first.plug()
        is_made_good(points, daemon, loads, "it is back", "online", "tank", first.path)

        is_lost(points, daemon, loads, second, "the second device")
        is_made_good(points, daemon, loads, "a blank one takes its place", "replace", "tank",
                     second.path, blank[0] + ":256M", "--yes")

        is_lost(points, daemon, loads, first, "the first device again")
        is_made_good(points, daemon, loads, "a blank one takes its place", "replace", "tank",
                     first.path, blank[1] + ":256M", "--yes")

        devices = daemon.json("pool", "show", "tank")["devices"]
        daemon.stop()
        daemon.start()
        points.point(devices == blank[::-1] and away.state(daemon) == "online",
                     "none of the devices that it began with is left", devices)
        loads.verify("and nothing is lost")
    finally:
        for load in loads.all if loads else []:
            load.ends = True
        points.point(daemon.stop() == 0, "clean stop")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-turns-") as folder:
        first = away.Device(folder, "a.pool")
        try:
            second = away.Device(folder)
            try:
                run(points, folder, first, second)
            finally:
                second.end()
        finally:
            first.end()


if __name__ == "__main__":
    tap.run(test)
