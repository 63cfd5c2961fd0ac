#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one
"""A start right behind a daemon that was killed: the kernel may still hold that one's pool file
and port until its last I/O is done. The new daemon waits for them, a while."""

import errno
import fcntl
import os
import socket
import struct
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

F_OFD_SETLK = 37
HELD = 1.0  # seconds


def hold_pool(state):
    """Locks the pool file as a dying daemon's open file would; closing the file lets go."""
    file = os.open(os.path.join(state, "tank.pool"), os.O_RDWR)
    fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    return lambda: os.close(file)


def hold_port(port):
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    held.listen()
    return held.close


def lun_state(server):
    return server.granary("target", "list") + server.granary("pool", "list")


def start_behind(points, state, port, let_go, what):
    timer = threading.Timer(HELD, let_go)
    timer.start()
    try:
        server = daemon.Server(state, port=port)
    except RuntimeError as error:
        points.point(False, what, str(error))
        return
    finally:
        timer.join()
    try:
        shown = lun_state(server)
        points.point("unavailable" not in shown and "online" in shown, what, shown)
        with socket.create_connection(("127.0.0.1", port), 60):
            points.point(True, f"{what}: the portal answers")
    finally:
        server.stop()


def held_for_good(points, state, port):
    """Not for ever: the daemon serves without the pool and says why."""
    let_go = hold_pool(state)
    try:
        server = daemon.Server(state, port=port)
        try:
            shown = server.granary("pool", "list")
            points.point("unavailable" in shown, "a pool held for good is shown as such", shown)
            points.point("open in another process" in server.log(), "and the log says why")
        finally:
            server.stop()
    finally:
        let_go()


def test(points):
    port = daemon.free_port()
    with tempfile.TemporaryDirectory() as state:
        daemon.Server(state, port=port).stop()
        start_behind(points, state, port, hold_pool(state), "the pool was still locked")
        start_behind(points, state, port, hold_port(port), "the port was still taken")
        held_for_good(points, state, port)
        try:
            hold_pool(state)()
            points.point(True, "a stopped daemon holds nothing")
        except OSError as error:
            points.point(error.errno not in (errno.EAGAIN, errno.EACCES),
                         "a stopped daemon holds nothing", str(error))


if __name__ == "__main__":
    tap.run(test)
