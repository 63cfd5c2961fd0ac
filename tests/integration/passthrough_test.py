#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=both asan
"""Devices and files of the machine as LUNs: the same bytes on both sides, the identity of an old
target, exclusive use, sizes that change, a device that goes and comes back, what is refused."""

import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import loops  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20
NAA = "60014051aabbccddeeff001122334455"


def file_holds(path, offset, length, byte):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.pread(fd, length, offset) == bytes([byte]) * length
    finally:
        os.close(fd)


def inquiry(daemon, lun, page=None):
    words = ["iscsi-inq"] + (["-e", "1", "-c", str(page)] if page is not None else [])
    return subprocess.run([*words, daemon.url(lun)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", timeout=30).stdout


def attach(daemon, name, device, lun, *options):
    daemon.good("volume", "create", f"passthrough/{name}", "--device", device, *options)
    if lun == 0:
        daemon.good("target", "create", pools.IQN)
        daemon.good("target", "allow", pools.IQN, "--network", "127.0.0.0/8")
    daemon.good("lun", "map", pools.IQN, f"passthrough/{name}", "--lun", str(lun))


def bytes_through(points, daemon, device, path, lun):
    kind = "device" if path == device else "file"
    with open(path, "r+b") as file:
        file.seek(3 * MIB)
        file.write(b"\x77" * MIB)
        os.fsync(file.fileno())
    points.point(daemon.holds(3 * MIB, MIB, 0x77, lun=lun),
                 f"{kind}: what was there before is served")
    daemon.write(MIB + 512, 8192 + 512, 0x21, lun=lun)
    daemon.write(16 * MIB, 4 * MIB, 0x22, lun=lun)
    points.point(file_holds(path, MIB + 512, 8192 + 512, 0x21) and
                 file_holds(path, 16 * MIB, 4 * MIB, 0x22) and
                 file_holds(path, MIB + 512 - 16, 16, 0), f"{kind}: writes are there, in place")
    good, text = daemon.io(f"discard {16 * MIB} {2 * MIB}", lun=lun)
    points.point(good and daemon.holds(16 * MIB, 2 * MIB, 0, lun=lun) and
                 daemon.holds(18 * MIB, 2 * MIB, 0x22, lun=lun),
                 f"{kind}: discarded blocks read as zeros, their neighbours stay", text)
    good, text = daemon.io(f"write -z {18 * MIB} {MIB}", f"write -P 9 {5 * MIB} 4096", "flush",
                           lun=lun)
    points.point(good and daemon.holds(18 * MIB, MIB, 0, lun=lun) and
                 file_holds(path, 5 * MIB, 4096, 9), f"{kind}: zeros are written", text)


def identity(points, daemon, lun):
    standard, serial, ids = (inquiry(daemon, lun, page) for page in (None, 0x80, 0x83))
    points.point("LIO-ORG" in standard and "FILEIO" in standard,
                 "INQUIRY names the old vendor and product", standard)
    points.point("OLD-SERIAL-7" in serial, "VPD 80 has the old serial number", serial)
    points.point("LIO-ORG" in ids and "0123-old" in ids, "VPD 83 has the old T10 name", ids)
    shown = daemon.json("volume", "show", "passthrough/dev")
    points.point(shown["naa"] == NAA and shown["scsi_id"] == "3" + NAA and
                 shown["backend"] == "passthrough" and shown["serial"] == "OLD-SERIAL-7",
                 "and volume show says so", shown)
    limits = inquiry(daemon, lun, 0xb0)
    points.point(re.search(r"compare and write length:\s*1\b", limits, re.I) is not None,
                 "VPD B0 promises COMPARE AND WRITE of one block only", limits)


def refused(points, daemon, text, sentence, *words):
    result = daemon.run(*words)
    points.point(result.returncode != 0 and sentence in result.stderr, text, result.stderr)


def refusals(points, daemon, devices, file):
    device, other = devices.paths
    create = ("volume", "create")
    refused(points, daemon, "a device that is a volume is taken", "volume passthrough/dev",
            *create, "passthrough/two", "--device", device)
    refused(points, daemon, "by pools too", "volume passthrough/dev", "pool", "create", "no",
            device, "--force")
    refused(points, daemon, "a file that is a volume is taken", "in use",
            *create, "passthrough/two", "--device", file)
    with open(other, "rb", opener=lambda path, flags: os.open(path, flags | os.O_EXCL)):
        refused(points, daemon, "a device that a program holds is refused", "in use",
                *create, "passthrough/two", "--device", other)
    refused(points, daemon, "no NAA twice", "this NAA name", *create, "passthrough/two",
            "--device", other, "--naa", NAA)
    refused(points, daemon, "no NAA of a wrong form", "an NAA name has", *create,
            "passthrough/two", "--device", other, "--naa", "1234")
    refused(points, daemon, "no size", "own size", *create, "passthrough/two", "1G",
            "--device", other)
    refused(points, daemon, "no other pool", "passthrough", *create, "tank/two",
            "--device", other)
    refused(points, daemon, "no directory", "neither a file nor", *create, "passthrough/two",
            "--device", "/tmp")
    refused(points, daemon, "no pool of that name", "passthrough", "pool", "create",
            "passthrough", other)
    refused(points, daemon, "no thin volume there", "makes no space", *create,
            "passthrough/two", "1G")
    refused(points, daemon, "no resizing", "resize the device", "volume", "resize",
            "passthrough/dev", "1G")
    refused(points, daemon, "no shrinking", "smaller", "volume", "resize", "passthrough/dev",
            "16M", "--shrink")
    refused(points, daemon, "no scrub", "can not be scrubbed", "pool", "scrub", "passthrough")
    refused(points, daemon, "no check", "can not be checked", "pool", "check", "passthrough")
    refused(points, daemon, "no watermarks", "no watermarks", "pool", "set", "passthrough",
            "--watermarks", "10,20,30")
    result = daemon.io(f"write -P 1 0 4096", lun=2)
    points.point(not result[0], "a read-only volume takes no writes", result[1])


def changes(points, daemon, devices):
    """Growth, a restart, a device that is away at the start."""
    devices.grow(0, "96M")
    before = daemon.json("volume", "show", "passthrough/dev")["size_bytes"]
    daemon.good("volume", "rescan", "passthrough/dev")
    after = daemon.json("volume", "show", "passthrough/dev")["size_bytes"]
    daemon.write(90 * MIB, MIB, 0x61)
    points.point(before == 64 * MIB and after == 96 * MIB and daemon.holds(90 * MIB, MIB, 0x61),
                 "a device that grew is a larger LUN after a rescan")
    daemon.good("volume", "rename", "passthrough/file", "papers")
    points.point(daemon.stop() == 0, "clean stop")
    kept = devices.files[0]
    subprocess.run(["losetup", "-d", devices.paths[0]], check=True)
    daemon.start()
    shown = daemon.json("volume", "show", "passthrough/dev")
    points.point(shown["state"] == "unavailable" and shown["size_bytes"] == 96 * MIB and
                 shown["naa"] == NAA, "a device that is away is told", shown)
    points.point(daemon.holds(0, 4096, 0) is None, "its LUN is there, and fails")
    points.point(daemon.holds(MIB + 512, 8192, 0x21, lun=1) and
                 daemon.json("volume", "show", "passthrough/papers")["state"] == "online",
                 "other volumes are served, under their new names")
    subprocess.run(["losetup", devices.paths[0], kept], check=True)
    daemon.good("volume", "rescan", "passthrough/dev")
    points.point(daemon.holds(90 * MIB, MIB, 0x61) and "LIO-ORG" in inquiry(daemon, 0),
                 "back again, the data and the identity are the old ones")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-pass-") as folder, \
            loops.Loops(folder, 2, "64M") as devices:
        file = os.path.join(folder, "image")
        with open(file, "wb") as image:
            image.truncate(48 * MIB)
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            attach(daemon, "dev", devices.paths[0], 0, "--naa", f"naa.{NAA}", "--serial",
                   "OLD-SERIAL-7", "--vendor", "LIO-ORG", "--product", "FILEIO",
                   "--t10", "0123-old")
            attach(daemon, "file", file, 1)
            read_only = os.path.join(folder, "golden")
            with open(read_only, "wb") as image:
                image.truncate(16 * MIB)
            attach(daemon, "golden", read_only, 2, "--read-only")
            bytes_through(points, daemon, devices.paths[0], devices.paths[0], 0)
            bytes_through(points, daemon, devices.paths[0], file, 1)
            identity(points, daemon, 0)
            refusals(points, daemon, devices, file)
            changes(points, daemon, devices)
            for lun in ("0", "1", "2"):
                daemon.good("lun", "unmap", pools.IQN, lun)
            for name in ("dev", "papers", "golden"):
                daemon.good("volume", "delete", f"passthrough/{name}", "--yes")
            daemon.good("pool", "create", "free", devices.paths[0], "--force")
            points.point(file_holds(file, MIB + 512, 8192, 0x21),
                         "deleted, the volume lets its device go and leaves it as it is")
            daemon.good("pool", "delete", "passthrough", "--yes")
        finally:
            points.point(daemon.stop() == 0, "clean stop")


tap.run(test)
