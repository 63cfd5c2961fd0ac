#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=both asan
"""How many sessions a target may have, and an initiator at it: who is refused and with what status,
who is not (the same port again, connections that join, discovery), and that a limit ends nothing."""

import os
import socket
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import api                    # pylint: disable=wrong-import-position
import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import pools                  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

V1 = "/api/v1"
PREFIX = "iqn.2026-11.org.granary:"
A, B = PREFIX + "host-a", PREFIX + "host-b"
ONE, TWO = PREFIX + "one", PREFIX + "two"
OUT_OF_RESOURCES, NO_CHAP = (3, 2), (2, 0)
BURST = 64  # failed logins in a row of one address


class From(iscsi.Connection):
    """A connection whose source address is chosen."""

    def __init__(self, port, source):
        # pylint: disable=super-init-not-called
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60,
                                               source_address=(source, 0))
        self.cmdsn, self.expstatsn, self.next_itt, self.tsih = 1, 0, 1, 0
        self.isid, self.keys = bytes([0x80, 0, 0, 0, 0, 0x40]), {}


class Box:
    """The daemon, and who logs in to it."""

    def __init__(self, state):
        self.daemon = api.Daemon(state)

    def limit(self, target, total=None, each=None, **more):
        """What the target says of itself with these limits."""
        body = {name: value for name, value in (("max_sessions", total),
                                                ("max_sessions_per_initiator", each))
                if value is not None}
        return self.daemon.good("PATCH", f"{V1}/targets/{target}", body, **more)

    def session(self, number, initiator=A, target=ONE):
        """A session of the initiator port with this number; an exception when it is refused."""
        client = iscsi.Connection("127.0.0.1", self.daemon.port)
        client.isid = bytes([0x80, 0, 0, 0, 0, number])
        try:
            return client.login(target, initiator)
        except BaseException:
            client.close()
            raise

    def refused(self, number, initiator=A, target=ONE):
        """The status it is refused with; None: it was let in, and has left again."""
        try:
            self.session(number, initiator, target).close()
            return None
        except iscsi.LoginFailed as error:
            return error.status

    def isids(self, target=ONE):
        """The initiator ports that have a session at the target."""
        return sorted(int(row["isid"][-2:], 16) for row in self.daemon.good("GET", f"{V1}/sessions")
                      if row["target"] == target)

    def settles(self, ports, target=ONE):
        """Does it come to just these ports?"""
        return pools.wait_for(lambda: self.isids(target) == ports)


def alive(client):
    return client.ping(b"still here") == b"still here"


def ended(client):
    try:
        client.expect_end(20)
        return True
    except socket.timeout:
        return False


def prepare(daemon):
    for number, target in enumerate((ONE, TWO)):
        daemon.good("POST", f"{V1}/targets", {"iqn": target})
        daemon.good("POST", f"{V1}/targets/{target}/rules", {"network": "127.0.0.0/8"})
        daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": f"v{number}", "size": "8M"})
        daemon.good("POST", f"{V1}/targets/{target}/luns", {"pool": "tank", "volume": f"v{number}"})


def of_a_target(points, box):
    shown = box.daemon.good("GET", f"{V1}/targets/{ONE}")
    points.point((shown["max_sessions"], shown["max_sessions_per_initiator"]) == (0, 0),
                 "there is no limit at first", shown)
    shown = box.limit(ONE, 2)
    points.point((shown["max_sessions"], shown["max_sessions_per_initiator"]) == (2, 0),
                 "the target shows its limit", shown)
    first, second = box.session(1), box.session(2, B)
    points.point(box.refused(3) == box.refused(3, B) == OUT_OF_RESOURCES,
                 "a session too many for the target is refused: out of resources")
    points.point(alive(first) and alive(second), "those that are there go on")
    points.point(f"audit: {A} from 127.0.0.1:" in box.daemon.log() and
                 f"login to {ONE} refused (status 0302: the target has as many sessions as it may)"
                 in box.daemon.log(), "the log says who and why")
    row = [row for row in box.daemon.good("GET", f"{V1}/initiators") if row["initiator"] == A][0]
    points.point(row["refused"]["reason"] == "too_many" and row["refused"]["target"] == ONE,
                 "and so does the list of initiators", row)
    points.point(box.refused(3, A, TWO) is None, "another target lets it in")
    with iscsi.Connection("127.0.0.1", box.daemon.port) as discovery:
        discovery.login(None, A)
    again = box.session(1)
    points.point(ended(first) and alive(again) and box.settles([1, 2]),
                 "the same port takes the place of its own session", box.isids())
    second.logout()
    second.close()
    points.point(pools.wait_for(lambda: box.refused(3) is None, 20),
                 "a place that is free is given away")
    again.close()
    box.settles([])


