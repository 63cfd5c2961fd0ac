#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one
"""Two daemons and the options of a group: compression of the link, limits by a calendar, and
protection: guests' writes wait rather than the RPO is not kept, until the standby has caught up or
the administrator says so."""

import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                             # pylint: disable=wrong-import-position
from replica import IQN, LOAD, Node, end, make_luns, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

RPO = 2
MEMBER = "tank/cut0"


def set_up(points, one, two):
    peer = pair(one, two)
    make_luns(one, MEMBER)
    create = ("replica", "group", "create", "vms", MEMBER, "--peer", peer, "--rpo", f"{RPO}s")
    for option, value, text in (("--compression", "gzip", "lz4, zstd or off"),
                                ("--limit-at", "mon 8-18 20M", "DAYS FROM-UNTIL RATE"),
                                ("--limit-at", "mon 08:00-18:00 fast", "fast"),
                                ("--protect", "perhaps", "on or off")):
        said = one.refused(*create, option, value)
        points.point(text in said, f"no group is made with {option} {value}", said)
    one.granary(*create, "--compression", "lz4")
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())


def wrong_settings(points, one, two):
    before = one.group()
    for option, value, text in (("--compression", "LZ4", "lz4, zstd or off"),
                                ("--compression", "", "lz4, zstd or off"),
                                ("--limit-at", "someday 08:00-18:00 1M", "DAYS FROM-UNTIL RATE"),
                                ("--limit-at", "mon 08:00-08:00 1M", "DAYS FROM-UNTIL RATE"),
                                ("--limit-at", "mon 08:00-18:00 1M tue 08:00-18:00 1M", "separated"),
                                ("--limit-at", "daily 00:00-01:00 1M;" * 17, "at most 16"),
                                ("--protect", "1", "on or off")):
        said = one.refused("replica", "group", "set", "vms", option, value)
        points.point(text in said, f"{option} {value[:40]!r} is refused", said)
    said = two.refused("replica", "group", "set", "vms", "--protect", "on")
    points.point("on its primary" in said, "a standby's options are its primary's", said)
    after = one.group()
    same = ("compression", "limit_at", "protect", "protection")
    points.point([before[key] for key in same] == [after[key] for key in same],
                 "and nothing has changed", after)


def level(node):
    """Until the standby lacks nothing; its state then."""
    return wait(lambda: sealed(node) and node.group()["lag_bytes"] == 0 and node.group())


def lines(log):
    try:
        with open(log, "rb") as file:
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


def carry(points, one, log, method):
    """So many records over the link; what was sent, and what that would have been as it is."""
    one.granary("replica", "group", "set", "vms", "--compression", method)
    before, begun = level(one), lines(log)
    load = one.write(1, begun + 1, log)
    try:
        points.point(wait(lambda: lines(log) >= begun + 500), f"{method}: a guest writes")
    finally:
        end(load)
    after = level(one)
    return (after["sent_bytes"] - before["sent_bytes"],
            after["uncompressed_bytes"] - before["uncompressed_bytes"])


def compression(points, one, log):
    points.point(one.group()["protocol"] == 6 and one.group()["compression"] == "lz4",
                 "both speak the newest protocol", one.group())
    for method in ("lz4", "zstd"):
        sent, plain = carry(points, one, log, method)
        points.point(sent and sent * 4 < plain, f"{method}: the link carries a fraction",
                     (sent, plain))
    sent, plain = carry(points, one, log, "off")
    points.point(sent and sent == plain, "off: all of it", (sent, plain))
    one.granary("replica", "group", "set", "vms", "--compression", "zstd")


def calendar(points, one, two):
    rules = "daily 00:00-24:00 3M; mon 08:00-18:00 1M"
    one.granary("replica", "group", "set", "vms", "--limit-at", rules, "--limit", "9M")
    group = one.group()
    points.point(group["limit_at"] == rules and group["limit_bytes"] == 9 << 20 and
                 wait(lambda: one.group()["limit_now_bytes"] == 3 << 20),
                 "a limit at all times of all days is there now", group)
    points.point(wait(lambda: two.group()["limit_at"] == rules), "the standby has it", two.group())
    one.granary("replica", "group", "set", "vms", "--limit-at", "none")
    points.point(wait(lambda: one.group()["limit_now_bytes"] == 9 << 20),
                 "without it the other one holds", one.group())
    one.granary("replica", "group", "set", "vms", "--limit", "0")


