#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one
"""A share mounted on this machine (granary share mount) under what kernel_suites_test.py runs over
NFS: what programs rely on case by case, locks, random operations on files and trees against models,
several at once. SUITES_SECONDS=N for each (2), SUITES_SEED=N."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE = "tank/files"
SECONDS = os.environ.get("SUITES_SECONDS", "2")
SEED = os.environ.get("SUITES_SEED", "1")
LIMIT = 120 + 10 * float(SECONDS)


def program(name, *words):
    """A program of tests/guest: its exit status and what it printed."""
    path = os.path.join(daemon.BUILD, "tests/guest", name)
    if not os.path.exists(path):  # the sanitized build has none of its own
        path = os.path.join(os.path.dirname(daemon.BUILD), "tests/guest", name)
    done = subprocess.run([path, *words], capture_output=True, timeout=LIMIT,
                          stdin=subprocess.DEVNULL)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def cases(points, *words):
    for line in program("file_cases", *words)[1].splitlines():
        if line.startswith(("ok - ", "not ok - ")):
            points.point(line.startswith("ok"), line.partition(" - ")[2])
        else:
            points.note(line)


def told(points, text, *words):
    status, said = program(*words)
    points.point(status == 0, text, said[-8000:])
    if status == 0:
        for line in said.splitlines():
            points.note(line)


def suites(points, top):
    for name in ("cases", "own", "together"):
        os.mkdir(f"{top}/{name}")
    cases(points, "names", f"{top}/cases")
    cases(points, "locks", f"{top}/cases", f"{top}/cases")
    told(points, "a file", "file_torture", "alone", top, SEED, SECONDS, "300000")
    told(points, "trees", "tree_torture", "own", f"{top}/own", SEED, SECONDS, "2")
    told(points, "one tree of all", "tree_torture", "together", f"{top}/together", SEED, SECONDS,
         "3")
    told(points, "the tree holds together", "tree_torture", "check", top)


def test(points):
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        raise tap.Skip("needs root and /dev/fuse")
    with tempfile.TemporaryDirectory(prefix="granary-mount-") as folder:
        top = os.path.join(folder, "top")
        os.mkdir(top)
        server = daemon.Server(os.path.join(folder, "state"))
        try:
            server.granary("share", "mount", SHARE, top)
            try:
                suites(points, top)
            finally:
                subprocess.run(["umount", top], check=True)
            said = server.granary("share", "check", SHARE)
            points.point("no errors" in said, "the share's structures are sound", said)
            points.point(server.stop() == 0, "the daemon stops cleanly", server.log()[-3000:])
        finally:
            server.stop()


if __name__ == "__main__":
    tap.run(test)
