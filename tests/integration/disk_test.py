#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""The machine's block devices as the daemon sees them, on loop devices: what they carry, who uses
them, which are refused to a pool."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import loops  # pylint: disable=wrong-import-position
import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position


def listed(daemon, path):
    return next((disk for disk in daemon.json("disk", "list") if disk["path"] == path), None)


def refusals(points, daemon, devices):
    blank, ext4, table, held = devices.paths
    refused = daemon.run("pool", "create", "no", ext4)
    points.point(refused.returncode == 1 and "carries an ext4 file system (label keep)" in
                 refused.stderr, "a pool is not made over a file system", refused.stderr)
    refused = daemon.run("pool", "create", "no", blank, table)
    points.point(refused.returncode == 1 and "DOS partition table" in refused.stderr,
                 "nor over a partition table, next to a good device", refused.stderr)
    with open(held, "rb", opener=lambda path, flags: os.open(path, flags | os.O_EXCL)):
        shown = listed(daemon, held)
        points.point(shown["used_by"] != "" and not shown["free"],
                     "a device that a program holds is not free", shown)
        refused = daemon.run("pool", "create", "no", held, "--force")
        points.point(refused.returncode == 1 and "in use" in refused.stderr,
                     "and is not taken, not even by force", refused.stderr)
    points.point(subprocess.run(["blkid", "-p", "-o", "value", "-s", "LABEL", ext4],
                                capture_output=True, text=True).stdout.strip() == "keep",
                 "what was refused is as it was")


def mounted(points, daemon, device, folder):
    where = os.path.join(folder, "mnt")
    os.mkdir(where)
    if subprocess.run(["mount", device, where], capture_output=True).returncode:
        points.note("no mounting here")
        return
    try:
        shown = listed(daemon, device)
        points.point(shown["used_by"] == f"mounted on {where}" and not shown["free"],
                     "a mounted device says where", shown)
        refused = daemon.run("pool", "create", "no", device, "--force")
        points.point(refused.returncode == 1 and where in refused.stderr,
                     "and is not taken, not even by force", refused.stderr)
    finally:
        subprocess.run(["umount", where], check=True)


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-disk-") as folder, \
            loops.Loops(folder, 4, "128M") as devices:
        blank, ext4, table, _ = devices.paths
        subprocess.run(["mke2fs", "-qt", "ext4", "-L", "keep", ext4], check=True)
        with open(table, "r+b") as file:  # one Linux partition
            file.seek(446)
            file.write(bytes.fromhex("80000200830000000008000000f80300"))
            file.seek(510)
            file.write(b"\x55\xaa")
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            shown = listed(daemon, blank)
            points.point(shown and shown["free"] and shown["kind"] == "loop" and
                         shown["size_bytes"] == 128 << 20 and shown["carries"] == "" and
                         shown["model"].startswith(folder), "a blank device is free", shown)
            shown = listed(daemon, ext4)
            points.point(shown["carries"] == "an ext4 file system (label keep)" and
                         not shown["free"], "a file system is named", shown)
            shown = listed(daemon, table)
            points.point("partition table" in shown["carries"] and not shown["free"],
                         "a partition table is named", shown)
            refusals(points, daemon, devices)
            mounted(points, daemon, ext4, folder)
            daemon.good("pool", "create", "old", blank)
            shown = listed(daemon, blank)
            points.point(shown["used_by"] == "pool old" and shown["pool"] == "old" and
                         not shown["free"], "a pool's device says which pool's", shown)
            refused = daemon.run("pool", "create", "no", blank, "--force")
            points.point(refused.returncode == 1 and "in use: pool old" in refused.stderr,
                         "and stays its own", refused.stderr)
            daemon.good("pool", "delete", "old", "--yes")
            shown = listed(daemon, blank)
            points.point(shown["used_by"] == "" and "Granary pool old (device 1 of 1)" in
                         shown["carries"], "after that only the label is left", shown)
            points.point(daemon.run("pool", "create", "no", blank).returncode == 1,
                         "which is not overwritten")
            daemon.good("pool", "create", "new", blank, ext4, "--force")
            points.point(daemon.json("pool", "show", "new")["state"] == "online",
                         "unless by force")
            free = daemon.good("disk", "list", "--free")
            points.point(table not in free and blank not in free, "--free leaves them out", free)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


tap.run(test)
