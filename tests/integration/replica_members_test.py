#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Two daemons: members join and leave a group while guests write to it: nothing of the others is
sent again, a promotion before a new one is sealed leaves it out, after that it has it."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                       # pylint: disable=wrong-import-position
from replica import IQN, Node, end, make_luns, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

LUNS = 2


def set_up(points, one, two):
    peer = pair(one, two)
    make_luns(one, *(f"tank/cut{lun}" for lun in range(LUNS)))
    one.granary("volume", "create", "tank/full", "16M")
    one.granary("lun", "map", IQN, "tank/full", "--lun", "5")
    one.granary("replica", "group", "create", "vms", "tank/full", "tank/cut0", "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "a group of two is seeded", one.group())


def fill(node, lun, size):
    """A whole LUN, durably; the path of what is in it."""
    path = os.path.join(node.state, f"pattern{lun}")
    with open(path, "wb") as file:
        file.write(os.urandom(1 << 20) * (size >> 20))
    subprocess.run(["qemu-img", "convert", "-n", "-t", "writeback", "-f", "raw", "-O", "raw", path,
                    f"iscsi://{node.portal()}/{IQN}/{lun}"], check=True, timeout=120,
                   stdin=subprocess.DEVNULL, capture_output=True)
    return path


def refusals(points, one, two):
    for words, text in (((("add", "vms", "tank/cut0")), "is in group vms"),
                        (("add", "vms", "tank/vms-staging"), "is in group vms"),
                        (("add", "vms", "tank/none"), "no volume"),
                        (("remove", "vms", "tank/cut1"), "is no member"),
                        (("remove", "vms", "tank/cut0", "tank/full"), "delete it instead"),
                        (("add", "none", "tank/cut1"), "no group named")):
        said = one.refused("replica", "group", *words)
        points.point(text in said, f"{' '.join(words)}: {text}", said)
    said = two.refused("replica", "group", "add", "vms", "tank/cut0")
    points.point("on its primary" in said, "members are the primary's business", said)
    points.point(one.group()["members"] == ["tank/full", "tank/cut0"], "and nothing has changed", one.group())


def joined(points, one, two, top):
    """A member that is full joins under load."""
    fill(one, 5, 16 << 20)
    wait(lambda: sealed(one) and one.group()["lag_seconds"] == 0)
    sent = one.group()["sent_bytes"]
    one.granary("volume", "create", "tank/more", "16M")
    one.granary("replica", "group", "add", "vms", "tank/more", "tank/cut1")
    points.point(wait(lambda: sealed(one) and one.group()["lag_bytes"] == 0 and two.group()["members"] ==
                      ["tank/full", "tank/cut0", "tank/more", "tank/cut1"]),
                 "members join a running group", (one.group(), two.group()))
    now = one.group()["sent_bytes"]
    points.point(now - sent < 4 << 20, "the others are not sent again", (sent, now))
    naas = [{v["name"]: v["naa"] for v in node.ask("volume", "list")} for node in (one, two)]
    points.point(naas[0]["cut1"] == naas[1]["cut1"], "identities travel", naas)
    one.granary("replica", "group", "remove", "vms", "tank/more")
    points.point(wait(lambda: two.group()["members"] == ["tank/full", "tank/cut0", "tank/cut1"] and
                      sealed(one)), "one leaves again", (one.group(), two.group()))
    names = [v["name"] for node in (one, two) for v in node.ask("volume", "list")]
    points.point(names.count("more") == 2, "and stays a volume on both nodes", names)
    two.granary("volume", "delete", "tank/more", "--yes")
    log = os.path.join(top, "log")
    load = one.write(LUNS, 1, log)
    try:
        points.point(wait(lambda: os.path.exists(log) and os.path.getsize(log) > 2000),
                     "guests write")
        for _ in range(3):
            one.granary("replica", "group", "remove", "vms", "tank/cut1")
            one.granary("replica", "group", "add", "vms", "tank/cut1")
        before = one.group()["sealed_epoch"]
        points.point(wait(lambda: sealed(one) and one.group()["sealed_epoch"] > before + 3 and
                          len(two.group()["members"]) == LUNS + 1),
                     "a member leaves and joins again and again under load", one.group())
        points.point(load.poll() is None, "guests go on")
        two.granary("replica", "promote", "vms", "--yes")
    finally:
        end(load)
    wait(lambda: len(two.ask("lun", "list", IQN)) == LUNS + 1)
    result = two.verify(LUNS)
    points.point(result[0] and int(result[1]) > 0, "what is promoted is a cut through both", result)


def left_out(points, one, two):
    """Promoted before the new ones have been sealed: one of them is where another was before."""
    wait(lambda: one.group()["role"] == "fenced")
    one.granary("replica", "demote", "vms", "--yes")
    points.point(wait(lambda: sealed(two)), "the other one is filled up", two.group())
    two.granary("volume", "create", "tank/late", "64M")
    two.granary("lun", "map", IQN, "tank/late", "--lun", "7")
    path = fill(two, 7, 64 << 20)
    two.granary("replica", "group", "set", "vms", "--limit", "2M")
    two.granary("volume", "create", "tank/instead", "16M")
    two.granary("replica", "pause", "vms")
    two.granary("replica", "group", "remove", "vms", "tank/full")
    two.granary("replica", "group", "add", "vms", "tank/instead", "tank/late")
    two.granary("replica", "resume", "vms")
    points.point(wait(lambda: one.group()["members"] ==
                      ["tank/cut0", "tank/cut1", "tank/instead", "tank/late"] and
                      two.group()["state"] == "catching up"), "members are being filled",
                 (one.group(), two.group()))
    before = two.verify(LUNS)
    two.kill()
    one.granary("replica", "promote", "vms", "--yes")
    points.point(one.group()["members"] == ["tank/cut0", "tank/cut1"] and
                 "left out" in one.server.log(), "a promotion leaves them out", one.group())
    luns = [lun["lun"] for lun in one.ask("lun", "list", IQN)]
    points.point(7 not in luns and one.verify(LUNS) == before and before[0],
                 "its LUN too, and the rest is whole", (luns, before, one.verify(LUNS)))
    two.start()
    wait(lambda: two.group()["role"] == "fenced")
    two.granary("replica", "demote", "vms", "--yes")
    points.point(wait(lambda: sealed(one)) and
                 wait(lambda: len(two.group()["members"]) == LUNS), "where it was it is a volume",
                 (one.group(), two.group()))
    good = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", path,
                           f"iscsi://{two.portal()}/{IQN}/7"], timeout=120,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    points.point(good.returncode == 0, "with all that was in it", good.stdout)


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            set_up(points, one, two)
            refusals(points, one, two)
            joined(points, one, two, top)
            left_out(points, one, two)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
