#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What hypervisors are given, under QEMU (TCG): the OVA is unpacked, its manifest holds, and its disk
starts on the IDE controller and the network adapter that its descriptor asks for; VHD and VHDX
start on IDE, as the first generation of Hyper-V's machines has it. What is in the packed raw disk is
what is in the qcow2."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box, image, overlay  # pylint: disable=wrong-import-position
import tap                                       # pylint: disable=wrong-import-position


def starts(points, folder, disk, form, nic):
    begun = time.monotonic()
    box = Box(folder, "bios", disk=overlay(os.path.join(folder, form + ".qcow2"), disk, form),
              bus="ide", nic=nic)
    try:
        shown = box.wait("READY", BOOT_LIMIT)
        points.point(shown is not None, f"{form}, IDE, {nic}: READY", box.seen[-3000:])
        points.note(f"after {time.monotonic() - begun:.0f} s")
        points.point("10.0.2." in (shown or "") or box.wait(r"10\.0\.2\.\d+", 60) is not None,
                     f"{form}: it has an address", box.history[-3000:])
    finally:
        box.end()


def unpack_ova(points, path, folder):
    """Path of its disk."""
    with tarfile.open(path) as archive:
        names = archive.getnames()
        for name in names:
            with archive.extractfile(name) as member, \
                    open(os.path.join(folder, os.path.basename(name)), "wb") as out:
                shutil.copyfileobj(member, out)
    points.point([os.path.splitext(name)[1] for name in names] == [".ovf", ".mf", ".vmdk"],
                 "the OVA holds descriptor, manifest and disk, in this order", names)
    with open(os.path.join(folder, names[1]), encoding="ascii") as file:
        sums = dict(re.findall(r"SHA256\((.*)\)= (\w+)", file.read()))
    for name in (names[0], names[2]):
        with open(os.path.join(folder, name), "rb") as file:
            points.point(hashlib.sha256(file.read()).hexdigest() == sums.get(name),
                         f"{name} is as the manifest says")
    with open(os.path.join(folder, names[0]), encoding="utf-8") as file:
        text = file.read()
    points.point("PIIX4" in text and "VmxNet3" in text, "it asks for IDE and VMXNET3", text)
    return os.path.join(folder, names[2])


def unpack_raw(points, path, folder):
    raw = os.path.join(folder, "disk.raw")
    with open(raw, "wb") as out:  # xz leaves holes in a file
        done = subprocess.run(["xz", "-dc", path], stdin=subprocess.DEVNULL, stdout=out, check=False)
    same = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, image()],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    points.point(done.returncode == 0 and same.returncode == 0,
                 "the packed raw disk holds what the qcow2 holds", same.stdout + same.stderr)


def test(points):
    stem = image()[:-len(".qcow2")]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        unpack_raw(points, stem + ".raw.xz", folder)
    with tempfile.TemporaryDirectory() as folder:
        starts(points, folder, unpack_ova(points, stem + ".ova", folder), "vmdk", "vmxnet3")
    for ending, form in (("vhd", "vpc"), ("vhdx", "vhdx")):
        with tempfile.TemporaryDirectory() as folder:
            starts(points, folder, f"{stem}.{ending}", form, "virtio-net-pci")


if __name__ == "__main__":
    tap.run(test)
