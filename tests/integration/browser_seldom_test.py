#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""What is done seldom, in a real browser (tests/browser/seldom.mjs): certificates of NFS over TLS, proof
of a pool's storage. PICTURES=DIR keeps pictures."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import browser  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
from tls_client import make_certificates  # pylint: disable=wrong-import-position


def test(points):
    found = browser.needed()
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(folder)
        with browser.daemon(points, os.path.join(folder, "state"), "--nfs-port",
                            str(api.free_port())) as daemon:
            browser.walk(points, found, daemon, "seldom.mjs", folder=folder)


if __name__ == "__main__":
    tap.run(test)
