#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=400 engines=one
"""The suites of the native back end, unchanged, with the demo's pool on a Ceph cluster: what they
ask of a LUN or a share is the same there. GRANARY_RBD_ALL=1: all of them (four minutes).
Arguments: names of suites, instead."""

import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import ceph  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

SUITES = ["share", "kill_soak"]
MORE = ["conformance", "offload", "reservations", "sessions", "access", "schedule"]
SUITE_LIMIT = 600 if os.environ.get("GRANARY_RBD_ALL") else 200


def run_suite(points, name, environment):
    """Its test points, each with the suite's name in front."""
    begin = time.monotonic()
    try:
        result = subprocess.run([os.path.join(HERE, name + "_test.py")], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                errors="replace", env=environment, timeout=SUITE_LIMIT)
    except subprocess.TimeoutExpired:
        points.point(False, f"{name} ends within {SUITE_LIMIT} s")
        return
    seen = False
    for line in result.stdout.splitlines():
        words = line.split(" ", 2)
        verdict = line.startswith(("ok ", "not ok "))
        if verdict:
            seen = True
            points.point(line.startswith("ok "), f"{name}: {line.split(' - ', 1)[-1]}")
        elif line and not line.startswith("1.."):
            points.note(" ".join(words).lstrip("# "))
    points.point(seen and result.returncode == 0,
                 f"{name} ends well ({time.monotonic() - begin:.0f} s)", result.stdout[-2000:])


def test(points):
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        try:
            environment = {**cluster.environment(), "GRANARY_TEST_CEPH": cluster.conf,
                           "GRANARY_KILLS": "3"}
            every = SUITES + (MORE if os.environ.get("GRANARY_RBD_ALL") else [])
            for name in sys.argv[1:] or every:
                run_suite(points, name, environment)
        finally:
            cluster.stop()


if __name__ == "__main__":
    tap.run(test)
