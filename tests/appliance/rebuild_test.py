#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same tree gives the same bytes: the image is built once more, with the key of the first build,
and every file of it has the sum that SHA256SUMS says. And it is as small as it is meant to be."""

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


def test(points):
    built = os.path.dirname(image())
    size = os.path.getsize(image())
    points.point(size <= SIZE_GOAL, f"the qcow2 has {size >> 20} MiB, at most {SIZE_GOAL >> 20}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        done = subprocess.run([os.path.join(TOP, "appliance/build"), "--out", folder, "--key",
                               os.path.join(built, "update-key.pem")], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if not points.point(done.returncode == 0, "it is built once more", done.stderr):
            return
        before, after = sums(built), sums(folder)
        points.point(set(before) == set(after), "the same files", f"{before} {after}")
        for name, digest in sorted(before.items()):
            points.point(after.get(name) == digest, f"{name} is the same to the bit")


if __name__ == "__main__":
    tap.run(test)
