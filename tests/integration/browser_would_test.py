#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""What an action will change is shown in its dialog before it is done (tests/browser/would.mjs), in a
real browser: by dry runs of the very requests, with nothing changed. PICTURES=DIR keeps pictures."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import browser  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position


def test(points):
    found = browser.needed()
    with tempfile.TemporaryDirectory() as folder, \
            browser.daemon(points, os.path.join(folder, "state")) as daemon:
        browser.walk(points, found, daemon, "would.mjs", folder=folder)


if __name__ == "__main__":
    tap.run(test)
