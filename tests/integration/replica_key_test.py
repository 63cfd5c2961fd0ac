#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one
"""A node gets a new key pair while its group goes on: the old one is shown until every paired node
has confirmed, also across kill -9; each of them takes both until it sees the new one, and the old
one not any more then."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                                 # pylint: disable=wrong-import-position
from replica import Node, pair, query, sealed, stop_all, wait  # pylint: disable=wrong-import-position

MEMBER = "tank/cut0"


def uuid_of(node):
    return query(node, "select uuid from self")[0]


def pinned(node, other):
    """What it has pinned of the other one: the certificate, and the next one or ''."""
    return query(node, "select fingerprint, next_fingerprint from peer where uuid = ?",
                 uuid_of(other))


def key(node):
    return node.ask("replica", "key")


def seeded(points, one, two, third):
    peer = pair(one, two)
    pair(one, third)
    one.granary("volume", "create", MEMBER, "16M")
    one.granary("replica", "group", "create", "vms", MEMBER, "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())
    shown = key(one)
    points.point(shown["state"] == "settled" and shown["next_fingerprint"] == "" and
                 pinned(two, one) == (shown["fingerprint"], ""),
                 "the key that is shown is the pinned one", (shown, pinned(two, one)))
    said = one.refused("replica", "key", "cancel")
    points.point("no new key is under way" in said, "there is nothing to cancel", said)


def waits(points, one, two, third):
    """One of two paired nodes is away."""
    old = key(one)["fingerprint"]
    third.kill()
    one.granary("replica", "key", "renew")
    shown = wait(lambda: len(key(one)["waiting"]) == 1 and key(one)["waiting"][0]["reason"] and
                 key(one))
    points.point(shown and shown["waiting"][0]["uuid"] == uuid_of(third) and
                 shown["state"] == "changing" and shown["fingerprint"] == old,
                 "who does not answer is waited for", key(one))
    new = shown["next_fingerprint"]
    points.point(new not in ("", old) and pinned(two, one) == (old, new),
                 "who does takes both", (shown, pinned(two, one)))
    said = one.refused("replica", "key", "renew")
    points.point("under way" in said, "one at a time", said)
    one.kill()
    one.start()
    points.point(wait(lambda: sealed(one)), "after kill -9 the group goes on with the old key",
                 one.group())
    points.point(wait(lambda: len(key(one)["waiting"]) == 1) and key(one)["fingerprint"] == old and
                 key(one)["next_fingerprint"] == new and pinned(two, one) == (old, new),
                 "and the same new one is told again", key(one))
    two.kill()
    two.start()
    points.point(wait(lambda: sealed(one)) and pinned(two, one) == (old, new),
                 "the other node has not forgotten it either", pinned(two, one))
    before = query(one, "select key, certificate from self")
    third.start()
    points.point(wait(lambda: key(one)["state"] == "settled") and key(one)["fingerprint"] == new,
                 "the new key is taken when all have confirmed", key(one))
    for node, name in ((two, "the standby"), (third, "the other one")):
        points.point(wait(lambda node=node: pinned(node, one) == (new, "")),
                     f"{name} has seen it, and forgets the old one", pinned(node, one))
    points.point(query(one, "select next_key, next_certificate from self") == ("", ""),
                 "nothing is left of it", "")
    points.point(sealed(one), "the group has not noticed", one.group())
    return before


def old_one(points, one, before):
    """Whoever has a copy of the old key."""
    one.server.stop()
    now = query(one, "select key, certificate from self")
    query(one, "update self set key = ?, certificate = ?", *before)
    one.start()
    points.point(wait(lambda: "not paired" in one.group()["reason"], 20),
                 "the old key is refused", one.group())
    one.server.stop()
    query(one, "update self set key = ?, certificate = ?", *now)
    one.start()
    points.point(wait(lambda: sealed(one), 20), "the new one is not", one.group())


def cut_short(points, one, two):
    """The power went when the new key was this node's, and a peer had not seen it."""
    two.server.stop()
    shown = key(one)["fingerprint"]
    query(two, "update peer set fingerprint = ?, next_fingerprint = ? where uuid = ?", "ab" * 32,
          shown, uuid_of(one))
    two.start()
    points.point(wait(lambda: sealed(one), 20) and pinned(two, one) == (shown, ""),
                 "the next connection tells", (one.group(), pinned(two, one)))


def cancelled(points, one, two, third):
    old = key(one)["fingerprint"]
    third.kill()
    one.granary("replica", "key", "renew")
    wait(lambda: len(key(one)["waiting"]) == 1)
    given_up = key(one)["next_fingerprint"]
    one.granary("replica", "key", "cancel")
    shown = key(one)
    points.point(shown["state"] == "settled" and shown["fingerprint"] == old and
                 not shown["next_fingerprint"] and not shown["waiting"], "cancelled", shown)
    third.start()
    one.server.stop()
    one.start()
    points.point(wait(lambda: sealed(one), 20) and key(one) == shown,
                 "the old key goes on", (one.group(), key(one)))
    one.granary("replica", "key", "renew")
    points.point(wait(lambda: key(one)["state"] == "settled") and
                 key(one)["fingerprint"] not in (old, given_up), "another one is begun with",
                 key(one))
    points.point(wait(lambda: pinned(two, one) == (key(one)["fingerprint"], "")),
                 "which takes the place of the one that was given up", pinned(two, one))


def by_standby(points, one, two):
    old = key(two)["fingerprint"]
    two.granary("replica", "key", "renew")
    points.point(wait(lambda: key(two)["state"] == "settled") and key(two)["fingerprint"] != old and
                 wait(lambda: pinned(one, two) == (key(two)["fingerprint"], "")),
                 "a standby gets a new key", (key(two), pinned(one, two)))
    two.server.stop()
    two.start()
    points.point(wait(lambda: sealed(one), 20), "and is called", one.group())
    entries = [entry["method"] for entry in one.ask("audit", "list")
               if entry["path"].startswith("/api/v1/replica/key")]
    points.point("POST" in entries and "DELETE" in entries, "it is in the audit log", entries)


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two", "third")]
            one, two, third = nodes
            seeded(points, one, two, third)
            before = waits(points, one, two, third)
            old_one(points, one, before)
            cut_short(points, one, two)
            cancelled(points, one, two, third)
            by_standby(points, one, two)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
