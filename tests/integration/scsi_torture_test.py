#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=3600 engines=one torture
"""The SCSI model and the cluster lock, for long: ten million commands against an independent
model, a million rounds of 64 hosts for one block. MODEL_SEED=N another seed."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position


def run(points, program, message, **settings):
    result = subprocess.run([os.path.join(daemon.BUILD, "tests", "unit", "target", program)],
                            env={**os.environ, **settings}, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=1700, check=False)
    points.point(result.returncode == 0, message, (result.stdout + result.stderr)[-2000:])


def test(points):
    run(points, "storm_test", "ten million commands, same data and same sense as the model",
        STORM_COMMANDS="10000000", STORM_SEED=os.environ.get("MODEL_SEED", "1"))
    run(points, "ats_test", "a million rounds, one winner each", ATS_ROUNDS="1000000")


if __name__ == "__main__":
    tap.run(test)
