#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""What guards the data of a pool, from outside: a lost root, scrub and rot, checksum modes, a pool
that fills up, checks, export and import. Each on a real daemon with a real initiator."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import appliance  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20


def flip(path, offset, count=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        data = bytes(byte ^ 0x55 for byte in file.read(count))
        file.seek(offset)
        file.write(data)


def generations(path):
    """{position: generation} of the superblock copies (docs/FORMAT.md)."""
    size = os.path.getsize(path)
    found = {}
    for at in (65536, 131072, size - MIB + 65536, size - MIB + 131072):
        with open(path, "rb") as file:
            file.seek(at)
            block = file.read(4096)
        if block[:8] == b"GRANARYP":
            found[at] = int.from_bytes(block[96:104], "little")
    return found


def lost_root(points, folder):
    """All copies of the newest root are damaged: refused, and with --rewind the data is there."""
    pool = os.path.join(folder, "rewind.pool")
    daemon = appliance.Daemon(os.path.join(folder, "rewind"))
    try:
        daemon.good("pool", "create", "old", f"{pool}:128M")
        daemon.serve("old/one", "16M")
        daemon.write(0, MIB, 0x5a)
        daemon.stop()
        copies = generations(pool)
        for at, generation in copies.items():
            if generation == max(copies.values()):
                flip(pool, at + 200)
        daemon.start()
        shown = daemon.json("pool", "show", "old")
        points.point(shown["state"] == "unavailable" and "--rewind" in shown["reason"],
                     "a pool whose newest root is lost is not served, and says what to do", shown)
        refused = daemon.run("pool", "import", pool)
        points.point(refused.returncode == 1 and "may lose the last change" in refused.stderr,
                     "an import without --rewind is refused", refused.stderr)
        daemon.good("pool", "import", pool, "--rewind")
        points.point(daemon.json("pool", "show", "old")["state"] == "online" and
                     daemon.holds(0, MIB, 0x5a),
                     "with --rewind the pool and its LUNs are back, the data is whole")
    finally:
        daemon.stop()


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-guard-") as folder:
        lost_root(points, folder)


if __name__ == "__main__":
    tap.run(test)
