#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=90 engines=one
"""The disk under the state directory is full: whoever looks after the box still signs in, through the
web front, sees what there is and what is wrong, and signs out; what can not be kept is refused."""

import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import api       # pylint: disable=wrong-import-position
import cli_test  # pylint: disable=wrong-import-position
import tap       # pylint: disable=wrong-import-position
import web       # pylint: disable=wrong-import-position

V1 = "/api/v1"
WHO = {"name": "admin", "password": "a pass phrase"}


def use_up(points, daemon, admin):
    """Changes until there is no room for one."""
    for number in range(400):
        reply = admin.call("POST", f"{V1}/targets", {"iqn": f"iqn.2026-11.org.granary:full{number}"})
        if reply.status != 201:
            break
    points.point(reply.status >= 500 and "space" in reply.body["detail"].lower(),
                 "a change on a full disk is refused, and says why", reply)
    known = [one["iqn"] for one in daemon.good("GET", f"{V1}/targets")]
    points.point(f"iqn.2026-11.org.granary:full{number}" not in known, "and not half made", known[-1:])


def sign_in(points, front):
    client = front.client()
    reply = client.call("POST", f"{V1}/login", WHO)
    points.point(reply.status == 200, "signing in works all the same", reply)
    seen = [client.call("GET", f"{V1}/{what}").status for what in ("me", "status", "targets", "alerts", "audit")]
    points.point(seen == [200] * 5, "and so does looking at all there is", seen)
    wrong = front.client().call("POST", f"{V1}/login", {**WHO, "password": "not the pass phrase"})
    points.point(wrong.status == 401, "but not for who does not know the password", wrong)
    reply = client.call("POST", f"{V1}/logout", {})
    points.point(reply.status == 200 and client.call("GET", f"{V1}/me").status == 401, "and signing out",
                 reply)


def test(points):
    with tempfile.TemporaryDirectory() as folder, \
            cli_test.small_disk(folder, "tiny", 2 << 20) as path:
        if not path:
            raise tap.Skip("mounting is not allowed here")
        state = path + "/state"
        daemon, front = api.Daemon(state, pool=False), None
        try:
            front = web.Front(state)
            code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M).group(1)
            admin = front.client()
            admin.call("POST", f"{V1}/setup", {"code": code, **WHO})
            cli_test.fill(path + "/filler")
            use_up(points, daemon, admin)
            sign_in(points, front)
            os.unlink(path + "/filler")
            reply = admin.call("POST", f"{V1}/targets", {"iqn": "iqn.2026-11.org.granary:room"})
            points.point(reply.status == 201, "with room again changes go through", reply)
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
