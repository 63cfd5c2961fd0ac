#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""SANITIZE on a native volume: nothing of what was written is on the pool's device afterwards, also
when the daemon was killed in between; a volume with a snapshot is refused."""

import json
import os
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "guest"), HERE]

from iscsi_client import Connection  # pylint: disable=wrong-import-position
import server as daemon              # pylint: disable=wrong-import-position
import tap                           # pylint: disable=wrong-import-position

IQN = "iqn.2026-11.org.granary:sanitize"
SECRET = b"granary-secret-of-LUN-%d:"
BLOCK_ERASE, OVERWRITE, IMMED = 0x02, 0x01, 0x80
IN_PROGRESS = (2, 0x04, 0x1B)
SLOW = 1  # the LUN of a volume with a limit
SLOWLY = "256K"  # half a minute for what is on it, however busy the machine is


def secret(lun, megabytes):
    word = SECRET % lun
    return (word * (4096 // len(word) + 1))[:4096] * (megabytes << 8)


def sanitize(connection, lun, action, parameters=b""):
    cdb = struct.pack(">BB5xHx", 0x48, action, len(parameters))
    return connection.command(cdb, parameters, lun=lun)


def ready(connection, lun):
    """TEST UNIT READY's sense, past unit attentions; None: GOOD."""
    for _ in range(10):
        result = connection.command(bytes(6), lun=lun)
        if result.status == 0:
            return None
        if result.key_asc_ascq[0] != 6:
            break
    return result.key_asc_ascq


def connect(server, luns):
    connection = Connection(server.address, server.port)
    connection.login(IQN)
    for lun in luns:
        ready(connection, lun)
    return connection


def data_of(file):
    """The parts of a sparse file that are there."""
    end = 0
    while True:
        try:
            begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # nothing more
            return
        end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
        for at in range(begin, end, 1 << 24):
            yield os.pread(file.fileno(), min(1 << 24, end - at), at)


def on_medium(state, word):
    """Is @word anywhere in the pool's file? It stands in every slot more than once."""
    paths = [os.path.join(path, name) for path, _, names in os.walk(state) for name in names
             if os.path.getsize(os.path.join(path, name)) > 64 << 20]
    assert paths
    for path in paths:
        with open(path, "rb") as file:
            if any(word in part for part in data_of(file)):
                return True
    return False


def fill(connection, lun, megabytes):
    data = secret(lun, 1)
    for number in range(megabytes):
        connection.write(4096 * number, data, lun=lun)
    connection.command(bytes([0x35]) + bytes(9), lun=lun)


def erased(points, server, state):
    with connect(server, [0]) as connection:
        fill(connection, 0, 4)
        points.point(on_medium(state, SECRET % 0), "what is written is on the medium")
        result = sanitize(connection, 0, BLOCK_ERASE)
        points.point(result.status == 0, "BLOCK ERASE", result.key_asc_ascq)
        points.point(connection.read(0, 64) == bytes(64 * 512), "reads as zeros")
        points.point(not on_medium(state, SECRET % 0), "nothing of it is on the medium")
        fill(connection, 0, 2)
        result = sanitize(connection, 0, OVERWRITE, struct.pack(">BBH", 0x82, 0, 4) + b"abcd")
        points.point(result.status == 0, "OVERWRITE, twice, inverted", result.key_asc_ascq)
        points.point(connection.read(0, 64) == b"abcd" * 8192, "leaves the pattern")
        points.point(not on_medium(state, SECRET % 0), "nothing of it is on the medium")


def refused(points, server):
    server.granary("snapshot", "create", "tank/first@kept")
    with connect(server, [0]) as connection:
        result = sanitize(connection, 0, BLOCK_ERASE)
        points.point(result.key_asc_ascq == (5, 0x2C, 0), "a volume with a snapshot is refused",
                     result.key_asc_ascq)
        points.point(connection.read(0, 1) == b"abcd" * 128, "and is as it was")
        server.granary("snapshot", "delete", "tank/first@kept", "--yes")
        limit = time.monotonic() + 60
        while time.monotonic() < limit:  # its space comes back in the background
            result = sanitize(connection, 0, BLOCK_ERASE)
            if result.status == 0:
                break
            time.sleep(0.1)
        points.point(result.status == 0, "without it, it is not", result.key_asc_ascq)


