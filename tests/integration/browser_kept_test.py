#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""What is kept, in a real browser (tests/browser/kept.mjs): deleted volumes and shares had back, a backup
of the configuration made and looked at, shares over SMB, a directory of the machine, an account of the
role replication.
PICTURES=DIR keeps pictures."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import browser  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position


def test(points):
    found = browser.needed()
    with tempfile.TemporaryDirectory() as folder:
        served = os.path.join(os.path.realpath(folder), "isos")
        os.mkdir(served)
        with browser.daemon(points, os.path.join(folder, "state"), "--directories-in",
                            os.path.dirname(served)) as daemon:
            browser.walk(points, found, daemon, "kept.mjs", folder=folder,
                         served=served if os.geteuid() == 0 else None)


if __name__ == "__main__":
    tap.run(test)
