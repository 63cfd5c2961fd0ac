#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one
"""A source that keeps failing to log in is not listened to for a while; other sources and
sessions there are do not notice, and good logins cost nothing."""

import os
import socket
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

ATTACKER = "127.0.0.9"
BURST = 64
RATE = 4  # a second: a failure is forgotten after a quarter of one


class From(iscsi.Connection):
    """A connection whose source address is chosen."""

    def __init__(self, server, source, number=9):
        # pylint: disable=super-init-not-called
        self.socket = socket.create_connection((server.address, server.port), timeout=60,
                                               source_address=(source, 0))
        self.cmdsn, self.expstatsn, self.next_itt, self.tsih = 1, 0, 1, 0
        self.isid, self.keys = bytes([0x80, 0, 0, 0, 0, number]), {}


def attempt(server, source, target):
    """"in", "refused" by the target, or "shut out" before it said anything."""
    try:
        with From(server, source) as client:
            client.login(target)
            return "in"
    except iscsi.LoginFailed:
        return "refused"
    except (iscsi.Closed, OSError):
        return "shut out"


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-logins-") as folder:
        server = daemon.Server(os.path.join(folder, "state"))
        try:
            good = daemon.DEMO_TARGET
            ok = sum(attempt(server, ATTACKER, good) == "in" for _ in range(2 * BURST))
            points.point(ok == 2 * BURST, "good logins are not counted", str(ok))
            with From(server, ATTACKER, 1) as session:
                session.login(good)
                begin = time.monotonic()
                results = [attempt(server, ATTACKER, "iqn.2026-11.org.granary:nothing")
                           for _ in range(5 * BURST)]
                refused = results.count("refused")
                most = BURST + RATE * (time.monotonic() - begin) + 2
                points.point(BURST <= refused <= most, "so many failures, then none is heard",
                             f"{refused} refused, {most:.0f} at most")
                points.point("shut out" in results, "the source is shut out")
                points.point(attempt(server, "127.0.0.8", good) == "in", "another one logs in")
                points.point(session.ping(b"still here") == b"still here",
                             "a session of the source's goes on")
            points.point("too often" in server.log() and "audit: " in server.log(),
                         "the log says so")
            limit = time.monotonic() + 60
            while (state := attempt(server, ATTACKER, good)) != "in" and time.monotonic() < limit:
                time.sleep(0.2)
            points.point(state == "in", "after a while the source is heard again", state)
        finally:
            points.point(server.stop() == 0, "the daemon stops cleanly")


if __name__ == "__main__":
    tap.run(test)
