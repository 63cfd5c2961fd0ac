#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one asan
"""A node stops although others have called it and say no more: one that has only connected, some
whose handshake is half done, one that is through with it; and nothing of theirs is left behind."""

import os
import socket
import ssl
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

import tap                # pylint: disable=wrong-import-position
import tls_client         # pylint: disable=wrong-import-position
from replica import Node  # pylint: disable=wrong-import-position

HANDSHAKE = 10  # seconds a peer has for it


def stranger(top):
    """Who shows a certificate, as every node does."""
    tls_client.make_certificates(top)
    return tls_client.context(top, "pinned.pem", alpn=(), authority=None)


def half_done(context, node):
    """The node has answered its first flight, and waits for the second one."""
    sent, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(heard, sent).do_handshake()
    except ssl.SSLWantReadError:
        pass
    connection = socket.create_connection((node.server.address, node.repl), timeout=30)
    connection.sendall(sent.read())
    return connection, connection.recv(1)


def test(points):
    with tempfile.TemporaryDirectory() as top:
        node = Node(os.path.join(top, "state"))
        connections = []
        try:
            context = stranger(top)
            connections.append(socket.create_connection((node.server.address, node.repl)))
            for _ in range(3):
                connection, answer = half_done(context, node)
                points.point(answer, "the node shakes hands")
                connections.append(connection)
            through = context.wrap_socket(
                socket.create_connection((node.server.address, node.repl), timeout=30))
            connections.append(through)
            points.point(through.version() == "TLSv1.3", "or is through with it")
        finally:
            begun = time.monotonic()
            status = node.server.stop()
            took = time.monotonic() - begun
            if status:
                points.note(node.server.log()[-4000:])
            points.point(status == 0, "it stops cleanly")
            points.point(took < HANDSHAKE / 2, "and does not wait for them", f"{took:.1f} s")
            for connection in connections:
                connection.close()


if __name__ == "__main__":
    tap.run(test)