def held(node):
    """The only write that a guest has under way waits; the group then."""
    group = node.group()
    return (group["protection"] == "holding" and group["held_changes"] == 1 and
            "held" in group["alarms"] and group)


def goes_on(log):
    begun = lines(log)
    return wait(lambda: lines(log) > begun + 20)


def is_held(points, one, log, what):
    group = wait(lambda: held(one))
    begun = lines(log)
    points.point(group and group["lag_seconds"] <= RPO + 2 and "held" in group["alarms"] and
                 "rpo" not in group["alarms"], f"{what}: writes wait, and the RPO is kept",
                 group or one.group())
    time.sleep(RPO)
    group = one.group()
    points.point(lines(log) == begun and held(one) and group["lag_seconds"] <= RPO + 2,
                 "none is acknowledged meanwhile", group)


def aborted(points, one):
    """A second guest's write, and its reads."""
    points.point(one.verify(1)[0], "reads are not held")
    done = subprocess.run([LOAD, "abort", one.portal(), IQN, "1"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False)
    points.point(done.returncode == 0 and float(done.stdout) < 5,
                 "a write that waits is aborted, which is answered in 5 s",
                 (done.returncode, done.stdout, done.stderr))


def alerts(node):
    return [alert["rule"] for alert in node.ask("alert", "list")]


def protection(points, one, two, log):
    one.granary("replica", "group", "set", "vms", "--protect", "on")
    points.point(wait(lambda: one.group()["protection"] == "on"), "protection is in force",
                 one.group())
    load = one.write(1, lines(log) + 1, log)
    try:
        points.point(goes_on(log), "a guest writes")
        two.granary("replica", "pause", "vms")
        is_held(points, one, log, "the standby takes nothing")
        points.point(wait(lambda: "replica-held" in alerts(one)), "there is an alert", alerts(one))
        aborted(points, one)
        two.granary("replica", "resume", "vms")
        points.point(goes_on(log) and wait(lambda: one.group()["protection"] == "on"),
                     "they go on when it has caught up", one.group())
        two.granary("replica", "pause", "vms")
        is_held(points, one, log, "again")
    finally:
        one.kill()
        end(load)
    one.start()
    load = one.write(1, lines(log) + 1, log)
    try:
        points.point(wait(lambda: held(one)), "held across a crash", one.group())
        one.granary("replica", "group", "set", "vms", "--protect", "off")
        points.point(goes_on(log) and one.group()["protection"] == "off" and
                     wait(lambda: "held" not in one.group()["alarms"]),
                     "until it is switched off", one.group())
        one.granary("replica", "group", "set", "vms", "--protect", "on")
        points.point(one.group()["protection"] == "waiting" and goes_on(log),
                     "a standby that is far behind has to catch up first", one.group())
        two.granary("replica", "resume", "vms")
        points.point(wait(lambda: one.group()["protection"] == "on"), "then it counts",
                     one.group())
        two.granary("replica", "pause", "vms")
        is_held(points, one, log, "held")
        one.granary("replica", "pause", "vms")
        points.point(goes_on(log), "until the group is paused", one.group())
        two.granary("replica", "resume", "vms")
        one.granary("replica", "resume", "vms")
        points.point(wait(lambda: one.group()["protection"] == "on"), "and caught up again",
                     one.group())
    finally:
        end(load)


def failover(points, one, two):
    """The new primary has no standby: nothing is held there."""
    before = level(one) and one.verify(1)
    one.kill()
    two.granary("replica", "promote", "vms", "--yes")
    wait(lambda: len(two.ask("lun", "list", IQN)) == 1)
    group = two.group()
    points.point(group["protect"] and group["protection"] == "waiting" and
                 group["compression"] == "zstd", "the options go with the group", group)
    points.point(before[0] and two.verify(1) == before, "and all that was written",
                 (before, two.verify(1)))
    with tempfile.TemporaryDirectory() as top:
        log = os.path.join(top, "log")
        load = two.write(1, int(before[1]) + 1, log)
        try:
            points.point(wait(lambda: lines(log) > 20), "guests write there at once", two.group())
        finally:
            end(load)
    one.start()
    points.point(wait(lambda: one.group()["role"] == "fenced"), "the old one is fenced",
                 one.group())


def test(points):
    with tempfile.TemporaryDirectory() as top:
        log = os.path.join(top, "log")
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            set_up(points, one, two)
            wrong_settings(points, one, two)
            compression(points, one, log)
            calendar(points, one, two)
            protection(points, one, two, log)
            failover(points, one, two)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
