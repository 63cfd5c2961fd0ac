#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The power goes at random moments of an update, from its first byte until the new release has proved
itself. One guest (QEMU, TCG) does the update once, and each write and flush of its disk is put down.
From that, disks are made as cuts leave them, with any part of what was not flushed lost, and some
between the two sectors of the state partition's superblock, which a cut seldom meets. Of each it
is looked at what the boot loader would start: a whole release, one or the other, and that half a one
beside it is named in its environment, so that no rollback goes there; and the daemon is
let loose on a copy of what the state partition holds: it serves the LUN with its data. Some are
started: they come to READY, with the configuration and the data there, and where the update was cut
off, they take it the second time. As root.

APPLIANCE_CUTS: how many are started (default 3, a start each), APPLIANCE_STATES: how many are looked
at (default 100), APPLIANCE_SEED: which. Many starts take hours; to go on where a run was broken off:
APPLIANCE_RECORDING: a folder that keeps what was recorded, and of the image what it was recorded
from; when it has that, nothing is recorded. APPLIANCE_FROM: the number of the cut to go on with, with
the same seed and numbers. What all cuts together have to show is left out then."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box, TARGET, image, overlay  # pylint: disable=wrong-import-position
import kept                                              # pylint: disable=wrong-import-position
from power import CutDisk                                # pylint: disable=wrong-import-position
import tap                                               # pylint: disable=wrong-import-position
from update_test import make_bundles                     # pylint: disable=wrong-import-position

MIB = 1 << 20
ESP = 2 * MIB
ROOTS = {"a": 128 * MIB, "b": 768 * MIB}
DATA = 64 * MIB
CONFIGURE = ("granary pool create tank /var/lib/granary/tank.pool:256M",
             f"granary volume create tank/disk {DATA // MIB}M",
             f"granary target create {TARGET}", f"granary lun map {TARGET} tank/disk",
             f"granary target allow {TARGET} --network 0.0.0.0/0")
SUPERBLOCK, SECTOR = 1024, 512
TORN_MOST = 10
URL = f"iscsi://127.0.0.1:3260/{TARGET}/0"


def outside(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=600, check=False)


def start(points, box, what):
    return points.point(box.wait("READY", BOOT_LIMIT) is not None, f"{what}: READY",
                        box.history[-3000:])


def record(points, folder, bundle, data):
    """The update, once; where in the log it begins. None when it did not work."""
    box = Box(folder, "bios", [bundle], log=os.path.join(folder, "log"),
              disk=overlay(os.path.join(folder, "disk.qcow2"), os.path.join(folder, "image.qcow2")))
    try:
        if not start(points, box, "the machine before the update"):
            return None
        box.shell()
        done = [box.run(command) for command in CONFIGURE]
        # With its usual cache mode it would not flush, and what is not flushed may be lost.
        written = outside("qemu-img", "convert", "-n", "-t", "writeback", "-f", "raw", "-O", "raw",
                          data, box.url())
        points.point(all(status == 0 for status, _ in done) and written.returncode == 0,
                     "it has a LUN with data", f"{done} {written.stderr}")
        box.run("sync")
        begin, begun = os.path.getsize(os.path.join(folder, "log")), time.monotonic()
        status, shown = box.run("granary-update install /dev/vdb", 600)
        points.point(status == 0, "the update is written", shown)
        points.note(f"in {time.monotonic() - begun:.0f} s")
        box.type("exit\n")
        box.wait("READY", 60)
        box.restarted(points, "it starts on trial")
        box.shell()
        status, shown = box.run("systemctl start granary-health; granary-update status; sync", 300)
        good = "running b next b" in " ".join(shown.split()) and "trial" not in shown
        points.point(good, "and is kept", shown)
        return begin if good else None
    finally:
        box.end()


def read_manifest(bundle):
    with open(bundle, "rb") as file:
        file.seek(8)
        return json.loads(file.read(int.from_bytes(file.read(4), "big")))["files"]


