#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one
"""What a standby knows of how far it is behind: bytes as well as seconds, as its primary said last,
also when that is gone; said before a promotion is asked for. After a start it knows nothing."""

import os
import pty
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import api                                # pylint: disable=wrong-import-position
import server as daemon                   # pylint: disable=wrong-import-position
import tap                                # pylint: disable=wrong-import-position
from latency_test import promtool, series  # pylint: disable=wrong-import-position
from replica import IQN, Node, end, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

MEMBER = "tank/cut0"
SLOW = 64 << 10
AGE = "lag_bytes_age_seconds"


def set_up(points, one, two):
    peer = pair(one, two)
    one.granary("target", "create", IQN)
    one.granary("target", "allow", IQN, "--network", "127.0.0.0/8")
    one.granary("volume", "create", MEMBER, "64M")
    one.granary("lun", "map", IQN, MEMBER)
    one.granary("replica", "group", "create", "vms", MEMBER, "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())


def level(points, one, two):
    points.point(wait(lambda: two.group().get("lag_bytes") == 0), "nothing is newer", two.group())
    time.sleep(5)
    points.point(wait(lambda: (group := two.group())["lag_bytes"] == 0 and group[AGE] < 4) and
                 one.group()["lag_bytes"] == 0, "as the primary says every two seconds", two.group())


def behind(points, one, two, log):
    """A link that is too slow for what a guest writes."""
    one.granary("replica", "group", "set", "vms", "--limit", str(SLOW))
    load = one.write(1, 1, log)
    try:
        points.point(wait(lambda: one.group()["lag_bytes"] > 4 << 20), "a guest writes",
                     one.group())
    finally:
        end(load)
    # The two are not asked at one moment, and what is told is on its way behind what is sent.
    points.point(wait(lambda: (most := one.group()["lag_bytes"]) > 2 << 20 and
                      abs(two.group().get("lag_bytes", 0) - most) < 1 << 20) and
                 two.group()["sealed_epoch"] > 0, "the standby knows how many bytes are newer",
                 (one.group(), two.group()))
    text = two.granary("replica", "group", "status", "vms")
    points.point("MiB" in next(line for line in text.splitlines() if "LAG (BYTES)" in line),
                 "and shows it", text)


def asked(node):
    """What is asked before a promotion, which is not answered with yes."""
    answers, terminal = pty.openpty()
    try:
        os.write(answers, b"n\n")
        result = subprocess.run([os.path.join(daemon.BUILD, "granary"), "--state", node.state,
                                 "replica", "promote", "vms"], stdin=terminal,
                                capture_output=True, text=True, timeout=60)
    finally:
        os.close(answers)
        os.close(terminal)
    return result.stderr if result.returncode else ""


def metrics(points, one, two):
    told = [api.Daemon.raw(node, b'{"method": "GET", "path": "/metrics"}')["body"]
            for node in (one, two)]
    lag = [series(text, "granary_replica_lag_bytes").get('group="vms"', 0) for text in told]
    points.point(min(lag) > 2 << 20 and max(lag) - min(lag) < 1 << 20, "both have it in /metrics",
                 lag)
    points.point([list(series(text, "granary_replica_role")) for text in told] ==
                 [['group="vms",role="primary"'], ['group="vms",role="standby"']] and
                 all(series(text, "granary_replica_sealed_epoch")['group="vms"'] > 0
                     for text in told) and
                 series(told[1], "granary_replica_lag_seconds")['group="vms"'] > 0,
                 "with their roles, the sealed epoch and the seconds")
    for text in told:
        promtool(points, text)


def gone(points, one, two):
    one.kill()
    wait(lambda: two.group()["state"] == "disconnected")
    before = two.group()
    time.sleep(2)
    group = two.group()
    points.point(group["lag_bytes"] == before["lag_bytes"] > 2 << 20 and
                 group[AGE] > before[AGE] + 1.5, "and when the primary is gone, and since when",
                 (before, group))
    said = asked(two)
    points.point("at most" in said and "MiB when that spoke last" in said and
                 "not confirmed" in said and two.group()["role"] == "standby",
                 "a promotion says so before it asks", said)
    two.kill()
    two.start()
    wait(lambda: two.group()["sealed_epoch"] > 0)
    text = two.granary("replica", "group", "status", "vms")
    points.point("lag_bytes" not in two.group() and "not known" in text,
                 "a standby that has started since knows nothing", text)
    said = asked(two)
    points.point("how many bytes is not known" in said, "and says so", said)
    two.granary("replica", "promote", "vms", "--yes")
    points.point(two.group()["role"] == "primary", "it is promoted", two.group())


def other_way(points, one, two):
    one.start()
    points.point(wait(lambda: one.group()["role"] == "fenced"), "the old one is fenced",
                 one.group())
    one.granary("replica", "demote", "vms", "--yes")
    two.granary("replica", "group", "set", "vms", "--limit", "0")
    points.point(wait(lambda: one.group().get("lag_bytes") == 0), "and hears from the new one",
                 one.group())


def test(points):
    with tempfile.TemporaryDirectory() as top:
        log = os.path.join(top, "log")
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            set_up(points, one, two)
            level(points, one, two)
            behind(points, one, two, log)
            metrics(points, one, two)
            gone(points, one, two)
            other_way(points, one, two)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
