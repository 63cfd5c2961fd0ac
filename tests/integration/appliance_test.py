#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=900 engines=one asan=never
"""The appliance, in short: its disk is built (appliance/build --quick) and starts by BIOS under QEMU
(TCG) to READY on its console; with the set-up code that stands there the first account is made, and a
LUN, by the API from outside; a real initiator writes to it and reads that back. All of it, by UEFI,
with updates and power cuts: make appliance-test."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import types

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box, TARGET, overlay  # pylint: disable=wrong-import-position
import tap                                        # pylint: disable=wrong-import-position
from web import Client                            # pylint: disable=wrong-import-position

V1 = "/api/v1"
SIZE = 64 << 20
NEEDED = ("mmdebstrap", "mksquashfs", "grub-mkimage", "mkfs.vfat", "mcopy", "sfdisk",
          "qemu-system-x86_64", "iscsi-ls")


def build(points, folder):
    """Path of the disk; None when it could not be built."""
    begun = time.monotonic()
    done = subprocess.run([os.path.join(TOP, "appliance/build"), "--quick", "--out", folder],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    points.point(done.returncode == 0, "the disk is built", done.stdout + done.stderr)
    points.note(f"in {time.monotonic() - begun:.0f} s")
    disks = [name for name in os.listdir(folder) if name.endswith(".qcow2")]
    return os.path.join(folder, disks[0]) if done.returncode == 0 and disks else None


def client_of(box):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Client(types.SimpleNamespace(port=box.web_port, context=lambda: context))


def make_lun(points, client):
    """On the pool that a machine with one disk makes by itself."""
    limit = time.monotonic() + 300
    while True:
        reply = client.call("GET", f"{V1}/pools/local")
        if reply.status == 200 or time.monotonic() > limit:
            break
        time.sleep(1)
    points.point(reply.status == 200, "there is a pool", reply)
    for path, body in (("/volumes", {"pool": "local", "name": "disk", "size": SIZE}),
                       ("/targets", {"iqn": TARGET}),
                       (f"/targets/{TARGET}/luns", {"pool": "local", "volume": "disk"}),
                       (f"/targets/{TARGET}/rules", {})):
        reply = client.call("POST", V1 + path, body)
        points.point(reply.status == 201, f"POST {path}", reply)


def use_lun(points, box, folder):
    data = os.path.join(folder, "data")
    with open(data, "wb") as file:
        file.write(os.urandom(SIZE // 4))
        file.truncate(SIZE)
    for what, words in (("a real initiator writes", ("convert", "-n", "-f", "raw", "-O", "raw")),
                        ("and reads it back", ("compare", "-f", "raw", "-F", "raw"))):
        done = subprocess.run(["qemu-img", *words, data, box.url()], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300, check=False)
        points.point(done.returncode == 0, what, done.stdout + done.stderr)


def start(points, folder, disk):
    begun = time.monotonic()
    box = Box(folder, "bios", disk=overlay(os.path.join(folder, "disk.qcow2"), disk))
    try:
        shown = box.wait("READY", BOOT_LIMIT)
        if not points.point(shown is not None, "READY on the console", box.history[-3000:]):
            return
        points.note(f"after {time.monotonic() - begun:.0f} s")
        if "10.0.2." not in shown:
            box.wait(r"10\.0\.2\.\d+", 120)
        box.type("\f")
        shown += box.wait("power off", 60) or ""
        code = re.search(r"Set-up code\W+([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})", shown)
        client = client_of(box)
        reply = client.call("POST", f"{V1}/setup", {"name": "eve", "password": "correct horse 7",
                                                    "code": code[1] if code else ""})
        if points.point(reply.status == 201, "the code on it makes the first account", f"{reply} {shown}"):
            client.call("POST", f"{V1}/login", {"name": "eve", "password": "correct horse 7"})
            make_lun(points, client)
            use_lun(points, box, folder)
    finally:
        box.end()


def test(points):
    if os.getuid() != 0:
        raise tap.Skip("needs root (chroot of the new system)")
    for program in NEEDED:
        if not shutil.which(program):
            raise tap.Skip(f"no {program}")
    with tempfile.TemporaryDirectory() as folder:
        disk = build(points, folder)
        if disk:
            start(points, folder, disk)


if __name__ == "__main__":
    tap.run(test)
