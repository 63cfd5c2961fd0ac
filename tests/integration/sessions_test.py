#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=both asan
"""What an administrator and other initiators do to a running session: reinstatement, drop, rules
taken away, the target deleted, cold reset; and discovery that needs several PDUs, and IPv6."""

import json
import os
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import pools                  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

PREFIX = "iqn.2026-11.org.granary:"
MANY = 150  # targets: more text than one PDU of 8 KiB holds


def session(server, target=daemon.DEMO_TARGET, port_id=1):
    """A logged-in session with its unit attentions read; @port_id makes its ISID."""
    client = iscsi.Connection(server.address, server.port)
    client.isid = bytes([0x80, 0, 0, 0, 0, port_id])
    client.login(target)
    while client.command([0] * 6).status:
        pass
    return client


def ended(client):
    """True when the server ends the connection."""
    try:
        client.expect_end(60)
        return True
    except socket.timeout:
        return False


def listed(server):
    """ISID -> session of `granary session list`."""
    answer = json.loads(server.granary("session", "list", "-o", "json"))
    sessions = answer["sessions"] if isinstance(answer, dict) else answer
    return {entry["isid"]: entry for entry in sessions}


def make_target(server, name, volume=None):
    server.granary("target", "create", PREFIX + name)
    server.granary("target", "allow", PREFIX + name, "--network", "127.0.0.0/8")
    if volume:
        server.granary("volume", "create", volume, "1G")
        server.granary("lun", "map", PREFIX + name, volume)


def running_sessions(points, server):
    old = session(server)
    new = session(server)
    points.point(ended(old), "the same initiator port again: the older session ends")
    points.point(pools.wait_for(lambda: len(listed(server)) == 1), "and one session is listed",
                 listed(server))
    other = session(server, port_id=7)
    victim = listed(server)["800000000001"]
    server.granary("session", "drop", str(victim["id"]))
    points.point(ended(new), "session drop ends that session")
    make_target(server, "gone", "tank/gone")
    orphan = session(server, PREFIX + "gone")
    server.granary("target", "delete", PREFIX + "gone", "--yes")
    points.point(ended(orphan), "target delete ends its sessions")
    make_target(server, "ruled", "tank/ruled")
    ruled = session(server, PREFIX + "ruled")
    server.granary("target", "deny", PREFIX + "ruled", "--network", "127.0.0.0/8")
    points.point(ended(ruled), "a session ends with the last rule that let it in")
    points.point(other.command([0] * 6).status == 0, "a session of another target goes on")
    points.point(other.task_management(7) == 0 and ended(other), "TARGET COLD RESET ends it")


def discovery(points, server):
    for number in range(MANY):
        make_target(server, f"many-{number:03}")
    result = subprocess.run(["iscsi-ls", f"iscsi://{server.address}:{server.port}"],
                            capture_output=True, text=True, timeout=60, check=False)
    points.point(result.stdout.count(PREFIX + "many-") == MANY,
                 "SendTargets over several PDUs lists every target", result.stderr)


ELSEWHERE = "127.0.0.2"


def asked(server, address, initiator="iqn.2026-11.org.granary:tester"):
    """Login status and TargetAddress of one login request through @address."""
    with iscsi.Connection(address, server.port) as client:
        pairs = [("InitiatorName", initiator), ("SessionType", "Normal"),
                 ("TargetName", PREFIX + "moved"), ("AuthMethod", "None")]
        client.send_raw(client.login_pdu(pairs))
        answer = client.receive()
        return tuple(answer.bhs[36:38]), dict(iscsi.parse_text(answer.data)).get("TargetAddress")


def works_through(server, address):
    """libiscsi, which follows where it is sent."""
    result = subprocess.run(["iscsi-inq", f"iscsi://{address}:{server.port}/{PREFIX}moved/0"],
                            capture_output=True, text=True, timeout=60, check=False)
    return "GRANARY" in result.stdout


def redirection(points, state):
    server = daemon.Server(state, address="127.0.0.1,1", more=("--bind", ELSEWHERE + ",2"))
    server.address = "127.0.0.1"
    to = f"{ELSEWHERE}:{server.port}"
    try:
        make_target(server, "moved", "tank/moved")
        stays = session(server, PREFIX + "moved")
        told = server.granary("target", "redirect", PREFIX + "moved", to)
        points.point(to in told and asked(server, "127.0.0.1") == ((1, 1), to),
                     "a login is sent to another portal", told)
        points.point(asked(server, ELSEWHERE)[0] == (0, 0), "and served there")
        points.point(works_through(server, "127.0.0.1"), "an initiator follows")
        points.point(stays.command([0] * 6).status == 0, "a running session stays")
        server.granary("target", "allow", PREFIX + "moved", "--initiator",
                       "iqn.2026-11.org.granary:friend")
        server.granary("target", "deny", PREFIX + "moved", "--network", "127.0.0.0/8")
        points.point(asked(server, "127.0.0.1") == ((2, 2), None),
                     "who may not log in is not told where")
        friend = "iqn.2026-11.org.granary:friend"
        for _ in range(66):  # more than the failures that are free
            last = asked(server, "127.0.0.1", friend)
        points.point(last == ((1, 1), to), "being sent elsewhere is no failure that counts", last)
        for wrong in ("nowhere:0", "a b", "[::1", "host:99999", ":3260"):
            try:
                server.granary("target", "redirect", PREFIX + "moved", wrong)
                points.point(False, f"refused: {wrong}")
            except RuntimeError as error:
                points.point("no place to send" in str(error), f"refused: {wrong}", error)
    finally:
        server.stop()
    server = daemon.Server(state, address="127.0.0.1", port=server.port)
    try:
        points.point(asked(server, "127.0.0.1", friend) == ((1, 1), to), "it outlives the daemon")
        server.granary("target", "redirect", PREFIX + "moved", "[2001:DB8:0::1]")
        points.point(asked(server, "127.0.0.1", friend)[1] == "[2001:db8::1]:3260",
                     "the usual port is added, and an address is told as a portal is named")
        server.granary("target", "redirect", PREFIX + "moved")
        points.point(asked(server, "127.0.0.1", friend)[0] == (0, 0), "and ends")
    finally:
        points.point(server.stop() == 0, "clean stop", server.log()[-2000:])


def over_ipv6(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state, address="::1")
        try:
            portal = f"[::1]:{server.port}"
            result = subprocess.run(["iscsi-ls", "-s", f"iscsi://{portal}"], capture_output=True,
                                    text=True, timeout=60, check=False)
            points.point(f"Portal:{portal},1" in result.stdout and "Lun:0" in result.stdout,
                         "discovery and login over IPv6", result.stdout + result.stderr)
        finally:
            server.stop()


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state)
        try:
            running_sessions(points, server)
            discovery(points, server)
            points.point(server.stop() == 0, "clean stop afterwards", server.log()[-2000:])
        finally:
            server.stop()
    with tempfile.TemporaryDirectory() as state:
        redirection(points, state)
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        over_ipv6(points)


if __name__ == "__main__":
    tap.run(test)
