#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""Long lists: 1,000 volumes, 10,000 snapshots, 500 sessions. Each comes page by page from the
daemon, whole and in order, to the API, the command line and the browser, whose pages hold the rows
near the screen and no more. How soon the browser shows them is told, not judged. One volume has
1,500 of the snapshots; GRANARY_SNAPSHOTS=20000 gives it that many, a list that is too long for one
message."""

import json
import os
import select
import socket
import struct
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api                    # pylint: disable=wrong-import-position
import browser                # pylint: disable=wrong-import-position
import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

V1 = "/api/v1"
VOLUMES = 1000
SNAPSHOTS = int(os.environ.get("GRANARY_SNAPSHOTS", "1500"))
TOGETHER = 250  # volumes of one call
ROUNDS = 34     # of such calls: 8,500
SESSIONS = 500
MESSAGE_MAX = 4 << 20
IQN = "iqn.2026-11.org.granary:long"
LIST = f"{V1}/volumes/tank/v0000/snapshots"


def requests(daemon, messages):
    """Many requests over one connection, one after the other; stops at the first that is refused."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(os.path.join(daemon.state, "control.sock"))
        file = stream.makefile("rb")
        for method, path, body in messages:
            data = json.dumps({"method": method, "path": path, "body": body}).encode()
            stream.sendall(struct.pack(">I", len(data)) + data)
            reply = json.loads(file.read(struct.unpack(">I", file.read(4))[0]))
            if not 200 <= reply["status"] < 300:
                raise RuntimeError(f"{method} {path}: {reply}")


def name_of(number):
    return f"s{number:05}"


def make_all(points, daemon):
    started = time.monotonic()
    requests(daemon, [("POST", f"{V1}/volumes", {"pool": "tank", "name": f"v{at:04}", "size": "1G"})
                      for at in range(VOLUMES)])
    points.note(f"{VOLUMES} volumes made in {time.monotonic() - started:.1f} s")
    started = time.monotonic()
    requests(daemon, [("POST", f"{V1}/snapshots", {"snapshots": [f"tank/v0000@{name_of(at)}"]})
                      for at in range(SNAPSHOTS)])
    requests(daemon, [("POST", f"{V1}/snapshots", {"snapshots": [
        f"tank/v{at:04}@{name_of(number)}" for at in range(1, TOGETHER + 1)]})
                      for number in range(ROUNDS)])
    points.note(f"{SNAPSHOTS + TOGETHER * ROUNDS} snapshots made in {time.monotonic() - started:.1f} s")


def walk(daemon, path, between=lambda page: None):
    """All of a list's items, the sizes of its pages, and the longest one's bytes."""
    items, sizes, longest, cursor = [], [], 0, ""
    while True:
        reply = daemon.call("GET", f"{path}?limit=1000{cursor}")
        assert reply["status"] == 200, reply
        items += reply["body"]
        sizes.append(len(reply["body"]))
        longest = max(longest, len(json.dumps(reply)))
        if "next" not in reply:
            return items, sizes, longest
        between(reply["body"])
        cursor = "&cursor=" + reply["next"].replace("/", "%2F")


def snapshots(points, daemon):
    items, sizes, longest = walk(daemon, LIST)
    names = [item["name"] for item in items]
    points.point(names == [name_of(at) for at in range(SNAPSHOTS)],
                 f"{SNAPSHOTS} snapshots of one volume in pages: each once, the oldest first", names[:5])
    points.point(sizes[0] == 1000 and max(sizes) == 1000 and longest < MESSAGE_MAX // 4,
                 "pages of a thousand, far below what a message may be", [sizes, longest])
    whole = daemon.call("GET", LIST)
    if SNAPSHOTS <= 13000 or whole["status"] == 200:
        points.point(whole["status"] == 200 and len(whole["body"]) == SNAPSHOTS,
                     "who asks for no page gets all of them", whole["status"])
    else:
        points.point(whole["body"].get("code") == "reply_too_large" and
                     "?limit=" in whole["body"]["detail"],
                     "who asks for all of them at once is told to ask for pages", whole)
    told = daemon.granary("snapshot", "list", "tank/v0000").stdout.splitlines()
    points.point(len(told) == SNAPSHOTS + 1 and name_of(0) in told[1] and
                 name_of(SNAPSHOTS - 1) in told[-1], "and so does granary snapshot list",
                 told[:3])
    told = daemon.granary("snapshot", "list").stdout.splitlines()
    points.point(len(told) == SNAPSHOTS + TOGETHER * ROUNDS + 1 and
                 told[1].split()[:2] == ["tank", "v0000"] and
                 told[-1].split()[1] == f"v{TOGETHER:04}", "which has those of all, when none is named",
                 told[:3])
    for cursor in ("x", "5", "-1", "%2Fv"):
        reply = daemon.call("GET", f"{LIST}?limit=5&cursor={cursor}")
        points.point(reply["status"] == 400 and reply["body"]["code"] == "bad_query",
                     f"a cursor that is none ({cursor}) is refused", reply)


