#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""A share in a replication group: one node serves it at a time, the other's clients are told to
come again, files and rules travel, and what a node had open is never used again after the volume
has changed under it."""

import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc                         # pylint: disable=wrong-import-position
import tap                                       # pylint: disable=wrong-import-position
from replica import Node, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

SHARE = "tank/docs"
OK, STALE, JUKEBOX = 0, 70, 10008
KEPT = [("10.99.0.0/16", "tls"), ("127.0.0.1", "any"), ("cert:laptop.example", "mtls")]
AWAY = ("192.0.2.0/24", "198.51.100.0/24")  # one behind the other


class Client:
    """NFSv3 to one node."""

    def __init__(self, node):
        self.connection = rpc.Connection(node.nfs)
        self.nfs = rpc.Nfs3(self.connection)

    def root(self):
        status, handle = rpc.mount(self.connection, "/docs")
        return handle if status == OK else None

    def make(self, directory, name, data):
        made = self.nfs.create(directory, name, 1, mode=0o640)
        return made.status or self.nfs.write(made.handle, 0, data).status

    def read(self, directory, name):
        found = self.nfs.lookup(directory, name)
        return self.nfs.read(found.handle, 0, 1 << 16).data if found.status == OK else found.status

    def close(self):
        self.connection.close()


def state(node):
    shares = [s for s in node.ask("share", "list") if s["name"] == "docs"]
    return shares[0]["state"] if shares else "unknown"


def clients_of(node):
    """Clients of rules, and what connections they ask for."""
    return sorted((rule["client"], rule["security"])
                  for rule in node.ask("share", "rules", SHARE))


def set_up(points, one, two):
    for node in (one, two):
        node.granary("alert", "rule", "set", "share-unavailable", "--after", "1s")
    one.granary("share", "create", SHARE)
    one.granary("share", "allow", SHARE, "--client", "127.0.0.1", "--insecure", "--no-root-squash")
    for client in AWAY:
        one.granary("share", "allow", SHARE, "--client", client, "--ro")
    one.granary("share", "allow", SHARE, "--client", KEPT[0][0], "--sec", KEPT[0][1])
    one.granary("share", "allow", SHARE, "--client", KEPT[2][0])
    peer = pair(one, two)
    one.granary("replica", "group", "create", "vms", SHARE, "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "a share's volume is seeded", one.group())
    said = one.refused("share", "delete", SHARE, "--yes")
    points.point("can not be deleted" in said and state(one) == "online",
                 "a member is not deleted, and served on", said)


def hand_over(points, old, new, turn):
    """A planned switchover; the clients of the old one see no error but to come again."""
    client = Client(old)
    try:
        root = client.root()
        points.point(client.make(root, f"on {turn}", b"written on %d" % turn) == OK,
                     "files are made", turn)
        before = client.nfs.lookup(root, f"on {turn}").handle
        old.granary("replica", "switchover", "vms")
        points.point(wait(lambda: state(new) == "online") and wait(lambda: state(old) != "online"),
                     "after a switchover it is served there, and not here any more",
                     (state(old), state(new)))
        answer = client.nfs.getattr(before).status
        points.point(answer == JUKEBOX and client.root() is None,
                     "the clients here are told to come again", answer)
    finally:
        client.close()
    there = Client(new)
    try:
        points.point(there.read(root, f"on {turn}") == b"written on %d" % turn and
                     there.nfs.getattr(before).status == OK,
                     "handles are good there, and the file is as it was")
        points.point(wait(lambda: clients_of(new) == clients_of(old)), "the rules are the same",
                     (clients_of(old), clients_of(new)))
    finally:
        there.close()
    points.point(wait(lambda: sealed(new)), "and goes back as changes do", new.group())
    time.sleep(2.5)
    alerts = [a for a in old.ask("alert", "list") if a["rule"] == "share-unavailable"]
    points.point(not alerts, "a share that the other one serves is no alert", alerts)
    return root


def check(points, node, what):
    said = node.ask("share", "check", SHARE)
    points.point(not said["findings"], f"{what} is whole", said)


def crash(points, primary, standby, root):
    """The primary is killed and its share promoted; then it comes back, and gets it back."""
    client = Client(primary)
    points.point(client.make(root, "last", b"before the crash") == OK, "one more file")
    client.close()
    wait(lambda: primary.group()["lag_bytes"] == 0 and primary.group()["lag_seconds"] < 1)
    primary.kill()
    standby.granary("replica", "promote", "vms", "--yes")
    points.point(wait(lambda: state(standby) == "online"), "a promoted share is served",
                 state(standby))
    client = Client(standby)
    points.point(client.read(root, "last") == b"before the crash", "with what was sealed")
    client.make(root, "meanwhile", b"by the other one")
    client.close()
    for client in AWAY:
        standby.granary("share", "deny", SHARE, "--client", client)
    primary.start()
    points.point(wait(lambda: primary.group()["role"] == "fenced") and state(primary) != "online",
                 "who comes back does not serve it", (primary.group(), state(primary)))
    client = Client(primary)
    points.point(client.nfs.getattr(root).status == JUKEBOX, "its clients come again later")
    client.close()
    primary.granary("replica", "failback", "vms", "--yes")
    points.point(wait(lambda: state(primary) == "online") and wait(lambda: sealed(primary)),
                 "after a failback it does", (primary.group(), state(primary)))
    client = Client(primary)
    points.point(client.read(root, "meanwhile") == b"by the other one",
                 "and has what was written meanwhile")
    points.point(client.make(root, "at home", b"again") == OK, "and takes more")
    client.close()
    points.point(wait(lambda: clients_of(primary) == KEPT),
                 "rules that were taken away there are none here", clients_of(primary))
    check(points, primary, "what came back")


def busy(points, one, two):
    """Handed over to and fro while clients write."""
    client, made, turns = None, 0, 0
    for _ in range(4):
        one.granary("replica", "switchover", "vms")
        one, two = two, one
        wait(lambda: state(one) == "online" and sealed(one))
        client = Client(one)
        root = client.root()
        for number in range(50):
            made += client.make(root, f"turn {turns} {number}", os.urandom(20000)) == OK
        client.close()
        turns += 1
    points.point(made == 200, "to and fro", made)
    time.sleep(0.1)
    check(points, one, "what came of it")
    one.granary("replica", "group", "delete", "vms", "--yes")
    points.point(state(one) == "online", "it stays where it is when the group is deleted")


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two")]
            one, two = nodes
            set_up(points, one, two)
            root = hand_over(points, one, two, 1)
            hand_over(points, two, one, 2)
            check(points, one, "the share")
            crash(points, one, two, root)
            busy(points, one, two)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
