#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=25200 engines=one torture
"""SCSI for long: ten million commands against an independent model; a million rounds of 64 hosts
for one block, inside the target and over as many sessions, where the server is killed too; nodes
that arbitrate for a disk over lost sessions and kill -9; every operation code from two initiators,
over sessions of one and of four connections, while LUNs come and go. TORTURE_MINUTES=N (8): how long the last two take together at least;
MODEL_SEED=N another seed; TORTURE_ONLY=hammer: just that one, as on the builds with sanitizers,
where the daemon is what is looked at."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position


MINUTES = float(os.environ.get("TORTURE_MINUTES", "8"))


def run(points, program, message, **settings):
    result = subprocess.run([os.path.join(daemon.BUILD, "tests", "unit", "target", program)],
                            env={**os.environ, **settings}, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=3000, check=False)
    points.point(result.returncode == 0, message, (result.stdout + result.stderr)[-2000:])


def run_suite(points, name, message, seconds, **settings):
    result = subprocess.run([os.path.join(HERE, name)], env={**os.environ, **settings},
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace",
                            timeout=seconds, check=False)
    points.point(result.returncode == 0, message, result.stdout[-6000:])
    for line in result.stdout.splitlines():
        if line.startswith("# "):
            points.note(line[2:])


def test(points):
    seed = os.environ.get("MODEL_SEED", "1")
    if os.environ.get("TORTURE_ONLY") != "hammer":
        run(points, "storm_test", "ten million commands, same data and same sense as the model",
            STORM_COMMANDS="10000000", STORM_SEED=seed)
        run(points, "ats_test", "a million rounds, one winner each", ATS_ROUNDS="1000000")
        run_suite(points, "ats_test.py", "a million rounds over 64 sessions", 10800,
                  GRANARY_ATS_ROUNDS="1000000", GRANARY_ATS_KILLS="20")
        # A round is a fifth of a second, about.
        run_suite(points, "reservations_test.py", "arbitration over lost sessions and kill -9",
                  MINUTES * 60 + 900, GRANARY_ARBITRATIONS=str(max(60, int(MINUTES * 75))))
    run_suite(points, "hammer_test.py", "every operation code, LUNs come and go",
              MINUTES * 60 + 300, HAMMER_SECONDS=str(MINUTES * 30), HAMMER_SEED=seed)


if __name__ == "__main__":
    tap.run(test)