def killed(points, server, state, command):
    with connect(server, [SLOW]) as connection:
        fill(connection, SLOW, 8)
        server.granary("volume", "set", "tank/slow", "--bandwidth", SLOWLY)
        result = sanitize(connection, SLOW, BLOCK_ERASE | IMMED)
        points.point(result.status == 0, "BLOCK ERASE with IMMED", result.key_asc_ascq)
        points.point(ready(connection, SLOW) == IN_PROGRESS, "it is in progress")
        time.sleep(1)
    points.point(on_medium(state, SECRET % SLOW), "there is something left to be done")
    server.process.kill()
    server.process.wait()
    server.start(command)
    with connect(server, []) as connection:
        points.point(ready(connection, SLOW) == IN_PROGRESS, "it goes on after kill -9")
        sense = connection.command(struct.pack(">BBHBB", 3, 0, 0, 18, 0), expected=18, lun=SLOW)
        points.point(sense.data[2:3] == b"\2" and sense.data[15:16] == b"\x80",
                     "REQUEST SENSE tells how far it is", sense.data)
        server.granary("volume", "set", "tank/slow", "--bandwidth", "0")
        limit = time.monotonic() + 90
        while ready(connection, SLOW) and time.monotonic() < limit:
            time.sleep(0.1)
        points.point(ready(connection, SLOW) is None, "it ends")
        points.point(connection.read(0, 64, lun=SLOW) == bytes(64 * 512), "reads as zeros")
        points.point(not on_medium(state, SECRET % SLOW), "nothing is left on the medium")
        connection.write(0, b"n" * 4096, lun=SLOW)
    server.stop()
    server.start(command)
    with connect(server, [SLOW]) as connection:
        points.point(connection.read(0, 8, lun=SLOW) == b"n" * 4096,
                     "what is written later stays, over a restart")


def imported(points, server):
    """Its pool is given away and comes back: what was to be erased then is not erased now."""
    with connect(server, [SLOW]) as connection:
        fill(connection, SLOW, 8)
        server.granary("volume", "set", "tank/slow", "--bandwidth", SLOWLY)
        result = sanitize(connection, SLOW, BLOCK_ERASE | IMMED)
        points.point(result.status == 0 and ready(connection, SLOW) == IN_PROGRESS,
                     "another one is in progress", result.key_asc_ascq)
    for lun in (0, SLOW):
        server.granary("lun", "unmap", IQN, str(lun))
    for target in json.loads(server.granary("target", "list", "-o", "json")):
        for lun in json.loads(server.granary("lun", "list", target["iqn"], "-o", "json")):
            server.granary("lun", "unmap", target["iqn"], str(lun["lun"]))
    for share in json.loads(server.granary("share", "list", "-o", "json")):
        server.granary("share", "delete", f"tank/{share['name']}", "--yes")
    path = json.loads(server.granary("pool", "show", "tank", "-o", "json"))["devices"][0]
    server.granary("pool", "export", "tank")
    server.granary("pool", "import", path if isinstance(path, str) else path["path"])
    server.granary("volume", "set", "tank/slow", "--bandwidth", "0")
    server.granary("lun", "map", IQN, "tank/slow", "--lun", str(SLOW))
    with connect(server, []) as connection:
        points.point(ready(connection, SLOW) == (3, 0x31, 3),
                     "after an import it has failed, and does not go on", ready(connection, SLOW))


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state)
        command = server.process.args
        try:
            server.granary("target", "create", IQN)
            server.granary("target", "allow", IQN, "--initiator", "any",
                           "--network", "127.0.0.0/8")
            for lun, name in enumerate(("first", "slow")):
                server.granary("volume", "create", f"tank/{name}", "64M")
                server.granary("lun", "map", IQN, f"tank/{name}", "--lun", str(lun))
            erased(points, server, state)
            refused(points, server)
            killed(points, server, state, command)
            imported(points, server)
        finally:
            status = server.stop()
            log = server.log()
        points.point(status == 0, "clean stop", f"exit status {status}\n{log[-3000:]}")


if __name__ == "__main__":
    tap.run(test)
