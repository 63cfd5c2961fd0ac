#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""What guards the data of a pool, from outside: a lost root, scrub and rot, checksum modes, a pool
that fills up, checks, export and import. Each on a real daemon with a real initiator."""

import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
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
    daemon = pools.Daemon(os.path.join(folder, "rewind"))
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
    daemon = pools.Daemon(os.path.join(folder, "scrub"))
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
                     data[0]["lba"] == 10240 and not data[0]["repaired"] and
                     data[0]["used_by"] == [f"LUN 0 of target {daemon.iqn}"] and not labels[0]["used_by"],
                     "findings name the volume, the LBA and who goes by it, and the superblock", findings)
        points.point(daemon.holds(5 * MIB, 4096, 0x22) is None and
                     daemon.holds(5 * MIB + 4096, 4096, 0x11),
                     "the bad slot is an error to the initiator, its neighbour is not")
        daemon.run("pool", "scrub", "old", "--rate", "1M")
        begun = pools.wait_for(
            lambda: daemon.json("pool", "show", "old")["scrub"]["progress"] > 0)
        points.point(begun, "a scrub at a rate has begun", daemon.json("pool", "show", "old"))
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
                     shown["eta_seconds"] >= 0 and "s to go" in daemon.good("pool", "show", "old"),
                     "a scrub goes on after a restart, with the time it will take", shown)
        daemon.good("pool", "scrub", "old", "--stop")
        daemon.write(5 * MIB, 4096, 0x33)
        again = daemon.run("pool", "scrub", "old", "--rate", "1G", "--wait")
        while again.returncode and "just ending" in again.stderr:
            time.sleep(0.05)
            again = daemon.run("pool", "scrub", "old", "--rate", "1G", "--wait")
        left = daemon.json("pool", "findings", "old")
        points.point([f["kind"] for f in left] == ["superblock-repaired"] and
                     daemon.holds(5 * MIB, 4096, 0x33),
                     "written again, the slot is whole and the next scrub forgets it", left)
    finally:
        points.point(daemon.stop() == 0, "clean stop")


def modes(points, folder):
    """Checksum modes: what rot does to each; offline check; export and import elsewhere."""
    pool = os.path.join(folder, "modes.pool")
    daemon = pools.Daemon(os.path.join(folder, "modes"))
    elsewhere = None
    try:
        daemon.good("pool", "create", "old", f"{pool}:256M")
        for lun, mode in enumerate(("off", "standard", "strict")):
            daemon.serve(f"old/{mode}", "16M", "--checksum", mode, lun=lun)
            daemon.write(0, 2 * MIB, 0x40 + lun, lun=lun)
            daemon.write(MIB, 4096, 0x50 + lun, lun=lun)
            daemon.write(MIB + 512, 512, 0x60 + lun, lun=lun)
        shown = [daemon.json("volume", "show", f"old/{mode}")["checksum"]
                 for mode in ("off", "standard", "strict")]
        points.point(shown == ["off", "standard", "strict"] and
                     "checksum" in daemon.run("volume", "create", "old/x", "16M", "--checksum",
                                              "some").stderr, "three modes, and no other", shown)
        points.point(all(daemon.holds(MIB, 512, 0x50 + lun, lun=lun) and
                         daemon.holds(MIB + 512, 512, 0x60 + lun, lun=lun) and
                         daemon.holds(MIB + 1024, 3072, 0x50 + lun, lun=lun) and
                         daemon.holds(MIB + 4096, MIB - 4096, 0x40 + lun, lun=lun)
                         for lun in range(3)), "each holds what was written")
        busy = daemon.run("pool", "check", "--offline", pool)
        points.point(busy.returncode == 1 and "is open in" in busy.stderr,
                     "an offline check of a pool in use is refused", busy.stderr)
        points.point(daemon.run("pool", "export", "old").returncode == 1,
                     "a pool with LUNs can not be exported")
        daemon.good("target", "delete", pools.IQN, "--yes")
        daemon.good("pool", "export", "old")
        check = daemon.run("pool", "check", "--offline", pool, "--data")
        points.point(check.returncode == 0 and "0 errors" in check.stdout,
                     "exported, the files are checked offline with all data",
                     check.stdout + check.stderr)
        with open(pool, "rb") as file:
            before = file.read(MIB)
        for byte in (0x40, 0x41, 0x42):
            flip(pool, find(pool, byte) + 7)
        check = daemon.json_of("pool", "check", "--offline", pool, "--data")
        points.point(len(check["findings"]) == 2, "it finds rot where there are checksums", check)
        with open(pool, "rb") as file:
            points.point(file.read(MIB) == before, "and writes nothing")
        elsewhere = pools.Daemon(os.path.join(folder, "elsewhere"))
        elsewhere.good("pool", "import", pool)
        elsewhere.good("target", "create", pools.IQN)
        elsewhere.good("target", "allow", pools.IQN, "--network", "127.0.0.0/8")
        for lun, mode in enumerate(("off", "standard", "strict")):
            elsewhere.good("lun", "map", pools.IQN, f"old/{mode}", "--lun", str(lun))
        points.point([elsewhere.holds(0, MIB, 0x40 + lun, lun=lun) for lun in range(3)] ==
                     [False, None, None],
                     "imported elsewhere: rot is an error but where checksums are off")
    finally:
        points.point(daemon.stop() == 0 and (not elsewhere or elsewhere.stop() == 0),
                     "clean stop")


def full(points, folder):
    """A tiny pool is written to 100 %: watermarks, a reservation, and the way back."""
    pool = os.path.join(folder, "full.pool")
    daemon = pools.Daemon(os.path.join(folder, "full"))
    try:
        daemon.good("pool", "create", "tiny", f"{pool}:128M")
        daemon.good("pool", "set", "tiny", "--watermarks", "50,80,95")
        daemon.serve("tiny/one", "256M")
        daemon.serve("tiny/kept", "16M", "--reserve", "16M", lun=1)
        refused = daemon.run("volume", "create", "tiny/more", "1G", "--reserve", "1G")
        points.point(refused.returncode == 1 and "reserve" in refused.stderr,
                     "more than there is can not be reserved", refused.stderr)
        shown = daemon.json("pool", "show", "tiny")
        points.point(shown["watermarks"] == [50, 80, 95] and shown["watermark_reached"] == 0 and
                     shown["reserved_bytes"] == 16 * MIB, "watermarks and reservation", shown)
        at = 0
        good = True
        while good and at < 256 * MIB:
            good, words = daemon.io(f"write -P 0x71 {at} 4M")
            at += 4 * MIB
        at -= 4 * MIB
        points.point(not good and "o space" in words and at > 32 * MIB,
                     f"a real initiator writes until there is no space left ({at >> 20} MiB)",
                     words)
        points.point(daemon.holds(0, at, 0x71) and
                     daemon.io("write -P 0x72 0 8M", "flush")[0] and
                     daemon.holds(0, 8 * MIB, 0x72) and daemon.holds(8 * MIB, at - 8 * MIB, 0x71),
                     "at 100 % what was written is read, and written over")
        daemon.write(0, 16 * MIB, 0x73, lun=1)
        points.point(daemon.holds(0, 16 * MIB, 0x73, lun=1),
                     "the reservation is there for its volume")
        reached = pools.wait_for(
            lambda: daemon.json("pool", "show", "tiny")["watermark_reached"] == 95 and
            "95 % full" in daemon.log())
        points.point(reached,
                     "the watermark is in the status and in the log")
        words = ["qemu-io", "--discard=unmap", "-f", "raw", daemon.url(), "-c",
                 "discard 8M 24M"]
        points.point(pools.tool(*words) and daemon.holds(8 * MIB, 24 * MIB, 0),
                     "a discard works, and reads as zeros")
        good = pools.wait_for(lambda: daemon.io(f"write -P 0x74 {at} 8M", "flush")[0])
        points.point(good and daemon.holds(at, 8 * MIB, 0x74), "then writes go on, no restart")
        pools.tool("qemu-io", "--discard=unmap", "-f", "raw", daemon.url(), "-c",
                       "discard 64M 192M")
        pools.tool("qemu-io", "--discard=unmap", "-f", "raw", daemon.url(), "-c",
                       "discard 32M 32M")
        points.point(pools.wait_for(
            lambda: daemon.json("pool", "show", "tiny")["watermark_reached"] == 0 and
            "less than" in daemon.log()), "below the mark again, and told",
                     daemon.json("pool", "show", "tiny"))
        refused = daemon.run("volume", "resize", "tiny/one", "4M", "--shrink")
        points.point(refused.returncode == 1 and "discard it first" in refused.stderr,
                     "a volume with data behind the new end does not shrink", refused.stderr)
        refused = daemon.run("volume", "resize", "tiny/one", "64M")
        points.point(refused.returncode == 1 and "would become smaller" in refused.stderr,
                     "nor does it without being told to", refused.stderr)
        daemon.good("volume", "resize", "tiny/one", "64M", "--shrink")
        points.point(daemon.json("volume", "show", "tiny/one")["size_bytes"] == 64 * MIB and
                     not daemon.io("read 64M 4096")[0] and daemon.holds(0, 8 * MIB, 0x72),
                     "shrunk behind its data")
        check = daemon.json("pool", "check", "tiny", "--data")
        points.point(check["clean"], "the pool is sound", check)
    finally:
        points.point(daemon.stop() == 0, "clean stop")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-guard-") as folder:
        for part in (lost_root, scrub, modes, full):
            part(points, folder)


if __name__ == "__main__":
    tap.run(test)
