#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""Looking after a box in a real browser (tests/browser/care.mjs): images dropped onto a library and
read by an NFS client, a new initiator let in, a device that goes away and comes back, a UPS on
battery, the configuration kept and brought back. PICTURES=DIR keeps pictures."""

import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import browser  # pylint: disable=wrong-import-position
import mirror_away_test  # pylint: disable=wrong-import-position
import node_modules  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position


def device_of(points, folder):
    """A pool file that can go away; None where that is not possible."""
    try:
        return mirror_away_test.Device(folder)
    except tap.Skip as reason:
        points.note(f"no device that goes away: {reason}")
        return None


def test(points):
    found = browser.needed()
    node_modules.program("qemu-io")
    nfs, device = api.free_port(), None
    with tempfile.TemporaryDirectory() as folder:
        try:
            with browser.daemon(points, os.path.join(folder, "state"), "--nfs-port",
                                str(nfs)) as daemon:
                device = device_of(points, folder)
                browser.walk(points, found, daemon, "care.mjs", folder=folder,
                             nfs=nfs if shutil.which("nfs-cat") else 0,
                             device=device and {"path": device.path, "image": device.image,
                                                "pid": device.process.pid})
        finally:
            if device:
                device.end()


if __name__ == "__main__":
    tap.run(test)
