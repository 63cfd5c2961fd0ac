#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=280 engines=one
"""kill -9 of the real daemon, again and again, under writes with and without FUA, flushes and
unmaps from libiscsi: nothing acknowledged as durable is lost, nothing foreign appears, and the
daemon is READY again within two seconds. GRANARY_KILLS overrides the number of kills."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

KILLS = int(os.environ.get("GRANARY_KILLS", "50"))
# Seconds. On RBD the locks of the life before have to be broken, which takes the monitors a while.
READY_MAX = 8.0 if daemon.CEPH else 2.0


def leg(server, state, seed, seconds):
    """Starts a leg of load and returns when it has verified, so that a kill hits the writes."""
    load = subprocess.Popen([os.path.join(daemon.BUILD, "tests/integration/soak_load"),
                             server.url(), os.path.join(state, "soak.state"), str(seed),
                             str(seconds)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    return load, load.stdout.readline().strip()


def end(load):
    try:
        output = load.communicate(timeout=90)[0]
    except subprocess.TimeoutExpired:
        load.kill()
        output = load.communicate()[0] + "(killed: it did not end)"
    return load.returncode, output.strip()


def kill_once(points, state, port, seed, dice):
    """One life of the daemon: start, verify and load, kill -9. (worked, seconds to READY)"""
    started = time.monotonic()
    server = daemon.Server(state, port=port)
    ready = server.started(started)
    load = None
    try:
        load, first = leg(server, state, seed, 20)
        if first != "verified":
            points.note(f"life {seed}: {first} {end(load)[1]}")
            points.note(server.log())
            return False, ready
        time.sleep(dice.uniform(0.02, 0.8))
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        code, output = end(load)
        if code != 0:
            points.note(f"life {seed}: soak_load ended with {code}: {output}")
        return code == 0, ready
    finally:
        if load and load.poll() is None:
            load.kill()
            load.wait()
        server.process.kill()
        server.process.wait()


def test(points):
    dice = random.Random(20261121)
    port = daemon.free_port()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as state:
        for number in range(KILLS):
            good, ready = kill_once(points, state, port, number + 1, dice)
            slowest = max(slowest, ready) if number else slowest
            if not good:
                break
        points.point(good, f"{number + 1} of {KILLS} kills: what was durable is there")
        points.point(slowest < READY_MAX, "READY within two seconds after a kill",
                     f"{slowest:.2f} s")
        points.note(f"slowest READY after a kill: {slowest:.2f} s")
        server = daemon.Server(state, port=port)
        try:
            load, first = leg(server, state, 9999, 0)
            code, output = end(load)
            points.point(code == 0 and first == "verified", "the last kill lost nothing", output)
            points.note(output)
            if daemon.CEPH:  # Ceph checks itself
                return
            pool = server.granary("pool", "check", "tank")
            points.point(True, "pool check finds nothing")
            points.note(pool.strip().splitlines()[-1] if pool.strip() else "")
        finally:
            server.stop()


if __name__ == "__main__":
    tap.run(test)