def boot_file(disk, name):
    """A file of the boot partition, as the boot loader reads it."""
    done = subprocess.run(["mcopy", "-n", "-i", f"{disk}@@{ESP}", f"::granary/{name}", "-"],
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def boot_environment(disk):
    """GRUB's environment block; None: there is none."""
    block = (boot_file(disk, "grubenv") or b"").decode("latin-1")
    if not block.startswith("# GRUB Environment Block\n") or len(block) != 1024:
        return None
    return dict(re.findall(r"^(\w+)=(\w)$", block, re.M))


def next_slot(said):
    """What GRUB makes of its environment block @said; None: there is none."""
    if said is None:
        return None
    slot = said.get("slot") if said.get("slot") == "b" else "a"
    if said.get("half") == slot:
        return "a" if slot == "b" else "b"
    if said.get("good") == "1" or said.get("tries") in ("1", "2", "3"):
        return slot
    return "a" if slot == "b" else "b"


def wrong_files(disk, slot, manifest):
    """Names of the release's files that are not whole in @slot."""
    wrong = []
    for entry in manifest:
        if entry["name"] == "root":
            with open(disk, "rb") as file:
                file.seek(ROOTS[slot])
                found = file.read(entry["size"])
        else:
            found = boot_file(disk, f"{slot}/{entry['name']}") or b""
        if hashlib.sha256(found).hexdigest() != entry["sha256"]:
            wrong.append(entry["name"])
    return wrong


def startable_half(disk, said, slot, manifest):
    """Whether a rollback by hand would go to a release in the other slot than @slot that is not whole:
    it looks for a kernel, and at what the boot loader's environment @said says."""
    other = "a" if slot == "b" else "b"
    return (said.get("half") != other and boot_file(disk, f"{other}/vmlinuz") is not None and
            boot_file(disk, f"{other}/initrd") is not None and bool(wrong_files(disk, other, manifest)))


def moments(disk, begin, dice, count):
    """Anywhere, and around flushes, where what is written last decides."""
    around = disk.flushes(begin)
    last = len(disk.entries)
    found = [dice.randint(begin, last) if i % 2 else
             min(last, max(begin, dice.choice(around) + dice.randint(-4, 2)))
             for i in range(count)]
    return sorted(found)


def half_superblocks(disk, raw, begin, dice):
    """Moments in the middle of the writes of the state partition's superblock: what of the request is
    there then."""
    disk.cut(begin, dice)  # which has the partition
    at = kept.partition(raw, "state")[0] + SUPERBLOCK
    found = disk.writes_over(begin, at, at + 2 * SECTOR)
    return [(number + 1, at + SECTOR - disk.entries[number].offset)
            for number in dice.sample(found, min(len(found), TORN_MOST))]


def started(points, folder, disk, data, what, half):
    box = Box(folder, "bios", [os.path.join(folder, "newer.update")],
              disk=overlay(os.path.join(folder, "cut.qcow2"), disk, "raw"))
    try:
        if not start(points, box, what):
            return
        box.shell()
        status, shown = box.run("granary-update status")
        words = " ".join(shown.split())
        points.point(status == 0 and ("running a" in words or "running b" in words) and
                     "failed" not in words, f"{what}: one release or the other", shown)
        same = outside("qemu-img", "compare", "-f", "raw", "-F", "raw", data, box.url())
        points.point(same.returncode == 0, f"{what}: configuration and data are there",
                     same.stdout + same.stderr)
        if half:
            status, shown = box.run("granary-update rollback")
            points.point(status == 1 and "release to go back to" in " ".join(shown.split()),
                         f"{what}: nobody goes back to half a release", shown)
            status, shown = box.run("granary-update install /dev/vdb", 600)
            points.point(status == 0, f"{what}: the update is taken the second time", shown)
    finally:
        box.end()


def cuts(points, folder, begin, bundle, data):
    dice = random.Random(seed := int(os.environ.get("APPLIANCE_SEED", time.time())))
    first = int(os.environ.get("APPLIANCE_FROM", "1"))
    points.note(f"APPLIANCE_SEED={seed}")
    raw = os.path.join(folder, "disk.raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", os.path.join(folder, "image.qcow2"), raw],
                   check=True)
    os.truncate(raw, 12 << 30)
    disk, manifest = CutDisk(raw, os.path.join(folder, "log")), read_manifest(bundle)
    count = int(os.environ.get("APPLIANCE_STATES", "100"))
    begin = disk.first_after(begin)
    torn = half_superblocks(disk, raw, begin, dice)
    states = sorted([(moment, None) for moment in moments(disk, begin, dice, count)] + torn,
                    key=lambda state: state[0])
    starts = min(count, int(os.environ.get("APPLIANCE_CUTS", "3")))
    chosen = set(dice.sample(range(len(states)), starts))
    if first not in range(1, len(states) + 1):
        raise ValueError(f"APPLIANCE_FROM is {first}, and there are {len(states)} cuts")
    found, lost, tempting, seen, halves, named, mended = [], [], [], {"a": 0, "b": 0}, 0, 0, 0
    for number, (moment, length) in enumerate(states):
        if number + 1 < first:
            continue
        # Dice of its own: what it leaves does not hang on the cuts before it.
        loose = disk.cut(moment, random.Random(f"{seed}/{number + 1}"), length)
        said = boot_environment(raw)
        slot = next_slot(said)
        wrong = wrong_files(raw, slot, manifest) if slot else ["grubenv"]
        what = f"cut {number + 1} after {moment - begin} of {len(disk.entries) - begin} requests"
        if wrong:
            found.append(f"{what}, {loose >> 10} KiB not flushed: slot {slot}: {wrong}")
        else:
            seen[slot] += 1
        if slot and startable_half(raw, said, slot, manifest):
            tempting.append(f"{what}, {loose >> 10} KiB not flushed: {said}")
        with tempfile.TemporaryDirectory(dir=folder) as work:
            half_written, why = kept.wrong(raw, work, data, URL)
        mended += half_written
        if why:
            lost.append(f"{what}, {loose >> 10} KiB not flushed: {why}")
        half = slot == "a" and bool(wrong_files(raw, "b", manifest))
        halves += half
        named += half and said.get("half") == "b"
        if number in chosen:
            started(points, folder, raw, data, what, half)
    looked = f"{len(states) - first + 1} cuts"
    points.point(not found, f"{looked}: a whole release is next each time",
                 "\n".join(found))
    points.point(not tempting, f"{looked}: what is half is named half, and nothing goes back to it",
                 "\n".join(tempting))
    points.point(not lost, f"{looked}: configuration and data are there each time",
                 "\n".join(lost))
    points.note(f"the old release {seen['a']} times, beside a half one {halves} times ({named} named); the new "
                f"one {seen['b']} times; a superblock mended {mended} times, {len(torn)} of them looked for")
    if first == 1:
        points.point(torn and mended, "with the superblock written by half, too",
                     f"{len(torn)} moments, {mended} mended")
        points.point(count < 20 or (named and seen["b"]), "and all of these occur")
    disk.close()


def recorded(points, folder):
    """Where in the @folder's log the update begins, which is made unless it is there already."""
    done = os.path.join(folder, "begin")
    if os.path.exists(done):
        with open(done, encoding="ascii") as file:
            return int(file.read())
    # The image is built anew between two runs, perhaps; the log is of this one.
    shutil.copyfile(image(), os.path.join(folder, "image.qcow2"))
    bundle, data = make_bundles(folder)["newer"], os.path.join(folder, "data")
    with open(data, "wb") as file:
        file.write(os.urandom(8 * MIB))
        file.truncate(DATA)
    begin = record(points, folder, bundle, data)
    if begin is not None:
        with open(done, "w", encoding="ascii") as file:
            file.write(str(begin))
    return begin


def test(points):
    with tempfile.TemporaryDirectory() as own:
        folder = os.path.abspath(os.environ.get("APPLIANCE_RECORDING", own))
        os.makedirs(folder, exist_ok=True)
        begin = recorded(points, folder)
        if begin is not None:
            cuts(points, folder, begin, os.path.join(folder, "newer.update"),
                 os.path.join(folder, "data"))


if __name__ == "__main__":
    tap.run(test)
