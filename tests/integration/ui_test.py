#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one
"""The browser application: its types hold, every text is there in both languages, and the bundle
that is committed is what the sources build, within its size."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import node_modules  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position


def test(points):
    node = node_modules.program("node", "nodejs")
    node_modules.of_ui()
    done = subprocess.run([node, "build.mjs", "--check"], cwd=node_modules.UI, timeout=120,
                          capture_output=True, text=True, check=False)
    points.point(done.returncode == 0 and "as committed" in done.stdout,
                 done.stdout.strip() or "the application is built", done.stdout + done.stderr)


if __name__ == "__main__":
    tap.run(test)
