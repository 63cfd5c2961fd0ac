#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=28800 engines=one torture
"""Replication, for long: 100,000 lives of two simulated nodes from fresh seeds and a million short
ones, the primary of two daemons killed 1,000 times. REPLICA_RUNS, REPLICA_SHORT, REPLICA_SEED and
GRANARY_KILLS override."""

import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

RUNS = int(os.environ.get("REPLICA_RUNS", "100000"))
SEED = int(os.environ.get("REPLICA_SEED", random.SystemRandom().randrange(1 << 40)))
SHORT = int(os.environ.get("REPLICA_SHORT", "1000000"))
PARTS = 2


def simulate(points):
    """Side by side, in parts: the lives do not know of each other."""
    program = os.path.join(daemon.BUILD, "tests", "sim", "replica_test")
    share = (RUNS + PARTS - 1) // PARTS
    points.note(f"REPLICA_SEED={SEED} REPLICA_RUNS={RUNS}")
    parts = [subprocess.Popen([program, "--seed", str(SEED + i * share), "--runs", str(share)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
             for i in range(PARTS)]
    try:
        for i, part in enumerate(parts):
            said = part.communicate()[0]
            points.point(part.returncode == 0,
                         f"{share} lives from seed {SEED + i * share}: a prefix-closed cut in each",
                         said[-2000:])
    finally:
        for part in parts:
            if part.poll() is None:
                part.kill()
                part.wait()


def simulate_short(points):
    """Each with one fault at one place; and 10,000 failovers and failbacks."""
    program = os.path.join(daemon.BUILD, "tests", "sim", "replica_quick_test")
    result = subprocess.run([program, "--seed", str(SEED), "--runs", str(SHORT), "--cycles", "10000",
                             "--parts", str(PARTS)], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=20000, check=False)
    points.point(result.returncode == 0, f"{SHORT} short lives from seed {SEED}",
                 result.stdout[-4000:])


def kill(points):
    kills = os.environ.get("GRANARY_KILLS", "1000")
    result = subprocess.run([sys.executable, os.path.join(HERE, "replica_test.py")],
                            env={**os.environ, "GRANARY_KILLS": kills}, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=20000, check=False)
    points.point(result.returncode == 0, f"the primary killed {kills} times",
                 (result.stdout + result.stderr)[-4000:])


def test(points):
    simulate(points)
    simulate_short(points)
    kill(points)


if __name__ == "__main__":
    tap.run(test)
