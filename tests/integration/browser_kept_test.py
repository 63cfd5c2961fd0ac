#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=300 engines=one
"""What is kept, in a real browser (tests/browser/kept.mjs): deleted volumes and shares had back, a backup
of the configuration made and looked at, shares over SMB, a directory of the machine, an account of the
role replication.
PICTURES=DIR keeps pictures."""

import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import browser  # pylint: disable=wrong-import-position
import node_modules  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

USER, PASSWORD = "admin", "a pass phrase"


def test(points):
    node = node_modules.program("node", "nodejs")
    chromium = node_modules.program("chromium", "chromium-browser")
    modules = node_modules.of_ui()
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        served = os.path.join(os.path.realpath(folder), "isos")
        os.mkdir(served)
        daemon = api.Daemon(state, "--directories-in", os.path.dirname(served))
        front = None
        try:
            front = web.Front(state)
            code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M).group(1)
            front.client().call("POST", "/api/v1/setup",
                                {"code": code, "name": USER, "password": PASSWORD})
            browser.drive(points, node, "kept.mjs", {
                "url": f"https://127.0.0.1:{front.port}", "user": USER, "password": PASSWORD,
                "chromium": chromium, "modules": modules, "folder": folder,
                "served": served if os.geteuid() == 0 else None,
                "pictures": os.environ.get("PICTURES"),
                "failure": os.path.join(tempfile.gettempdir(), "granary-browser-kept-test.png")})
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
