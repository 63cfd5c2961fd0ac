#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""The web admin in a real browser: tests/browser/walk.mjs drives Chromium through the pages, with
a real initiator logging in to the LUN it made and a second daemon to replicate to. PICTURES=DIR
keeps a picture of every page."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import browser  # pylint: disable=wrong-import-position
import node_modules  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position


def test(points):
    found = browser.needed()
    node_modules.program("qemu-io")
    port = api.free_port()
    with tempfile.TemporaryDirectory() as folder, \
            browser.daemon(points, os.path.join(folder, "state"), "--repl-port",
                           str(api.free_port())) as daemon, \
            browser.daemon(points, os.path.join(folder, "other"), "--repl-port", str(port),
                           name="the other one") as other:
        pairing = other.good("POST", "/api/v1/replica/code", {})["code"]
        browser.walk(points, found, daemon, "walk.mjs", set_up=False,
                     code=browser.setup_code(daemon),
                     peer={"address": f"127.0.0.1:{port}", "code": pairing})


if __name__ == "__main__":
    tap.run(test)
