#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=300 engines=one
"""What an action will change is shown in its dialog before it is done (tests/browser/would.mjs), in a
real browser: by dry runs of the very requests, with nothing changed. PICTURES=DIR keeps pictures."""

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
        daemon = api.Daemon(state)
        front = None
        try:
            front = web.Front(state)
            code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M).group(1)
            front.client().call("POST", "/api/v1/setup",
                                {"code": code, "name": USER, "password": PASSWORD})
            browser.drive(points, node, "would.mjs", {
                "url": f"https://127.0.0.1:{front.port}", "user": USER, "password": PASSWORD,
                "chromium": chromium, "modules": modules, "folder": folder,
                "pictures": os.environ.get("PICTURES"),
                "failure": os.path.join(tempfile.gettempdir(), "granary-browser-would-test.png")})
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
