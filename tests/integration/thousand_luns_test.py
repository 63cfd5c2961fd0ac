#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=one
"""A thousand volumes as a thousand LUNs of one target: start, REPORT LUNS, memory."""

import os
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

COUNT = 1000
IQN = "iqn.2026-11.org.granary:thousand"
START_MAX = 3.0  # seconds


def make_all(server):
    server.granary("target", "create", IQN)
    server.granary("target", "allow", IQN, "--initiator", "any", "--network", "127.0.0.0/8")
    for number in range(COUNT):
        server.granary("volume", "create", f"tank/v{number:04}", "1G")
        server.granary("lun", "map", IQN, f"tank/v{number:04}", "--lun", str(number))


def report_luns(client):
    """The LUN list, decoded."""
    cdb = struct.pack(">BBB3xIBB", 0xA0, 0, 0, 65536, 0, 0)
    result = client.command(cdb, expected=65536)
    length = struct.unpack(">I", result.data[:4])[0]
    raw = result.data[8:8 + length]
    return [struct.unpack(">H", raw[i:i + 2])[0] & 0x3FFF for i in range(0, len(raw), 8)]


def rss(server):
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state)
        try:
            started = time.monotonic()
            make_all(server)
            points.note(f"{COUNT} volumes made and mapped in {time.monotonic() - started:.1f} s")
        finally:
            points.point(server.stop() == 0, "clean stop")
        started = time.monotonic()
        server = daemon.Server(state)
        taken = server.started(started)
        try:
            points.point(taken < START_MAX, "start within three seconds", f"{taken:.2f} s")
            points.note(f"start: {taken:.2f} s, RSS {rss(server) >> 20} MiB")
            with iscsi.Connection(server.address, server.port).login(IQN) as client:
                while client.command([0] * 6).status:
                    pass
                luns = report_luns(client)
                points.point(luns == list(range(COUNT)), "REPORT LUNS lists them all",
                             f"{len(luns)} LUNs")
                for lun in (0, 1, 255, 256, 511, COUNT - 1):
                    while client.command([0] * 6, lun=wire(lun)).status:
                        pass
                    client.write(lun, bytes([lun & 255]) * 4096, lun=wire(lun))
                good = all(client.read(lun, 8, lun=wire(lun)) == bytes([lun & 255]) * 4096
                           for lun in (0, 1, 255, 256, 511, COUNT - 1))
                points.point(good, "reads and writes on low and high numbers")
            points.note(f"RSS after use: {rss(server) >> 20} MiB")
        finally:
            server.stop()


def wire(lun):
    """Peripheral addressing up to 255, flat space above (SAM-5 4.6.8, 4.6.9)."""
    return lun if lun < 256 else 0x4000 | lun


if __name__ == "__main__":
    tap.run(test)
