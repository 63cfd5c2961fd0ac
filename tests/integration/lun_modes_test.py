#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one
"""How a LUN is shown: read only and writable while a session uses it, the image of a disc as a
CD-ROM that a raw initiator reads, mode pages saved over kill -9."""

import json
import os
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client                      # pylint: disable=wrong-import-position
import server as daemon                  # pylint: disable=wrong-import-position
import tap                               # pylint: disable=wrong-import-position

IQN = "iqn.2026-11.org.granary:modes"
WRITE = struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0)
TEST_UNIT_READY = bytes(6)


def attach(server):
    connection = iscsi_client.Connection(server.address, server.port)
    connection.login(IQN)
    return connection


def settle(connection, lun):
    """Unit attentions off; the last sense before GOOD."""
    last = None
    for _ in range(10):
        result = connection.command(TEST_UNIT_READY, lun=lun)
        if result.status == 0:
            break
        last = result.key_asc_ascq
    return last


def read_only(points, server):
    with attach(server) as host:
        settle(host, 0)
        host.write(0, b"before".ljust(512, b"."))
        server.granary("lun", "set", IQN, "0", "--ro")
        points.point(settle(host, 0) == (6, 0x2A, 1), "a session hears that its LUN is read only")
        refused = host.command(WRITE, b"x" * 512)
        points.point(refused.key_asc_ascq == (7, 0x27, 0), "writes are refused",
                     str(refused.key_asc_ascq))
        points.point(host.read(0, 1).startswith(b"before"), "reads are not")
        listing = server.granary("lun", "list", IQN)
        points.point("yes" in listing, "lun list says so", listing)
        server.granary("lun", "set", IQN, "0", "--rw")
        settle(host, 0)
        host.write(0, b"after".ljust(512, b"."))
        points.point(host.read(0, 1).startswith(b"after"), "and back, without a new login")


def cdrom(points, server):
    with attach(server) as host:
        settle(host, 0)
        settle(host, 1)
        for block in range(16):
            host.write(block * 4, bytes([block]) * 2048, lun=1)
    server.granary("lun", "unmap", IQN, "1")
    server.granary("lun", "map", IQN, "tank/disc", "--lun", "1", "--cdrom")
    with attach(server) as host:
        settle(host, 1)
        inquiry = host.command([0x12, 0, 0, 0, 36], expected=36, lun=1).data
        points.point(inquiry[0] == 5 and inquiry[1] == 0x80, "the disc is a CD-ROM")
        capacity = struct.unpack(">II", host.command([0x25] + [0] * 9, expected=8, lun=1).data)
        points.point(capacity == ((16 << 20) // 2048 - 1, 2048), "in blocks of 2048 bytes",
                     str(capacity))
        read = host.command(struct.pack(">BBIBHB", 0x28, 0, 3, 0, 2, 0), expected=4096, lun=1)
        points.point(read.data == b"\3" * 2048 + b"\4" * 2048, "and reads as it was written",
                     (read.status, read.status and read.key_asc_ascq, read.data[::512]))
        refused = host.command(WRITE, b"x" * 512, lun=1)
        points.point(refused.key_asc_ascq == (5, 0x20, 0), "there is no command that writes it")
    try:
        server.granary("lun", "set", IQN, "1", "--rw")
        points.point(False, "a CD-ROM can not be made writable")
    except RuntimeError as error:
        points.point("always read only" in str(error), "a CD-ROM can not be made writable")


def caching_page(host, control):
    cdb = [0x5A, 8, control << 6 | 8, 0, 0, 0, 0, 0, 64, 0]
    return host.command(cdb, expected=64).data[8:]


def save_write_cache_off(points, server):
    with attach(server) as host:
        settle(host, 0)
        page = bytearray(caching_page(host, 0))
        points.point(page[0] == 0x88 and page[2] & 4, "the caching page can be saved; WCE is set")
        page[0] &= 0x7F
        page[2] &= ~4
        parameters = bytes(8) + bytes(page)
        result = host.command([0x55, 0x11, 0, 0, 0, 0, 0, 0, len(parameters), 0], parameters)
        points.point(result.status == 0, "MODE SELECT with SP", str(result.key_asc_ascq))
        points.point(not caching_page(host, 3)[2] & 4, "the saved value is the new one")


def switch_write_cache(points, server):
    """The administrator's switch: every session hears, MODE SENSE says so, it is saved."""
    with attach(server) as host:
        settle(host, 0)
        server.granary("lun", "set", IQN, "0", "--write-cache", "off")
        points.point(settle(host, 0) == (6, 0x2A, 1), "the write cache is switched off: 2A/01")
        points.point(not caching_page(host, 0)[2] & 4 and not caching_page(host, 3)[2] & 4,
                     "WCE is off, and saved so")
        shown = json.loads(server.granary("lun", "list", IQN, "-o", "json"))
        points.point([one["write_cache"] for one in shown if one["lun"] in (0, 1)] ==
                     [False, False], "lun list shows that it is off", shown)
        server.granary("lun", "set", IQN, "0", "--write-cache", "off")
        points.point(settle(host, 0) is None, "nothing new is no news")
        host.write(8, b"durable".ljust(512, b"."))
        answer = server.granary("lun", "set", IQN, "0", "--write-cache", "on", "--rw")
        points.point("writable; its write cache is on" in answer and
                     settle(host, 0) == (6, 0x2A, 1) and caching_page(host, 0)[2] & 4 and
                     caching_page(host, 3)[2] & 4, "and on again", answer)
        shown = json.loads(server.granary("lun", "list", IQN, "-o", "json"))
        points.point([one["write_cache"] for one in shown if one["lun"] in (0, 1)] ==
                     [True, False], "the CD-ROM has none", shown)
    for words in (("0",), ("0", "--write-cache", "perhaps"), ("1", "--write-cache", "off")):
        try:
            server.granary("lun", "set", IQN, *words)
            points.point(False, f"refused: lun set {' '.join(words)}")
        except RuntimeError as error:
            points.point("--write-cache on or off" in str(error) or "CD-ROM" in str(error),
                         f"refused: lun set {' '.join(words)}", error)


def saved_is_back(points, server):
    with attach(server) as host:
        settle(host, 0)
        points.point(not caching_page(host, 0)[2] & 4 and not caching_page(host, 3)[2] & 4,
                     "what was saved is there after kill -9")
        points.point(caching_page(host, 2)[2] & 4, "the default is what it was")
        inquiry = host.command([0x12, 0, 0, 0, 36], expected=36, lun=1).data
        points.point(inquiry[0] == 5, "the CD-ROM is one again")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-modes-") as folder:
        server = daemon.Server(os.path.join(folder, "state"))
        try:
            server.granary("target", "create", IQN)
            server.granary("target", "allow", IQN, "--network", "127.0.0.0/8")
            for name, size in (("disk", "64M"), ("disc", "16M")):
                server.granary("volume", "create", f"tank/{name}", size)
                server.granary("lun", "map", IQN, f"tank/{name}")
            read_only(points, server)
            cdrom(points, server)
            switch_write_cache(points, server)
            save_write_cache_off(points, server)
            server.process.kill()
            server.process.wait()
            server = daemon.Server(server.state, port=server.port)
            saved_is_back(points, server)
        finally:
            points.point(server.stop() == 0, "the daemon stops cleanly")


if __name__ == "__main__":
    tap.run(test)
