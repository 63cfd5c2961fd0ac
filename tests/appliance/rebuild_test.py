#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same commit gives the same bytes: it is compiled once more in another folder, the image is built
once more, with the key of the first build, and every file of it has the sum that SHA256SUMS says. And
it is as small as it is meant to be. What is not committed is in no other folder: such a tree is built
where it is."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import image  # pylint: disable=wrong-import-position
import tap             # pylint: disable=wrong-import-position

SIZE_GOAL = 150 << 20


def sums(folder):
    with open(os.path.join(folder, "SHA256SUMS"), encoding="ascii") as file:
        return {name: digest for digest, name in (line.split() for line in file)}


OWN = {name: value for name, value in os.environ.items() if name != "BUILD"}


def another_tree(points, folder):
    """A folder with this commit, compiled there."""
    changed = subprocess.run(["git", "-C", TOP, "status", "--porcelain", "--untracked-files=no"],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    if changed:
        points.note(f"not all is committed, so it is built here: {changed.split()}")
        return TOP
    tree = os.path.join(folder, "tree")
    subprocess.run(["git", "clone", "-q", TOP, tree], stdin=subprocess.DEVNULL, check=True)
    subprocess.run(["make", "-s", "-C", tree, "all"], env=OWN, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, check=True)
    return tree


def test(points):
    built = os.path.dirname(image())
    size = os.path.getsize(image())
    points.point(size <= SIZE_GOAL, f"the qcow2 has {size >> 20} MiB, at most {SIZE_GOAL >> 20}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        tree, out = another_tree(points, folder), os.path.join(folder, "out")
        os.mkdir(out)
        done = subprocess.run([os.path.join(tree, "appliance/build"), "--out", out, "--key",
                               os.path.join(built, "update-key.pem")], stdin=subprocess.DEVNULL,
                              env=OWN,
                              capture_output=True, text=True, check=False)
        if not points.point(done.returncode == 0, "it is built once more", done.stderr):
            return
        before, after = sums(built), sums(out)
        points.point(set(before) == set(after), "the same files", f"{before} {after}")
        for name, digest in sorted(before.items()):
            points.point(after.get(name) == digest, f"{name} is the same to the bit")


if __name__ == "__main__":
    tap.run(test)
