#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""The web admin in a real browser: tests/browser/walk.mjs drives Chromium through the pages, with
a real initiator logging in to the LUN it made and a second daemon to replicate to. PICTURES=DIR
keeps a picture of every page."""

import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import browser  # pylint: disable=wrong-import-position
import node_modules  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position


def test(points):
    node = node_modules.program("node", "nodejs")
    chromium = node_modules.program("chromium", "chromium-browser")
    node_modules.program("qemu-io")
    found = node_modules.of_ui()
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        port = api.free_port()
        daemon = api.Daemon(state, "--repl-port", str(api.free_port()))
        front = other = None
        try:
            front = web.Front(state)
            other = api.Daemon(os.path.join(folder, "other"), "--repl-port", str(port))
            pairing = other.good("POST", "/api/v1/replica/code", {})["code"]
            code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M).group(1)
            browser.drive(points, node, "walk.mjs", {
                "url": f"https://127.0.0.1:{front.port}", "code": code, "iscsi": daemon.port,
                "chromium": chromium, "modules": found,
                "peer": {"address": f"127.0.0.1:{port}", "code": pairing},
                "pictures": os.environ.get("PICTURES"),
                "failure": os.path.join(tempfile.gettempdir(), "granary-browser-test.png")})
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])
            if other:
                points.point(other.stop() == 0, "and the other one", other.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
