#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The power goes at random moments of an update (QEMU, TCG, killed): the machine always starts, is one
release or the other, has its pool, and takes the update afterwards. APPLIANCE_CUTS says how often
(default 3; each takes a start), APPLIANCE_SEED which moments."""

import os
import random
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box  # pylint: disable=wrong-import-position
import tap                       # pylint: disable=wrong-import-position
from update_test import make_bundles  # pylint: disable=wrong-import-position

INSTALL = "granary-update install /dev/vdb"


def start(points, folder, bundle, disk, what):
    box = Box(folder, "bios", [bundle], disk=disk, cache="writethrough")
    points.point(box.wait("READY", BOOT_LIMIT) is not None, f"{what}: READY", box.seen[-2000:])
    box.shell()
    return box


def test(points):
    seed = int(os.environ.get("APPLIANCE_SEED", time.time()))
    cuts = int(os.environ.get("APPLIANCE_CUTS", "3"))
    points.note(f"APPLIANCE_SEED={seed}")
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundles(folder)["newer"]
        box = start(points, folder, bundle, None, "first start")
        try:
            box.run("granary pool create tank /var/lib/granary/tank.pool:1G; sync")
            whole = 60
            for cut in range(cuts):
                moment = dice.uniform(0, whole)
                began = time.monotonic()
                box.type(INSTALL + "; echo finished=$?\n")
                if box.wait(r"finished=\d", moment) is not None:
                    whole = time.monotonic() - began
                box.end()
                box = start(points, folder, bundle, box.disk, f"cut {cut + 1} after {moment:.1f} s")
                status, shown = box.run("granary-update status; granary pool list")
                points.point(status == 0 and "running" in shown and "tank" in shown,
                             "a whole release, with the pool there", shown)
            status, shown = box.run(INSTALL, 600)
            points.point(status == 0, "the update is taken in the end", shown)
        finally:
            box.end()


if __name__ == "__main__":
    tap.run(test)
