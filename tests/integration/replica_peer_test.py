#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one
"""Two paired daemons and a third: a node that moves is called at its new address without being
paired anew, by who serves and by who stands by; another machine there is refused."""

import os
import socket
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon                                    # pylint: disable=wrong-import-position
import tap                                                 # pylint: disable=wrong-import-position
from replica import Node, make_luns, pair, sealed, stop_all, wait  # pylint: disable=wrong-import-position

MEMBER = "tank/cut0"
WRONG = "the certificate there is not the one of the paired node"


class Forward:
    """A port that leads to another one, and counts who came."""

    def __init__(self, port):
        self.to, self.count = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                one, _ = self.listener.accept()
                two = socket.create_connection(("127.0.0.1", self.to), 10)
            except OSError:
                return
            self.count += 1
            for source, sink in ((one, two), (two, one)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def carry(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def peer_of(node, port):
    return next(peer for peer in node.ask("replica", "peers") if peer["port"] == port)


def move(node):
    """It stops, and is on another port from then on."""
    node.server.stop()
    node.repl = daemon.free_port()
    node.start()


def put(node, peer, address):
    return node.granary("replica", "peer", "set", peer, "--address", address)


def seeded(points, one, two):
    peer = pair(one, two)
    make_luns(one, MEMBER)
    one.granary("replica", "group", "create", "vms", MEMBER, "--peer", peer, "--rpo", "1s")
    points.point(wait(lambda: sealed(one)), "the group is seeded", one.group())
    return peer


def refusals(points, one, peer):
    before = one.ask("replica", "peers")
    for words, text in (((peer, "--address", "127.0.0.1:0"), "HOST or HOST:PORT"),
                        ((peer, "--address", "127.0.0.1:70000"), "HOST or HOST:PORT"),
                        ((peer, "--address", ""), "HOST or HOST:PORT"),
                        ((peer,), "peer set NODE --address"),
                        (("nobody", "--address", "127.0.0.1"), "no node nobody is paired")):
        said = one.refused("replica", "peer", "set", *words)
        points.point(text in said, f"refused: {' '.join(words[1:]) or 'no address'}, "
                     f"{words[0][:6]}", said)
    points.point(one.ask("replica", "peers") == before, "and nothing has changed",
                 one.ask("replica", "peers"))


def running(points, one, two, peer):
    """The session that is there ends, and goes on at the new address."""
    forward = Forward(two.repl)
    epoch = one.group()["sealed_epoch"]
    said = put(one, peer, f"127.0.0.1:{forward.port}")
    points.point(str(forward.port) in said, "a node's address is changed", said)
    points.point(wait(lambda: forward.count > 0 and sealed(one), 20),
                 "a group that was connected connects there", one.group())
    points.point(one.group()["sealed_epoch"] >= epoch, "with what was sealed", one.group())
    came = forward.count
    put(one, peer, f"127.0.0.1:{forward.port}")
    points.point(sealed(one) and forward.count == came, "the same address again changes nothing",
                 one.group())
    put(one, peer, f"127.0.0.1:{two.repl}")
    points.point(wait(lambda: sealed(one), 20) and forward.count == came, "and back",
                 (forward.count, came, one.group()))
    forward.close()


def moved(points, one, two, third, peer):
    """The standby is on another port; what is at its old one, and at one more, is not it."""
    move(two)
    put(one, peer, f"localhost:{third.repl}")
    points.point(wait(lambda: one.group()["reason"] == WRONG, 30),
                 "another machine at the new address is refused", one.group())
    points.point(not one.group()["state"] == "streaming", "there is no session with it", one.group())
    put(one, peer, f"127.0.0.1:{two.repl}")
    points.point(wait(lambda: sealed(one), 30), "the node is found where it is", one.group())
    one.server.stop()
    one.start()
    points.point(peer_of(one, two.repl)["uuid"] == peer and wait(lambda: sealed(one), 30),
                 "also after a restart", (one.ask("replica", "peers"), one.group()))
    put(one, peer, "localhost")
    points.point(peer_of(one, two.repl)["address"] == "localhost" and
                 wait(lambda: sealed(one), 30), "an address without a port leaves it",
                 one.ask("replica", "peers"))


def other_side(points, one, two):
    """The primary moves, and its standby takes over: it calls it at the address that it was told."""
    back = two.ask("replica", "peers")[0]
    move(one)
    points.point(wait(lambda: sealed(one), 30), "the primary calls from where it is now",
                 one.group())
    said = put(two, back["uuid"], f"127.0.0.1:{one.repl}")
    points.point(str(one.repl) in said and wait(lambda: sealed(one), 30),
                 "a standby is told where its primary is", said)
    one.granary("replica", "switchover", "vms")
    points.point(wait(lambda: two.group()["role"] == "primary" and sealed(two), 30),
                 "and calls it there when it has taken over", (one.group(), two.group()))


def written_down(points, one):
    entries = [entry for entry in one.ask("audit", "list")
               if entry["path"].startswith("/api/v1/replica/peers/")]
    points.point(any(entry["method"] == "PATCH" and entry["status"] == 200 for entry in entries),
                 "it is in the audit log", entries)


def test(points):
    with tempfile.TemporaryDirectory() as top:
        nodes = []
        try:
            nodes = [Node(os.path.join(top, name)) for name in ("one", "two", "third")]
            one, two, third = nodes
            peer = seeded(points, one, two)
            refusals(points, one, peer)
            running(points, one, two, peer)
            moved(points, one, two, third, peer)
            other_side(points, one, two)
            written_down(points, one)
        finally:
            stop_all(points, nodes)


if __name__ == "__main__":
    tap.run(test)
