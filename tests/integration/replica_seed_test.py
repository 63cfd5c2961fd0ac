#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one asan
"""Two daemons and a first image that goes by disk: exported under load, gone on with where it broke
off, refused in every wrong shape, imported; then only what changed since goes over the link, also
when the primary was killed meanwhile."""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap                                       # pylint: disable=wrong-import-position
from replica import IQN, Node, end, pair, sealed, wait  # pylint: disable=wrong-import-position

SIZE = 24 << 20
RECORD = 4096


def iscsi(node, lun):
    return f"iscsi://{node.portal()}/{IQN}/{lun}"


def lines(log):
    with open(log, "rb") as file:
        return file.read().count(b"\n")


def set_up(points, one, two):
    """A group whose standby has nothing, and gets nothing over the link."""
    peer = pair(one, two)
    one.granary("target", "create", IQN)
    one.granary("target", "allow", IQN, "--network", "127.0.0.0/8")
    for lun, name in enumerate(("cut0", "full", "other")):
        one.granary("volume", "create", f"tank/{name}", str(SIZE))
        one.granary("lun", "map", IQN, f"tank/{name}", "--lun", str(lun))
    path = os.path.join(one.state, "pattern")
    with open(path, "wb") as file:
        file.write(os.urandom(SIZE))
    subprocess.run(["qemu-img", "convert", "-n", "-t", "writeback", "-f", "raw", "-O", "raw", path,
                    iscsi(one, 1)], check=True, timeout=100, stdin=subprocess.DEVNULL,
                   capture_output=True)
    said = one.refused("replica", "group", "create", "vms", "tank/cut0", "--peer", peer, "--seed", "post")
    points.point("wire or ship" in said, "no group is made with another way of seeding", said)
    one.granary("replica", "group", "create", "vms", "tank/cut0", "tank/full", "--peer", peer, "--rpo", "1s",
                "--seed", "ship")
    one.granary("replica", "group", "create", "more", "tank/other", "--peer", peer, "--seed", "ship")
    for name in ("vms", "more"):
        points.point(wait(lambda name=name: one.group(name)["state"] == "waiting for its seed" and
                          wait(lambda: "more" in [g["name"] for g in two.ask("replica", "group", "list")])),
                     f"group {name} waits for its seed", one.group(name))
    return path


def refused_exports(points, one, two, top):
    there = os.path.join(top, "there")
    with open(there, "w", encoding="ascii") as file:
        file.write("something")
    shutil.copy(there, os.path.join(top, "old.seed.part"))
    for node, words, text in ((two, ("vms", top), "on its primary"),
                              (one, ("none", top), "no group named"),
                              (one, ("vms", there), "File exists"),
                              (one, ("vms", os.path.join(top, "old.seed")), "delete it first"),
                              (one, ("vms", os.path.join(top, "no", "where")), "No such file")):
        said = node.refused("replica", "seed", "export", *words)
        points.point(text in said, f"no export: {text}", said)
        if "delete it first" not in text:  # the part that is there is looked at by the export itself
            tried = node.refused("replica", "seed", "export", *words, "--dry-run")
            points.point(tried.replace(" --dry-run:", ":") == said, "and tried in the same words", [tried, said])
    with open(there, encoding="ascii") as file:
        points.point(file.read() == "something" and one.group()["seed"]["state"] == "none",
                     "and nothing has changed", one.group()["seed"])


def export(points, one, top, log):
    """Under load; the file and how many records there were when it began and ended."""
    was = os.listdir(top)
    tried = one.granary("replica", "seed", "export", "vms", top, "--dry-run")
    points.point("would change replication group vms:" in tried and "none -> exporting" in tried and
                 os.listdir(top) == was and one.group()["seed"]["state"] == "none",
                 "an export that is tried makes nothing", tried)
    load = one.write(1, 1, log)
    try:
        points.point(wait(lambda: os.path.exists(log) and lines(log) > 50), "a guest writes")
        before = lines(log)
        said = one.granary("replica", "seed", "export", "vms", top)
        points.point(load.poll() is None and wait(lambda: lines(log) > before + 50),
                     "it goes on writing through an export", said)
    finally:
        end(load)
    files = [name for name in os.listdir(top) if name.startswith("vms-") and name.endswith(".seed")]
    points.point(len(files) == 1, "the export is one file", os.listdir(top))
    path = os.path.join(top, files[0])
    points.point(SIZE < os.path.getsize(path) < SIZE + (6 << 20), "as large as what is used",
                 os.path.getsize(path))
    said = one.refused("replica", "seed", "export", "vms", path)
    points.point("File exists" in said, "it is not written over", said)
    return path, before


