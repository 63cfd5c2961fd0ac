#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Alerts as SNMPv2c traps: what the daemon sends is taken apart by a decoder of the test's own, and
by snmptrapd with the module that is shipped, where that is installed (Debian's snmptrapd)."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api                    # pylint: disable=wrong-import-position
import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.granary:data"
COMMUNITY = "not-public-at-all"
OWN = "1.3.6.1.4.1.8072.9999.9999.7420"
INTEGER, OCTETS, OID, SEQUENCE, GAUGE, TICKS, TRAP = 0x02, 0x04, 0x06, 0x30, 0x42, 0x43, 0xA7


class Bad(Exception):
    """What came is not BER as RFC 3417 8 wants it."""


def take(data):
    """The first element: (tag, contents, what is behind it)."""
    if len(data) < 2:
        raise Bad("too short")
    tag, length, at = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if count not in (1, 2) or data[2] == 0:
            raise Bad("a length that is not the shortest")
        length = int.from_bytes(data[2:2 + count], "big")
        at += count
        if length < 0x80:
            raise Bad("a long form for a short length")
    if len(data) < at + length:
        raise Bad("it ends too early")
    return tag, data[at:at + length], data[at + length:]


def number(contents):
    if not contents or (len(contents) > 1 and contents[0] == 0 and not contents[1] & 0x80):
        raise Bad("a number that is not the shortest")
    return int.from_bytes(contents, "big", signed=True)


def oid(contents):
    subs, value = [contents[0] // 40, contents[0] % 40], 0
    for byte in contents[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            subs.append(value)
            value = 0
    return ".".join(map(str, subs))


def decode(data):
    """{"version", "community", "type", variables by OID, in order}."""
    kinds = {INTEGER: number, GAUGE: number, TICKS: number, OID: oid,
             OCTETS: lambda contents: contents.decode()}
    tag, message, rest = take(data)
    if tag != SEQUENCE or rest:
        raise Bad("no message, or more than one")
    tag, version, message = take(message)
    _, community, message = take(message)
    pdu_tag, pdu, rest = take(message)
    if tag != INTEGER or pdu_tag != TRAP or rest:
        raise Bad("no trap")
    fields = []
    for _ in range(3):
        tag, contents, pdu = take(pdu)
        fields.append(number(contents))
    tag, variables, rest = take(pdu)
    if tag != SEQUENCE or rest or fields[0] < 0 or fields[1:] != [0, 0]:
        raise Bad("no trap's fields")
    found = {}
    while variables:
        tag, pair, variables = take(variables)
        tag, name, value = take(pair)
        kind, value, rest = take(value)
        if tag != OID or rest:
            raise Bad("no variable")
        found[oid(name)] = kinds[kind](value)
    return {"version": number(version), "community": community.decode(), "variables": found}


def own(trap, which):
    return trap["variables"].get(f"{OWN}.1.{which}.0")


def receive(server, kind):
    """The next trap of @kind; others are passed over."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        trap = decode(server.recv(4096))
        if trap["variables"].get("1.3.6.1.6.3.1.1.4.1.0") == f"{OWN}.0.{kind}":
            return trap
    raise RuntimeError("no such trap came")


def the_test_trap(points, daemon, server):
    daemon.good("POST", f"{V1}/alert-channels",
                {"name": "nms", "kind": "snmp", "secret": COMMUNITY,
                 "url": f"udp://127.0.0.1:{server.getsockname()[1]}"})
    points.point(COMMUNITY not in str(daemon.good("GET", f"{V1}/alert-channels")),
                 "the community is not shown")
    reply = daemon.call("POST", f"{V1}/alert-channels/nms/test")
    trap = decode(server.recv(4096))
    names = list(trap["variables"])
    points.point(reply["status"] == 200 and trap["version"] == 1 and
                 trap["community"] == COMMUNITY and
                 names[:2] == ["1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"] and
                 trap["variables"][names[0]] > 0 and
                 trap["variables"][names[1]] == f"{OWN}.0.3" and
                 own(trap, 1) and "This is a test" in own(trap, 2),
                 "a trap of SNMPv2c, its time and its name first", trap)


def an_alert(points, daemon, server):
    """The first watermark of the pool is reached, and is put higher."""
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "data", "size": "64M"})
    daemon.good("POST", f"{V1}/targets", {"iqn": IQN})
    daemon.good("POST", f"{V1}/targets/{IQN}/rules", {})
    daemon.good("POST", f"{V1}/targets/{IQN}/luns", {"pool": "tank", "volume": "data"})
    with iscsi.Connection("127.0.0.1", daemon.port, timeout=60).login(IQN) as client:
        while client.command([0] * 6).status:
            pass
        for at in range(0, 48 << 11, 1 << 11):
            client.write(at, b"\7" * (1 << 20))
    daemon.good("PATCH", f"{V1}/alert-rules/pool-filling", {"clear": "1s"})
    daemon.good("PATCH", f"{V1}/pools/tank", {"watermarks": "1,98,99"})
    fired = receive(server, 1)
    points.point(own(fired, 3) == "pool-filling" and own(fired, 4) == 2 and
                 own(fired, 5) == "tank" and "tank" in own(fired, 2) and own(fired, 6) and
                 own(fired, 7) >= 1, "an alert fires", fired)
    daemon.good("PATCH", f"{V1}/pools/tank", {"watermarks": "97,98,99"})
    cleared = receive(server, 2)
    points.point(own(cleared, 7) == own(fired, 7) and own(cleared, 3) == "pool-filling",
                 "and the same one clears", cleared)


def refusals(points, daemon):
    channel = {"name": "bad", "kind": "snmp", "url": "udp://127.0.0.1:162"}
    wrong = [{**channel, "url": "tcp://127.0.0.1:162"}, {**channel, "url": "udp://127.0.0.1"},
             {**channel, "url": "udp://127.0.0.1:0"}, {**channel, "secret": "a b"},
             {**channel, "secret": "x" * 65}, {**channel, "url": "udp://127.0.0.1:162/x"}]
    replies = [daemon.call("POST", f"{V1}/alert-channels", body) for body in wrong]
    points.point(all(reply["status"] == 400 for reply in replies), "what is no receiver is refused",
                 [(body, reply["status"]) for body, reply in zip(wrong, replies)])
    daemon.good("POST", f"{V1}/alert-channels", {**channel, "url": "udp://169.254.169.254:162"})
    reply = daemon.call("POST", f"{V1}/alert-channels/bad/test")
    points.point(reply["status"] == 409, "nothing goes to link-local addresses", reply)
    daemon.good("DELETE", f"{V1}/alert-channels/bad")


def with_snmptrapd(points, daemon, folder):
    program = shutil.which("snmptrapd", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        points.note("there is no snmptrapd here: traps are decoded by this test alone")
        return
    port, log, pid = api.free_port(), os.path.join(folder, "traps"), os.path.join(folder, "pid")
    conf = os.path.join(folder, "snmptrapd.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write(f"authCommunity log {COMMUNITY}\n")
    command = [program, "-f", "-C", "-c", conf, "-Lf", log, "-p", pid, "-M",
               "+" + os.path.join(ROOT, "docs"), "-m", "+GRANARY-ALERT-MIB", "-On",
               f"udp:127.0.0.1:{port}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as receiver:
        try:
            points.point(told(daemon, receiver, port, log), "snmptrapd takes it",
                         read(log))
        finally:
            receiver.send_signal(signal.SIGTERM)
            receiver.wait(60)


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def told(daemon, receiver, port, log):
    """Tries until it listens: a datagram to nobody is lost."""
    daemon.good("POST", f"{V1}/alert-channels", {"name": "daemon", "kind": "snmp",
                                                 "secret": COMMUNITY,
                                                 "url": f"udp://127.0.0.1:{port}"})
    limit = time.monotonic() + 90
    while time.monotonic() < limit and receiver.poll() is None:
        daemon.call("POST", f"{V1}/alert-channels/daemon/test")
        time.sleep(0.3)
        if f".{OWN}.0.3" in read(log) and "This is a test" in read(log):
            return True
    return False


def test(points):
    with tempfile.TemporaryDirectory() as folder, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            the_test_trap(points, daemon, server)
            an_alert(points, daemon, server)
            refusals(points, daemon)
            with_snmptrapd(points, daemon, folder)
        finally:
            points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
