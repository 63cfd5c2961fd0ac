#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=280 engines=one
"""Two daemons, a group of three LUNs and a share between them: numbered records are written one
after the other, to the LUNs and to a file of the share in turn, the primary is killed with -9 at any moment, the standby is promoted: it holds records 1 to m
and nothing else, m not older than the lag that was shown. The old primary comes back, is fenced,
demoted and filled up, and the roles are exchanged. GRANARY_KILLS overrides the number of kills."""

import os
import random
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                  # pylint: disable=wrong-import-position
from replica import IQN, Node, sealed, stop_all, wait  # pylint: disable=wrong-import-position

KILLS = int(os.environ.get("GRANARY_KILLS", "6"))
LUNS = 3
SHARE, FILE = "tank/files4", "/files4/records"


def pair(points, one, two):
    address = f"127.0.0.1:{two.repl}"
    said = one.refused("replica", "pair", address, "AAAA-BBBB-CCCC")
    points.point("no code is valid" in said, "no pairing before a code is shown", said)
    code = two.ask("replica", "code")["code"]
    said = one.refused("replica", "pair", address, "AAAA-BBBB-CCCC")
    points.point("code is wrong" in said, "a wrong code is refused", said)
    one.granary("replica", "pair", address, code)
    said = one.refused("replica", "pair", address, code)
    points.point("no code is valid" in said, "a code is good once", said)
    peers = [node.ask("replica", "peers") for node in (one, two)]
    points.point([len(peer) for peer in peers] == [1, 1] and peers[1][0]["port"] == one.repl,
                 "both know each other", peers)
    return peers[0][0]["uuid"]


def set_up(points, one, two):
    peer = pair(points, one, two)
    one.granary("target", "create", IQN)
    one.granary("target", "allow", IQN, "--network", "127.0.0.0/8")
    for lun in range(LUNS):
        one.granary("volume", "create", f"tank/cut{lun}", "16M")
        one.granary("lun", "map", IQN, f"tank/cut{lun}")
    one.granary("share", "create", SHARE)
    one.granary("share", "allow", SHARE, "--client", "127.0.0.1", "--insecure", "--no-root-squash")
    members = [f"tank/cut{lun}" for lun in range(LUNS)] + [SHARE]
    one.granary("replica", "group", "create", "vms", *members, "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())
    standby = two.group()
    points.point(standby["role"] == "standby" and standby["promotable"],
                 "the standby has a promotable image", standby)
    points.point("is standby here" in two.refused("replica", "switchover", "vms"),
                 "a standby does not switch over")
    naas = [[(v["name"], v["naa"]) for v in node.ask("volume", "list")
             if v["name"] in ("cut0", "cut1", "cut2")] for node in (one, two)]
    points.point(len(naas[0]) == LUNS and naas[0] == naas[1], "LUN identities travel", naas)


def write_until(points, primary, first, log, seconds):
    """Records from @first on, for so long; then the primary is killed."""
    load = primary.write(LUNS, first, log, primary.url(FILE))
    try:
        wait(lambda: os.path.exists(log) and os.path.getsize(log))
        time.sleep(seconds)
        primary.kill()
        errors = load.communicate(timeout=120)[1]
        if load.returncode:
            points.note(errors)
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()


def serves(node):
    return any(f"tank/{share['name']}" == SHARE and share["state"] == "online"
               for share in node.ask("share", "list"))


def acknowledged(log):
    with open(log, encoding="ascii") as file:
        return {int(n): float(t) for n, t in (line.split() for line in file)}


def fail_over(points, primary, standby, first, log, dice):
    """One kill. (good, m)"""
    write_until(points, primary, first, log, dice.uniform(0.3, 1.6))
    asked = time.time()
    shown = standby.group()
    lag, as_of = shown["lag_seconds"], shown["as_of_ms"] / 1000
    lag_good = asked - 5 < as_of + lag <= time.time()  # but for the time the answer took
    standby.granary("replica", "promote", "vms")
    wait(lambda: len(standby.ask("lun", "list", IQN)) == LUNS and serves(standby))
    good, said = standby.verify(LUNS, standby.url(FILE))
    if not good:
        points.note(f"after record {first - 1}: {said}")
        return False, 0
    newest, acks = int(said), acknowledged(log)
    lost = [t for n, t in acks.items() if n > newest]
    points.note(f"{len(acks)} acknowledged, the newest on the standby is {newest}, "
                f"{len(lost)} lost, lag shown {lag:.2f} s")
    if newest < first - 1 or not lag_good or any(t < as_of - 0.05 for t in lost):
        points.note(f"acknowledged {as_of - min(lost, default=as_of):.2f} s before the image's "
                    "time, and lost")
        return False, newest
    return True, newest


def come_back(old, new):
    """The old primary learns that it is none any more, and becomes the standby."""
    old.start()
    fenced = wait(lambda: old.group()["role"] == "fenced")
    if fenced:
        old.granary("replica", "demote", "vms", "--yes")
    return fenced and wait(lambda: sealed(new))


def test(points):
    dice = random.Random(20261121)
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            set_up(points, *nodes)
            primary, standby = nodes
            newest, good, back, kills = 0, True, True, 0
            while good and back and kills < KILLS:
                kills += 1
                log = os.path.join(top, f"log{kills}")
                good, newest = fail_over(points, primary, standby, newest + 1, log, dice)
                back = good and come_back(primary, standby)
                primary, standby = standby, primary
            points.point(good, f"{kills} of {KILLS} kills: what is promoted is a prefix of what "
                         "was written, as new as the lag says")
            points.point(back, "each time the old primary is fenced, demoted and filled up",
                         standby.group())
            before = primary.verify(LUNS, primary.url(FILE))
            primary.granary("replica", "switchover", "vms")
            primary, standby = standby, primary
            points.point(wait(lambda: primary.group()["role"] == "primary" and sealed(primary)),
                         "a planned switchover", primary.group())
            wait(lambda: serves(primary))
            after = primary.verify(LUNS, primary.url(FILE))
            points.point(before[0] and after == before, "loses nothing", (before, after))
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
