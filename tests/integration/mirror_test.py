#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Mirrored volumes through the daemon and the command line: two copies on two files, rot in either one
mended by reads and by a scrub while it is served, kill -9 under load."""

import os
import signal
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20


def refused(points, daemon, says, *words):
    result = daemon.run(*words)
    points.point(result.returncode == 1 and says in result.stderr,
                 f"refused: granary {' '.join(words[:2] + words[3:])}",
                 result.stdout + result.stderr)


def places(path, byte, length=4096):
    """Where slots full of @byte are in the pool file."""
    found = []
    with open(path, "rb") as file:
        at = MIB
        while block := (file.seek(at), file.read(MIB))[1]:
            if bytes([byte]) * length in block:
                found += [at + i for i in range(0, len(block), 4096)
                          if block[i:i + length] == bytes([byte]) * length]
            at += MIB
    return found


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at + 77)
        byte = file.read(1)[0]
        file.seek(at + 77)
        file.write(bytes([byte ^ 0x40]))


def making(points, daemon, files):
    for words in (("volume", "create", "tank/one", "64M"), ("share", "create", "tank/files"),
                  ("provision", "lun1", "1G", "10.0.0.1"), ("provision", "lun1", "1G", "10.0.0.1", "--purpose", "iso-library")):
        refused(points, daemon, "needs two devices", *words, "--mirror")
    daemon.good("pool", "add", "tank", files[1] + ":256M")
    refused(points, daemon, "needs checksums", "volume", "create", "tank/one", "64M", "--mirror",
            "--checksum", "off")
    refused(points, daemon, "not that much space left", "volume", "create", "tank/one", "300M",
            "--mirror", "--reserve", "300M")
    daemon.serve("tank/one", "64M", "--mirror", "--reserve", "64M")
    pool = daemon.json("pool", "show", "tank")
    points.point(pool["reserved_bytes"] == 128 * MIB
                 and 100 * MIB < pool["mirror_free_bytes"] + 64 * MIB <= pool["mirror_size_bytes"],
                 "what is reserved for a mirrored volume counts twice", pool)
    daemon.good("volume", "create", "tank/two", "16M")
    shown = [daemon.json("volume", "show", name)["mirror"] for name in ("tank/one", "tank/two")]
    points.point(shown == [True, False], "a mirrored volume is shown as one", shown)
    daemon.write(0, 32 * MIB, 0x11)
    daemon.write(5 * MIB, 4096, 0x22)
    daemon.good("snapshot", "create", "tank/one@then")
    daemon.write(6 * MIB, 4096, 0x33)
    counts = [[len(places(path, byte)) for path in files] for byte in (0x22, 0x33)]
    points.point(counts == [[1, 1], [1, 1]], "what is written is once on either device", counts)
    used = daemon.json("pool", "show", "tank")["used_bytes"]
    points.point(used >= 64 * MIB, "and takes space twice", used)
    refused(points, daemon, "journal", "pool", "evacuate", "tank", files[1])


def made_otherwise(points, daemon, folder):
    """A share, a LUN by one request, a document: each with two copies."""
    daemon.good("share", "create", "tank/files", "--mirror")
    daemon.good("share", "create", "tank/once")
    shown = {share["name"]: share["mirror"] for share in daemon.json("share", "list")}
    points.point(shown == {"files": True, "once": False}, "a share has two copies, or one", shown)
    daemon.good("provision", "lun1", "1G", "10.0.0.0/24", "--mirror")
    daemon.good("provision", "isos", "1G", "10.0.0.0/24", "--mirror", "--purpose", "iso-library")
    points.point(daemon.json("volume", "show", "tank/lun1")["mirror"] and
                 daemon.json("share", "show", "tank/isos")["mirror"], "what is provisioned likewise")
    document = os.path.join(folder, "box.json")
    exported = daemon.good("export", "-o", "json")
    with open(document, "w", encoding="utf-8") as file:
        file.write(exported)
    same = daemon.run("diff", document)
    points.point(same.returncode == 0, "a document says so", same.stdout + same.stderr)
    with open(document, "w", encoding="utf-8") as file:
        file.write(exported.replace('"mirror": true', '"mirror": false'))
    refused(points, daemon, "does not become mirrored", "diff", document)
    for name in ("files", "isos"):
        daemon.good("share", "delete", f"tank/{name}", "--yes")


def rot(points, daemon, files):
    for index, path in enumerate(files):
        flip(path, places(path, 0x22)[0])
        good = daemon.holds(5 * MIB, 4096, 0x22)
        scrubbed = daemon.run("pool", "scrub", "tank", "--rate", "1G", "--wait")
        copies = [len(places(one, 0x22)) for one in files]
        points.point(good and copies == [1, 1],
                     f"rot on device {index} is not read, and both copies are good again", copies)
        shown = daemon.json("pool", "show", "tank")
        points.point(shown["data_repairs"] == index + 1, "which is counted",
                     (shown["data_repairs"], scrubbed.stdout, scrubbed.stderr))
    findings = daemon.json("pool", "findings", "tank")
    points.point([(f["kind"], f["volume"], f["offset_bytes"], f["repaired"]) for f in findings] ==
                 [("data-repaired", findings[0]["volume"], 5 * MIB, True)] * len(findings),
                 "findings name the volume and the place, and that it is mended", findings)
    points.point("one copy of the data" in daemon.log(), "and the log has it")
    for path in files:
        flip(path, places(path, 0x33)[0])
    points.point(daemon.holds(6 * MIB, 4096, 0x33) is None and
                 daemon.holds(6 * MIB + 4096, 4096, 0x11),
                 "rot in both copies is an error to the initiator, and never data")
    daemon.write(6 * MIB, 4096, 0x33)
    check = daemon.json("pool", "check", "tank", "--data")
    points.point(check["clean"], "written again it is whole", check)


def beside_writers(points, daemon):
    """What is written over while it is looked at is not damage, nor what was given back and is
    somebody else's by then."""
    over, said = threading.Event(), []

    def write():
        turn = 0
        while not over.is_set():
            turn += 1
            said.append(daemon.io(*(f"aio_write -P {0x50 + i // 128} {32 * MIB + i % 128 * 65536} 64k"
                                    for i in range(1024)), "aio_flush"))
            said.append(daemon.io(*(f"discard {32 * MIB + i * 65536} 64k" for i in range(turn % 2, 128, 2)),
                                  *(f"aio_write -P {0x60 + i % 7} {32 * MIB + (127 - i) * 65536} 64k"
                                    for i in range(128)), "aio_flush"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        checks = [daemon.run("pool", "check", "tank", "--data") for _ in range(4)]
    finally:
        over.set()
        writer.join()
    points.point(all(good for good, _ in said) and all(check.returncode == 0 for check in checks),
                 "a check beside writers finds nothing",
                 ([check.stdout[:500] for check in checks], [text[-300:] for good, text in said if not good]))


def killed(points, daemon):
    for seed in range(2):
        good, text = daemon.io(*(f"write -P {0x44 + seed} {i * 65536 + 4096 * (i % 9)} 12k"
                                 for i in range(0, 512, 3)))
        daemon.stop(signal.SIGKILL)
        daemon.start()
        held = all(daemon.holds(i * 65536 + 4096 * (i % 9), 12288, 0x44 + seed)
                   for i in range(0, 512, 99))
        check = daemon.json("pool", "check", "tank", "--data")
        points.point(good and held and check["clean"],
                     "killed, both copies are there and the same", (text[-500:], check))
    daemon.stop()
    daemon.start()
    points.point(daemon.json("volume", "show", "tank/one")["mirror"] and
                 daemon.holds(5 * MIB, 4096, 0x22), "and after a restart")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-mirror-") as folder:
        files = [os.path.join(folder, name) for name in ("a.pool", "b.pool")]
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "tank", files[0] + ":256M")
            making(points, daemon, files)
            rot(points, daemon, files)
            beside_writers(points, daemon)
            killed(points, daemon)
            made_otherwise(points, daemon, folder)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)
