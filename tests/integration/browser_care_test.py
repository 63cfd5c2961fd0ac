#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=300 engines=one
"""Looking after a box in a real browser (tests/browser/care.mjs): images dropped onto a library and
read by an NFS client, a new initiator let in, a device that goes away and comes back, a UPS on
battery, the configuration kept and brought back. PICTURES=DIR keeps pictures."""

import os
import re
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
import web  # pylint: disable=wrong-import-position

USER, PASSWORD = "admin", "a pass phrase"


def device_of(points, folder):
    """A pool file that can go away; None where that is not possible."""
    try:
        return mirror_away_test.Device(folder)
    except tap.Skip as reason:
        points.note(f"no device that goes away: {reason}")
        return None


def test(points):
    node = node_modules.program("node", "nodejs")
    chromium = node_modules.program("chromium", "chromium-browser")
    node_modules.program("qemu-io")
    modules = node_modules.of_ui()
    with tempfile.TemporaryDirectory() as folder:
        state, nfs = os.path.join(folder, "state"), api.free_port()
        daemon = api.Daemon(state, "--nfs-port", str(nfs))
        front = device = None
        try:
            device = device_of(points, folder)
            front = web.Front(state)
            code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M).group(1)
            front.client().call("POST", "/api/v1/setup",
                                {"code": code, "name": USER, "password": PASSWORD})
            browser.drive(points, node, "care.mjs", {
                "url": f"https://127.0.0.1:{front.port}", "user": USER, "password": PASSWORD,
                "iscsi": daemon.port, "nfs": nfs if shutil.which("nfs-cat") else 0,
                "chromium": chromium, "modules": modules, "folder": folder,
                "device": device and {"path": device.path, "image": device.image,
                                      "pid": device.process.pid},
                "pictures": os.environ.get("PICTURES"),
                "failure": os.path.join(tempfile.gettempdir(), "granary-browser-care-test.png")})
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])
            if device:
                device.end()


if __name__ == "__main__":
    tap.run(test)