def while_they_go(points, daemon):
    """The snapshot a page ended with is deleted before the next page is asked for."""
    gone = []

    def delete(page):
        if not gone:
            gone.append(page[-1]["name"])
            daemon.good("DELETE", f"{LIST}/{gone[0]}")

    names = [item["name"] for item in walk(daemon, LIST, delete)[0]]
    left = {name_of(at) for at in range(SNAPSHOTS)}
    points.point(set(names) | set(gone) == left, "nothing is left out when a page's last one goes",
                 sorted(left - set(names))[:5])


def log_in(daemon):
    """Sessions of as many hosts; the open connections."""
    daemon.good("POST", f"{V1}/targets", {"iqn": IQN})
    daemon.good("POST", f"{V1}/targets/{IQN}/rules", {"initiator": "any", "network": "127.0.0.0/8"})
    daemon.good("POST", f"{V1}/targets/{IQN}/luns", {"pool": "tank", "volume": "v0001"})
    return [iscsi.Connection("127.0.0.1", daemon.port, timeout=60).login(
        IQN, initiator=f"iqn.2026-11.test:host-{at}") for at in range(SESSIONS)]


class Keeper(threading.Thread):
    """Answers the target's pings on idle connections, so that a slow machine does not end them."""

    def __init__(self, connections):
        super().__init__(daemon=True)
        self.connections = {one.socket.fileno(): one for one in connections}
        self.ended = threading.Event()

    def run(self):
        waiting = select.poll()
        for number in self.connections:
            waiting.register(number, select.POLLIN)
        while not self.ended.is_set():
            for number, _ in waiting.poll(200):
                try:
                    self.answer(self.connections[number])
                except (iscsi.Closed, OSError):
                    waiting.unregister(number)

    @staticmethod
    def answer(connection):
        ping = connection.receive()
        if ping.opcode == iscsi.NOP_IN and ping.ttt != iscsi.NO_TAG:
            connection.send_raw(connection.pdu(
                iscsi.NOP_OUT | iscsi.IMMEDIATE, itt=iscsi.NO_TAG,
                specific=struct.pack(">III", ping.ttt, connection.cmdsn, connection.expstatsn)))

    def stop(self):
        self.ended.set()
        self.join()


def others(points, daemon):
    items, sizes, _ = walk(daemon, f"{V1}/volumes")
    points.point([item["name"] for item in items] == [f"v{at:04}" for at in range(VOLUMES)] and
                 max(sizes) <= 1000, f"{VOLUMES} volumes in pages", sizes)
    told = daemon.granary("volume", "list").stdout.splitlines()
    points.point(len(told) == VOLUMES + 1, "and on the command line", told[:2])
    items, _, _ = walk(daemon, f"{V1}/sessions")
    points.point(len({item["initiator"] for item in items}) == SESSIONS,
                 f"{SESSIONS} sessions", len(items))
    status = daemon.call("GET", f"{V1}/status")
    points.point(len(status["body"]["sessions"]) == SESSIONS, "which the status counts too")


def in_a_browser(points, daemon):
    try:
        found = browser.needed()
    except tap.Skip as reason:
        points.note(f"no browser: {reason}")
        return
    browser.walk(points, found, daemon, "long.mjs", volumes=VOLUMES, snapshots=SNAPSHOTS,
                 sessions=SESSIONS)


def test(points):
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
        connections, keeper = [], None
        try:
            daemon.good("POST", f"{V1}/pools", {"name": "tank", "devices": [
                {"path": os.path.join(folder, "tank.pool"), "size": "16G"}]})
            make_all(points, daemon)
            snapshots(points, daemon)
            connections = log_in(daemon)
            keeper = Keeper(connections)
            keeper.start()
            others(points, daemon)
            in_a_browser(points, daemon)
            while_they_go(points, daemon)
        finally:
            if keeper:
                keeper.stop()
            for connection in connections:
                connection.close()
            points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