def made_lower(points, box):
    box.limit(ONE, 0)
    sessions = [box.session(number) for number in (1, 2, 3)]
    box.limit(ONE, 1)
    points.point(all(alive(session) for session in sessions), "a lower limit ends no session")
    points.point(box.refused(4) == OUT_OF_RESOURCES, "but lets none in")
    again = box.session(2)
    points.point(ended(sessions[1]) and alive(again) and box.settles([1, 2, 3]),
                 "the same port still takes the place of its own", box.isids())
    box.limit(ONE, 0)
    points.point(box.refused(4) is None, "without a limit it is let in")
    for session in (sessions[0], again, sessions[2]):
        session.close()
    box.settles([])


def of_an_initiator(points, box):
    box.limit(ONE, 3, 1)
    mine = box.session(1)
    points.point(box.refused(2) == OUT_OF_RESOURCES, "an initiator has as many as it may")
    points.point(f"login to {ONE} refused (status 0302: it has as many sessions there as it may)"
                 in box.daemon.log(), "the log says that it is the initiator's limit")
    theirs = box.session(1, B)
    points.point(alive(theirs) and alive(mine), "another initiator is let in, with the same ISID too")
    elsewhere = box.session(2, A, TWO)
    points.point(alive(elsewhere), "and the same one at another target")
    again = box.session(1)
    points.point(ended(mine) and alive(again), "the same port takes the place of its own session")
    third = box.session(1, PREFIX + "host-c")
    points.point(box.refused(1, PREFIX + "host-d") == OUT_OF_RESOURCES, "both limits hold")
    for session in (again, theirs, elsewhere, third):
        session.close()
    box.settles([])


def not_counted(points, box):
    box.limit(ONE, 1, 1)
    with iscsi.Session("127.0.0.1", box.daemon.port, ONE, 5) as session:
        session.add(1)
        session.add(2)
        rows = [row for row in box.daemon.good("GET", f"{V1}/sessions") if row["target"] == ONE]
        points.point([len(row["connections"]) for row in rows] == [3],
                     "connections that join a session are not counted", rows)
        with iscsi.Connection("127.0.0.1", box.daemon.port) as discovery:
            discovery.login(None)
            points.point(alive(discovery), "nor is discovery, which is let in")
            points.point(box.refused(6) == OUT_OF_RESOURCES, "one more session is one too many")
    box.settles([])


def secrets(points, box):
    box.daemon.good("POST", f"{V1}/targets/{TWO}/rules",
                    {"initiator": B, "network": "127.0.0.0/8", "chap_user": "b",
                     "chap_secret": "twelve bytes or more"})
    box.daemon.good("DELETE", f"{V1}/targets/{TWO}/rules", {"network": "127.0.0.0/8"})
    box.daemon.good("POST", f"{V1}/targets/{TWO}/rules", {"initiator": A})
    without = box.refused(1, B, TWO)
    box.limit(TWO, 1)
    mine = box.session(1, A, TWO)
    seen = [without, box.refused(1, B, TWO), box.refused(2, A, TWO)]
    points.point(seen == [NO_CHAP, NO_CHAP, OUT_OF_RESOURCES],
                 "who has not proved who it is does not learn that the target is full", seen)
    mine.close()
    box.settles([], TWO)


def settings(points, box):
    path = f"{V1}/targets/{ONE}"
    box.limit(ONE, 7, 5)
    before = box.daemon.call("GET", path)
    for bad in (-1, 65536, 1 << 40, 1.5, "2", True, None):
        for name in ("max_sessions", "max_sessions_per_initiator"):
            reply = box.daemon.call("PATCH", path, {name: bad})
            points.point(reply["status"] == 400, f"{name} {bad!r} is refused", reply)
    points.point(box.daemon.good("GET", path) == before["body"], "and nothing has changed")
    dry = box.daemon.good("PATCH", path + "?dry_run=1", {"max_sessions": 9})
    points.point(dry["before"]["max_sessions"] == 7 and dry["after"]["max_sessions"] == 9 and
                 box.daemon.good("GET", path) == before["body"], "a dry run tells and changes nothing",
                 dry)
    tag = before["etag"]
    box.limit(ONE, 8, if_match=tag)
    stale = box.daemon.call("PATCH", path, {"max_sessions": 9}, if_match=tag)
    points.point(stale["status"] == 412, "the limits are part of the entity tag", stale)
    shown = box.daemon.good("PATCH", path, {"async_events": True})
    points.point((shown["max_sessions"], shown["max_sessions_per_initiator"]) == (8, 5),
                 "what is not named stays", shown)


