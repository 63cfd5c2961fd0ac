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


def find(path, byte, length=4096):
    """Where a slot full of @byte is in the pool file."""
    with open(path, "rb") as file:
        at = MIB
        while block := (file.seek(at), file.read(MIB))[1]:
            place = block.find(bytes([byte]) * length)
            if place >= 0 and (at + place) % 4096 == 0:
                return at + place
            at += MIB
    raise RuntimeError(f"no slot of {byte:#x}")


def scrub(points, folder):
    """Rot in data and in one copy of a superblock; pause, resume and a restart in between."""
    pool = os.path.join(folder, "scrub.pool")
    daemon = appliance.Daemon(os.path.join(folder, "scrub"))
    try:
        daemon.good("pool", "create", "old", f"{pool}:256M")
        daemon.serve("old/one", "64M")
        daemon.write(0, 32 * MIB, 0x11)
        daemon.write(5 * MIB, 4096, 0x22)
        clean = daemon.run("pool", "scrub", "old", "--wait")
        points.point(clean.returncode == 0 and "0 errors" in clean.stdout, "a clean scrub",
                     clean.stdout + clean.stderr)
        flip(pool, find(pool, 0x22) + 100)
        flip(pool, 131072 + 300)
        found = daemon.run("pool", "scrub", "old", "--wait")
        points.point(found.returncode == 1 and "pool findings" in found.stderr,
                     "a scrub finds rot and says where to look", found.stdout + found.stderr)
        findings = daemon.json("pool", "findings", "old")
        data = [f for f in findings if f["kind"] == "checksum"]
        labels = [f for f in findings if f["kind"] == "superblock-repaired"]
        points.point(len(findings) == 2 and len(labels) == 1 and len(data) == 1 and
                     data[0]["volume"] == "one" and data[0]["offset_bytes"] == 5 * MIB and
                     data[0]["lba"] == 10240 and not data[0]["repaired"],
                     "findings name the volume and the LBA, and the superblock", findings)
        points.point(daemon.holds(5 * MIB, 4096, 0x22) is None and
                     daemon.holds(5 * MIB + 4096, 4096, 0x11),
                     "the bad slot is an error to the initiator, its neighbour is not")
        daemon.run("pool", "scrub", "old", "--rate", "4M")
        daemon.good("pool", "scrub", "old", "--pause")
        paused = daemon.json("pool", "show", "old")["scrub"]
        points.point(paused["state"] == "paused", "paused", paused)
        daemon.stop()
        daemon.start()
        kept = daemon.json("pool", "findings", "old")
        points.point(len(kept) == 2 and
                     daemon.json("pool", "show", "old")["scrub"]["state"] == "paused",
                     "findings and the pause outlive a restart", kept)
        daemon.good("pool", "scrub", "old", "--resume")
        daemon.stop()
        daemon.start()
        shown = daemon.json("pool", "show", "old")["scrub"]
        points.point(shown["state"] == "running" and 0 < shown["progress"] < 1 and
                     shown["eta_seconds"] >= 0, "a scrub goes on after a restart", shown)
        daemon.good("pool", "scrub", "old", "--stop")
        daemon.write(5 * MIB, 4096, 0x33)
        daemon.good("pool", "scrub", "old", "--rate", "1G", "--wait")
        left = daemon.json("pool", "findings", "old")
        points.point([f["kind"] for f in left] == ["superblock-repaired"] and
                     daemon.holds(5 * MIB, 4096, 0x33),
                     "written again, the slot is whole and the next scrub forgets it", left)
    finally:
        points.point(daemon.stop() == 0, "clean stop")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-guard-") as folder:
        lost_root(points, folder)
        scrub(points, folder)


if __name__ == "__main__":
    tap.run(test)