def go_on(points, one, path, top):
    """What is left of an export that broke off: at a frame, within one, with garbage behind it."""
    whole = os.path.getsize(path)
    for cut, more in ((whole * 2 // 3, b""), (whole // 3, b"\0" * 5000), (whole, b"")):
        again = os.path.join(top, f"again{cut}.seed")
        with open(path, "rb") as file, open(again + ".part", "wb") as part:
            part.write(file.read(cut) + more)
        one.granary("replica", "seed", "export", "vms", again)
        points.point(not os.path.exists(again + ".part") and
                     abs(os.path.getsize(again) - whole) < 1 << 20,
                     f"an export that broke off at {cut} of {whole} goes on", os.path.getsize(again))
        if cut != whole * 2 // 3:
            os.unlink(again)
    return os.path.join(top, f"again{whole * 2 // 3}.seed")


def used(node):
    return {v["name"]: v["used_bytes"] for v in node.ask("volume", "list")}


def refused_imports(points, one, two, path, top):
    one.granary("replica", "seed", "export", "more", os.path.join(top, "more.seed"))
    with open(path, "rb") as file:
        good = file.read()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    shapes = ((b"", "ends too early"), (b"#!/bin/sh\n" * 1000, "no seed"),
              (good[:len(good) // 2], "not whole"), (good[:-1], "not whole"), (flipped, "damaged"),
              (good + good[:100], "behind the end"), (good[:300] + good[400:], "damaged"))
    for node in (one, two):
        node.granary("replica", "group", "delete", "more", "--yes")
    said = two.refused("replica", "seed", "import", os.path.join(top, "more.seed"))
    points.point("no group here" in said, "no import: another group's", said)
    before = used(two)
    wrong = os.path.join(top, "wrong")
    for shape, text in shapes:
        with open(wrong, "wb") as file:
            file.write(shape)
        said = two.refused("replica", "seed", "import", wrong)
        points.point(text in said, f"no import: {text}", said)
    for node, words, text in ((two, os.path.join(top, "none"), "No such file"), (two, top, "is no file"),
                              (one, path, "on its standby")):
        said = node.refused("replica", "seed", "import", words)
        points.point(text in said, f"no import: {text}", said)
        tried = node.refused("replica", "seed", "import", words, "--dry-run")
        points.point(tried.replace(" --dry-run:", ":") == said, "and tried in the same words", [tried, said])
    group = two.group()
    points.point(group["sealed_epoch"] == 0 and not group["promotable"] and used(two) == before,
                 "and nothing has changed", (group, before, used(two)))
    points.point(wait(lambda: one.group()["state"] == "waiting for its seed"), "the primary waits on",
                 one.group())


def ship(points, one, two, path, log, before):
    """The primary has been killed meanwhile, and 1 MiB more has changed."""
    one.kill()
    one.start()
    subprocess.run(["qemu-io", "-f", "raw", iscsi(one, 1), "-c", "write -P 7 8M 1M", "-c", "flush"],
                   check=True, timeout=120, stdin=subprocess.DEVNULL, capture_output=True)
    changed = (1 << 20) + min(lines(log) - before + 1, 1024) * RECORD
    tried = two.granary("replica", "seed", "import", path, "--dry-run")
    points.point("would change replication group vms:" in tried and not two.group()["seed"]["running"] and
                 not two.group()["promotable"], "an import that is tried takes nothing", tried)
    said = two.granary("replica", "seed", "import", path)
    epoch = two.group()["seed"]["epoch"]
    points.point("imported" in said and epoch > 0 and two.group()["promotable"], "a seed is imported",
                 (said, two.group()))
    points.point(wait(lambda: sealed(one) and one.group()["lag_bytes"] == 0) and
                 wait(lambda: two.group()["sealed_epoch"] > epoch), "and what it lacks is sent",
                 (one.group(), two.group()))
    sent = one.group()["sent_bytes"]
    points.note(f"{changed} bytes changed, {sent} sent, {SIZE} not sent again")
    points.point(1 << 20 < sent < changed * 5 // 4 + (128 << 10), "and nothing else",
                 (changed, sent))
    one.granary("replica", "verify", "vms")
    points.point(wait(lambda: one.group()["verify"]["state"] == "done") and
                 one.group()["verify"]["mismatches"] == 0, "every slot is the same",
                 one.group()["verify"])
    points.point(wait(lambda: not any("seed-" in s["name"] for s in
                                      one.ask("snapshot", "list", "tank/full"))),
                 "the snapshots of the export are gone")
    said = two.refused("replica", "seed", "import", path)
    points.point("has a sealed image here" in said, "an older file is refused", said)
    said = one.refused("replica", "seed", "export", "vms", path + "2")
    points.point("has an image already" in said, "there is nothing to export any more", said)


def promoted(points, one, two, path):
    one.kill()
    two.granary("replica", "promote", "vms", "--yes")
    good, said = two.verify(1)
    points.point(good, "the promoted image is a prefix-closed cut", said)
    read = os.path.join(two.state, "read")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", iscsi(two, 1), read], check=True,
                   timeout=100, stdin=subprocess.DEVNULL, capture_output=True)
    with open(path, "rb") as file:
        expected = bytearray(file.read())
    expected[8 << 20:9 << 20] = b"\7" * (1 << 20)
    with open(read, "rb") as file:
        points.point(file.read() == expected, "and has every byte")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-seed-") as top:
        log = os.path.join(top, "log")
        disk = os.path.join(top, "disk")
        os.mkdir(disk)
        one = two = None
        try:
            one, two = (Node(os.path.join(top, name)) for name in ("one", "two"))
            pattern = set_up(points, one, two)
            refused_exports(points, one, two, disk)
            path, before = export(points, one, disk, log)
            again = go_on(points, one, path, disk)
            refused_imports(points, one, two, path, disk)
            ship(points, one, two, again, log, before)
            promoted(points, one, two, pattern)
        finally:
            for node in (one, two):
                if node:
                    node.server.stop()


if __name__ == "__main__":
    tap.run(test)
