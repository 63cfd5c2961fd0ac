#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=both asan=never
"""A guest boots Linux from a root disk on a LUN through QEMU's own iSCSI driver, writes numbered
and summed records, and is live-migrated to a second QEMU and back. No I/O error, and every record
the guest was told is durable is on the LUN afterwards, read from outside.

GRANARY_TEST_LUN=iscsi://... runs it against another target, to tell our faults from the test's."""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest"))
# pylint: disable=wrong-import-position
from qemu import Qemu, debian_kernel, initramfs
from server import BUILD, Server
from tap import Skip, run

RECORD = 4096
RECORDS_OFFSET = 64 << 20
MAGIC = 0x4452434552415247
MASK = (1 << 64) - 1
BOOT_LIMIT = 200
STEP_LIMIT = 120
RECORDS_BETWEEN = 300


def body(number):
    """The 509 words of record @number, as recorder.c fills them."""
    word = (number * 0x9e3779b97f4a7c15 + 1) & MASK
    words = []
    for _ in range(RECORD // 8 - 3):
        word ^= (word << 13) & MASK
        word ^= word >> 7
        word ^= (word << 17) & MASK
        words.append(word)
    return words


def fnv(data):
    total = 0xcbf29ce484222325
    for byte in data:
        total = ((total ^ byte) * 0x100000001b3) & MASK
    return total


def record_is_right(block, number):
    expected = struct.pack(f"<{RECORD // 8 - 1}Q", MAGIC, number, *body(number))
    return block[:-8] == expected and struct.unpack("<Q", block[-8:])[0] == fnv(expected)


def root_disk(folder, program):
    """An ext4 image whose /sbin/init is the recorder."""
    tree, image = os.path.join(folder, "tree"), os.path.join(folder, "root.img")
    os.makedirs(os.path.join(tree, "sbin"))
    os.makedirs(os.path.join(tree, "dev"))
    shutil.copy(program, os.path.join(tree, "sbin", "init"))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, image,
                    f"{RECORDS_OFFSET >> 20}M"], check=True, capture_output=True, timeout=120)
    os.truncate(image, 2 * RECORDS_OFFSET)
    return image


def move(tap, source, target, path, text):
    """Migrates and sees the guest go on at the other side."""
    before = len(source.acknowledged())
    status = source.migrate(path, STEP_LIMIT)
    detail = f"{status}\n{source.errors()}\n{target.errors()}\n{target.console()[-2000:]}"
    if not tap.point(status == "completed", f"{text}: migration completes", detail):
        return False
    source.stop()
    went_on = target.wait_for(lambda: len(target.acknowledged()) >= RECORDS_BETWEEN, STEP_LIMIT)
    tap.note(f"{before} records acknowledged before, {len(target.acknowledged())} after")
    return tap.point(went_on, f"{text}: the guest goes on writing",
                     target.console()[-2000:] + target.errors())


def live(tap, folder, url, machines):
    """Boots, migrates there and back; the consoles of the three QEMU processes."""
    kernel, modules = debian_kernel()
    program, ramdisk = os.path.join(BUILD, "tests/guest/recorder"), os.path.join(folder, "initrd")
    image = root_disk(folder, program)
    initramfs(ramdisk, program, modules)
    written = subprocess.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, url],
                             capture_output=True, text=True, timeout=120)
    if not tap.point(written.returncode == 0, "the root disk is written to the LUN",
                     written.stderr):
        return

    def start(name, incoming=None):
        machines.append(Qemu(folder, name, url, kernel, ramdisk, incoming))
        return machines[-1]
    first = start("alpha")
    booted = first.wait_for(lambda: len(first.acknowledged()) >= RECORDS_BETWEEN, BOOT_LIMIT)
    if not tap.point(booted and "root disk mounted" in first.console(),
                     "the guest boots from the LUN and writes",
                     first.console()[-3000:] + first.errors()):
        return
    there, back = os.path.join(folder, "there"), os.path.join(folder, "back")
    second = start("beta", there)
    second.command("query-status")
    if not move(tap, first, second, there, "to the second host"):
        return
    third = start("alpha-again", back)
    third.command("query-status")
    if not move(tap, second, third, back, "and back"):
        return
    third.command("stop")


def check_lun(tap, folder, url, machines):
    """What was acknowledged is there, and nothing on the way went wrong."""
    consoles = "".join(machine.console() for machine in machines)
    # One stream over the three: a line may begin on one console and end on the next.
    numbers = [int(number) for number in re.findall(r"^ack (\d+)\r?$", consoles, re.M)]
    trouble = [line for line in consoles.splitlines()
               if "I/O error" in line or "EXT4-fs error" in line or line.startswith("guest: rec")]
    tap.point(not trouble, "no I/O error in the guest", "\n".join(trouble[:20]))
    copy = os.path.join(folder, "copy.img")
    subprocess.run(["qemu-img", "dd", "-f", "raw", "-O", "raw", "bs=1M",
                    f"count={2 * RECORDS_OFFSET >> 20}", f"if={url}", f"of={copy}"],
                   check=True, capture_output=True, timeout=120)
    lost = []
    with open(copy, "rb") as file:
        for number in numbers:
            file.seek(RECORDS_OFFSET + number * RECORD)
            if not record_is_right(file.read(RECORD), number):
                lost.append(number)
    tap.point(len(numbers) >= 3 * RECORDS_BETWEEN and not lost,
              f"every acknowledged record is on the LUN ({len(numbers)})",
              f"{len(numbers)} acknowledged, lost: {lost[:20]}")
    tap.point(numbers == list(range(len(numbers))), "no record was skipped on the way")
    os.truncate(copy, RECORDS_OFFSET)
    # The guest was stopped, not shut down: replay the journal of the copy, then look.
    subprocess.run(["e2fsck", "-p", copy], capture_output=True, timeout=120)
    checked = subprocess.run(["e2fsck", "-fn", copy], capture_output=True, text=True, timeout=120)
    tap.point(checked.returncode == 0, "the root file system is clean", checked.stdout)
    log = subprocess.run(["debugfs", "-R", "cat /log", copy], capture_output=True, text=True,
                         timeout=120).stdout.split()
    wanted = [str(number) for number in numbers if number % 16 == 0]
    tap.point(log[:len(wanted)] == wanted, "the log in the file system has every line",
              f"{len(log)} lines, wanted {len(wanted)}")


def test(tap):
    for program in ("qemu-system-x86_64", "qemu-img", "mke2fs", "debugfs", "apt-get"):
        if not shutil.which(program):
            raise Skip(f"no {program}")
    folder = tempfile.mkdtemp(prefix="granary-guest-")
    server, machines = None, []
    try:
        url = os.environ.get("GRANARY_TEST_LUN")
        if not url:
            server = Server(os.path.join(folder, "state"))
            url = server.url()
        live(tap, folder, url, machines)
        for machine in machines:
            machine.stop()
        if len(machines) == 3:
            check_lun(tap, folder, url, machines)
        if server:
            tap.point(server.stop() == 0, "the daemon stops cleanly", server.log()[-3000:])
    finally:
        for machine in machines:
            machine.stop()
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
