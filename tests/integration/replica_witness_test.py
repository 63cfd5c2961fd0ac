#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=400 engines=one
"""Three daemons: two with a group, and a witness that grants its lease. A primary that is killed is
followed by its standby without anybody's help; one that has neither its witness nor its standby
answers no guest; a witness that is away, or starts again, changes nothing while the two have each
other."""

import json
import os
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                             # pylint: disable=wrong-import-position
from replica import Node, end, make_luns, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

MEMBER = "tank/cut0"
LEASE = 5


def lines(log):
    try:
        with open(log, "rb") as file:
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


def witness_of(node):
    return node.group()["witness"]


def set_up(points, one, two, third):
    peer, witness = pair(one, two), pair(one, third)
    make_luns(one, MEMBER)
    one.granary("replica", "group", "create", "vms", MEMBER, "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())
    points.point(witness_of(one)["state"] == "off", "no lease is asked for", one.group())
    turn_on = ("replica", "group", "witness", "vms")
    for words, text in (((*turn_on, peer), "a witness is a third one"),
                        ((*turn_on, "nobody"), "no node nobody is paired"),
                        ((*turn_on, witness, "--lease", "1s"), "5 seconds to 5 minutes"),
                        ((*turn_on, witness, "--lease", "soon"), "soon")):
        said = one.refused(*words)
        points.point(text in said, f"refused: {' '.join(words[4:])[:30]}", said)
    said = two.refused(*turn_on, witness)
    points.point("on its primary" in said, "a standby's witness is its primary's", said)
    third.kill()
    said = one.refused(*turn_on, witness, "--lease", f"{LEASE}s")
    points.point(said and witness_of(one)["state"] == "off",
                 "a witness that is away is not taken", said)
    third.start()
    wait(lambda: one.refused(*turn_on, witness, "--lease", f"{LEASE}s") == "", 30)
    points.point(witness_of(one)["state"] == "held", "the primary has its lease", one.group())
    leases = third.ask("replica", "leases")
    points.point(len(leases) == 1 and leases[0]["seconds"] == LEASE and
                 0 < leases[0]["left_seconds"] <= LEASE, "the witness says so", leases)
    points.point(wait(lambda: "witness" in two.group()["alarms"], 40) and
                 "not paired" in witness_of(two)["reason"],
                 "a standby that is not paired with it says so", two.group())
    pair(two, third)
    points.point(wait(lambda: witness_of(two)["answers"] and not two.group()["alarms"]),
                 "until it is", two.group())
    points.point(wait(lambda: witness_of(one)["standby_ready"]), "the primary knows", one.group())
    for words, text in ((("replica", "unpair", witness), "is the witness of group vms"),
                        (("replica", "group", "delete", "vms", "--yes"), "turn its witness off"),
                        ((*turn_on, witness), "turn it off first")):
        said = one.refused(*words)
        points.point(text in said, f"refused meanwhile: {' '.join(words[1:3])}", said)
    return witness


def goes_on(points, one, away, log, text):
    """For longer than a lease."""
    away.kill()
    time.sleep(LEASE + 3)
    begun = lines(log)
    points.point(wait(lambda: lines(log) > begun + 20) and witness_of(one)["state"] == "held", text,
                 one.group())


def witness_away(points, one, third, log):
    """The standby's promise is enough."""
    load = one.write(1, lines(log) + 1, log)
    try:
        goes_on(points, one, third, log, "guests go on without a witness, for the standby is there")
        points.point(wait(lambda: "witness" in one.group()["alarms"]), "there is an alarm",
                     one.group())
        third.start()
        points.point(wait(lambda: not one.group()["alarms"]), "until it is back", one.group())
    finally:
        end(load)


def standby_away(points, one, two, log):
    """The witness's lease is enough."""
    load = one.write(1, lines(log) + 1, log)
    try:
        goes_on(points, one, two, log, "guests go on without a standby, for the witness is there")
        two.start()
        points.point(wait(lambda: sealed(one) and witness_of(one)["standby_promises"]),
                     "the standby catches up", one.group())
    finally:
        end(load)


def alone(points, one, two, third, log):
    """Neither of them."""
    load = one.write(1, lines(log) + 1, log)
    try:
        two.kill()
        third.kill()
        group = wait(lambda: (witness_of(one)["state"] == "waiting" and
                              "lease" in one.group()["alarms"] and one.group()), 60)
        begun = lines(log)
        points.point(group and wait(lambda: witness_of(one)["waiting"] > 0), "a primary alone "
                     "lets its guests wait", one.group())
        time.sleep(3)
        points.point(lines(log) == begun, "none is answered", (begun, lines(log)))
        third.start()
        points.point(wait(lambda: lines(log) > begun + 20), "with its witness it goes on",
                     one.group())
        two.start()
        points.point(wait(lambda: sealed(one) and not one.group()["alarms"]), "all is well again",
                     one.group())
    finally:
        end(load)


def take_over(points, one, two, third, log):
    """kill -9 of the primary, under load."""
    load = one.write(1, lines(log) + 1, log)
    try:
        points.point(wait(lambda: lines(log) > 200), "a guest writes")
    finally:
        one.kill()
        end(load)
    begun = time.monotonic()
    points.point(wait(lambda: two.group()["role"] == "primary" and
                      witness_of(two)["state"] == "held", 60),
                 "the standby is promoted, and nobody did it", two.group())
    points.point(time.monotonic() - begun > LEASE / 2, "not before the lease was over",
                 time.monotonic() - begun)
    group = wait(lambda: "promoted" in two.group()["alarms"] and two.group())
    points.point(group and group["promoted"]["epoch"] > 0 and
                 group["promoted"]["lost_bytes"] >= 0, "it says as of when", two.group())
    points.point(any(row["method"] == "PROMOTE" and "vms" in row["path"]
                     for row in two.ask("audit", "list")), "the audit log has it")
    points.point(wait(lambda: any(row["rule"] == "replica-promoted"
                                  for row in two.ask("alert", "list"))), "an alert says so")
    good, said = two.verify(1)
    points.point(good, "its image is a prefix of what was written", said)
    points.point(third.ask("replica", "leases")[0]["left_seconds"] > 0, "it has the lease")


def comes_back(points, one, two):
    one.start()
    points.point(wait(lambda: one.group()["role"] == "fenced"), "the old primary finds out",
                 one.group())
    one.granary("replica", "demote", "vms", "--yes")
    points.point(wait(lambda: sealed(two) and not two.group()["alarms"]),
                 "and becomes the standby", two.group())
    begun = time.monotonic()
    two.granary("replica", "switchover", "vms")
    points.point(wait(lambda: witness_of(one)["state"] == "held") and
                 one.group()["role"] == "primary" and time.monotonic() - begun < LEASE,
                 "a switchover takes the lease along, without its time being waited for",
                 (time.monotonic() - begun, one.group()))
    points.point(wait(lambda: sealed(one)), "and back", one.group())


def off(points, one, two, third):
    third.kill()
    said = one.refused("replica", "group", "witness", "vms", "off")
    points.point("force" in said and witness_of(one)["state"] != "off",
                 "it is not turned off without the witness", said)
    third.start()
    points.point(wait(lambda: witness_of(one)["answers"]), "with it", one.group())
    one.granary("replica", "group", "witness", "vms", "off")
    points.point(witness_of(one)["state"] == "off" and third.ask("replica", "leases")[0]["off"],
                 "it is", third.ask("replica", "leases"))
    points.point(wait(lambda: witness_of(two)["state"] == "off"), "on the standby too",
                 two.group())
    one.kill()
    time.sleep(2 * LEASE)
    points.point(two.group()["role"] == "standby", "a standby stays one then", two.group())
    one.start()
    points.point(wait(lambda: sealed(one)), "and its primary comes again", one.group())


def forced(points, one, third, witness):
    one.granary("replica", "group", "witness", "vms", witness, "--lease", f"{LEASE}s")
    third.kill()
    said = one.refused("replica", "group", "witness", "vms", "off", "--force")
    points.point("--yes" in said, "it is asked first", said)
    one.granary("replica", "group", "witness", "vms", "off", "--force", "--yes")
    points.point(witness_of(one)["state"] == "off", "forced", one.group())


def unavailable(points, one, witness, third):
    """A group with a lease that can not start serves nobody."""
    third.start()
    wait(lambda: one.refused("replica", "group", "witness", "vms", witness, "--lease",
                             f"{LEASE}s") == "", 60)
    points.point(wait(lambda: witness_of(one)["state"] == "held"), "on again", one.group())
    one.kill()
    with sqlite3.connect(os.path.join(one.state, "replication.db")) as db:
        definition = json.loads(db.execute("select definition from grp").fetchone()[0])
        definition["members"].append(dict(definition["members"][0], index=1, uuid="9" * 32,
                                          name="gone"))
        db.execute("update grp set definition = ?", (json.dumps(definition),))
    db.close()
    one.start()
    points.point(one.group()["state"] == "unavailable", "a member is missing", one.group())
    points.point(wait(lambda: not one.verify(1)[0]), "the others' guests are refused",
                 one.verify(1))


def test(points):
    with tempfile.TemporaryDirectory() as top:
        log = os.path.join(top, "log")
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two", "third")]
            one, two, third = nodes
            witness = set_up(points, one, two, third)
            witness_away(points, one, third, log)
            standby_away(points, one, two, log)
            alone(points, one, two, third, log)
            take_over(points, one, two, third, log)
            comes_back(points, one, two)
            off(points, one, two, third)
            forced(points, one, third, witness)
            unavailable(points, one, witness, third)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
