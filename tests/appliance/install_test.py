#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The installer's medium under QEMU (TCG): from CD by BIOS it lists the disks, wants the chosen one's
name typed, writes it, and the disk starts; by UEFI with Secure Boot it comes to the same question;
with granary.install= nobody is asked, and that disk starts by UEFI with Secure Boot."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box, image  # pylint: disable=wrong-import-position
import tap                              # pylint: disable=wrong-import-position

NUMBER = "Number of the system disk"
ARGUMENTS = ("boot=granary-medium systemd.mask=var-lib-granary.mount "
             "systemd.unit=granary-install.target console=ttyS0,115200n8 granary.install=/dev/vda")


def starts(points, folder, firmware, disk, what):
    box = Box(folder, firmware, disk=disk)
    try:
        points.point(box.wait("READY", BOOT_LIMIT) is not None, f"{what}: READY",
                     box.seen[-3000:])
    finally:
        box.end()


def by_hand(points, folder, medium):
    box = Box(folder, "bios", medium=medium)
    try:
        shown = box.wait(NUMBER, BOOT_LIMIT)
        if not points.point(shown and "vda" in shown and "12.9 GB" in shown,
                            "BIOS: the installer lists the disk", shown or box.seen[-3000:]):
            return
        good = box.answer((": ", "1\n"), ("Type its name", "sda\n"), ("Nothing is changed", ""),
                          (NUMBER, "7\n"), (NUMBER, "1\n"), ("Type its name", "vda\n"))
        points.point(good and box.wait("INSTALLED", BOOT_LIMIT) is not None,
                     "only its name, typed, starts it; it is written", box.seen[-2000:])
    finally:
        box.end()
    starts(points, folder, "bios", box.disk, "BIOS, installed by hand")


def secure(points, folder, medium):
    box = Box(folder, "secure", medium=medium)
    try:
        points.point(box.wait(NUMBER, BOOT_LIMIT) is not None,
                     "UEFI with Secure Boot: the medium starts", box.seen[-3000:])
    finally:
        box.end()


def unattended(points, folder, medium):
    for name in ("vmlinuz", "initrd"):
        subprocess.run(["xorriso", "-osirrox", "on", "-indev", medium, "-extract",
                        f"/granary/{name}", os.path.join(folder, name)], check=True,
                       stdin=subprocess.DEVNULL, capture_output=True)
    box = Box(folder, "bios", medium=medium,
              options=["-kernel", os.path.join(folder, "vmlinuz"), "-initrd",
                       os.path.join(folder, "initrd"), "-append", ARGUMENTS])
    try:
        points.point(box.wait("INSTALLED", BOOT_LIMIT) is not None, "nobody is asked",
                     box.seen[-3000:])
        points.point(box.process.wait(120) == 0, "and it powers off")
    finally:
        box.end()
    starts(points, folder, "secure", box.disk, "UEFI with Secure Boot, installed unattended")


def test(points):
    medium = image()[:-len(".qcow2")] + ".iso"
    for part in (by_hand, secure, unattended):
        with tempfile.TemporaryDirectory() as folder:
            part(points, folder, medium)


if __name__ == "__main__":
    tap.run(test)