def command_line(points, box):
    done = box.daemon.granary("target", "set", ONE, "--max-sessions", "2",
                              "--max-sessions-per-initiator", "1")
    shown = box.daemon.good("GET", f"{V1}/targets/{ONE}")
    points.point(done.returncode == 0 and shown["async_events"] and
                 (shown["max_sessions"], shown["max_sessions_per_initiator"]) == (2, 1),
                 "granary target set", [done, shown])
    lines = box.daemon.granary("target", "list").stdout.splitlines()
    at = [lines[0].index(title) + len(title) for title in ("SESSIONS MAX", "PER INITIATOR")]
    row = [line for line in lines if line.startswith(ONE)][0]
    points.point([row[:end].split()[-1] for end in at] == ["2", "1"], "granary target list", lines)
    lines = box.daemon.granary("target", "show", ONE).stdout.splitlines()
    points.point(any(line.split() == ["SESSIONS", "MAX", "2"] for line in lines) and
                 any(line.split() == ["PER", "INITIATOR", "1"] for line in lines),
                 "granary target show", lines)
    for bad in ("-1", "", "two", "1x", "65536", "99999999999"):
        done = box.daemon.granary("target", "set", ONE, f"--max-sessions={bad}")
        points.point(done.returncode != 0 and "max" in done.stderr, f"--max-sessions={bad}", done)
    done = box.daemon.granary("target", "set", ONE)
    points.point(done.returncode == 2 and "--max-sessions" in done.stderr,
                 "something has to be set", done)


def document(points, box):
    wanted = box.daemon.good("GET", f"{V1}/configuration")
    target = [row for row in wanted["targets"] if row["iqn"] == ONE][0]
    points.point((target["max_sessions"], target["max_sessions_per_initiator"]) == (2, 1),
                 "the limits are in the document", target)
    box.limit(ONE, 0, 0)
    steps = box.daemon.good("PUT", f"{V1}/configuration", {"document": wanted})
    again = box.daemon.good("PUT", f"{V1}/configuration?dry_run=1", {"document": wanted})
    points.point(len(steps["steps"]) == 1 and not again["steps"] and
                 box.daemon.good("GET", f"{V1}/configuration") == wanted,
                 "which brings them back, in one step", [steps, again])
    target["max_sessions"] = 65536
    reply = box.daemon.call("PUT", f"{V1}/configuration", {"document": wanted})
    points.point(reply["status"] == 422 and "max_sessions" in str(reply["body"]),
                 "a limit that can not be is refused before a step is taken", reply)


def too_often(points, box):
    box.limit(ONE, 1, 0)
    mine = box.session(1)
    refused = heard = 0
    for _ in range(3 * BURST):
        try:
            with From(box.daemon.port, "127.0.0.9") as client:
                client.login(ONE)
        except iscsi.LoginFailed as error:
            refused += error.status == OUT_OF_RESOURCES
            heard += 1
        except (iscsi.Closed, OSError):
            pass
    points.point(refused == heard and BURST <= refused < 3 * BURST,
                 "who is refused too often is not heard for a while", [refused, heard])
    points.point(alive(mine), "the session that is there goes on")
    mine.close()
    box.settles([])


def after_a_restart(points, box):
    mine = box.session(1)
    points.point(alive(mine) and box.refused(2) == OUT_OF_RESOURCES, "after a restart it is in force")
    mine.close()


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-session-limits-") as folder:
        state = os.path.join(folder, "state")
        box = Box(state)
        try:
            prepare(box.daemon)
            for part in (of_a_target, made_lower, of_an_initiator, not_counted, secrets, settings,
                         command_line, document, too_often):
                part(points, box)
            before = box.daemon.good("GET", f"{V1}/targets")
        finally:
            points.point(box.daemon.stop() == 0, "the daemon stops cleanly")
        box.daemon = api.Daemon(state, pool=False)
        try:
            points.point(box.daemon.good("GET", f"{V1}/targets") == before, "the limits are kept")
            after_a_restart(points, box)
        finally:
            points.point(box.daemon.stop() == 0, "and stops cleanly again")


if __name__ == "__main__":
    tap.run(test)
