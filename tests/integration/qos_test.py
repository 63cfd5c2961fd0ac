#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 exclusive engines=one
"""Limits of volumes as initiators feel them: kept within wide margins, changed while they are in
force, kept over a restart, nothing for a neighbour; and a neighbour beside a deep queue."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
from server import BUILD  # pylint: disable=wrong-import-position


def load(daemon, lun, *options):
    """A running load; its .communicate() is JSON."""
    return subprocess.Popen(
        [os.path.join(BUILD, "bench", "granary-load"), "--port", str(daemon.port), "--target",
         pools.IQN, "--lun", str(lun), "--initiator", f"iqn.2026-11.org.example:load{lun}",
         *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True)


def result(process):
    out, words = process.communicate(timeout=120)
    if process.returncode:
        raise RuntimeError(f"granary-load: {words}")
    return json.loads(out)


def rate(daemon, lun, *options, time="1500ms"):
    return result(load(daemon, lun, "--depth", "8", "--time", time, *options))["iops"]


def within(least, most, *what):
    """A rate; measured again, twice at most, when the machine does something else meanwhile."""
    for _ in range(3):
        found = rate(*what)
        if least < found < most:
            break
    return found


def limits(points, daemon):
    free = rate(daemon, 0, "--pattern", "randwrite")
    daemon.good("volume", "set", "old/one", "--iops", "400", "--burst", "100ms")
    limited = within(250, 600, daemon, 0, "--pattern", "randwrite")
    points.point(250 < limited < 600 and free > 2 * limited, "400 operations a second are kept",
                 f"{limited} with, {free} without")
    for _ in range(3):
        both = [load(daemon, lun, "--depth", "8", "--time", "1500ms", "--pattern", "randread")
                for lun in (0, 1)]
        mine, neighbour = (result(process)["iops"] for process in both)
        if mine < 600 and neighbour > 3 * mine:
            break
    points.point(mine < 600 and neighbour > 3 * mine, "they are no limit to a neighbour",
                 f"{mine} and {neighbour}")
    running = load(daemon, 0, "--depth", "8", "--time", "3s", "--pattern", "randwrite")
    daemon.good("volume", "set", "old/one", "--iops", "0")
    raised = result(running)["iops"]
    points.point(raised > 1.5 * limited, "lifted under load, at once", f"{raised}")
    daemon.good("volume", "set", "old/one", "--bandwidth", "8M", "--burst", "100ms")
    large = within(70, 200, daemon, 0, "--pattern", "read", "--block", "64K")
    points.point(70 < large < 200, "8 MiB a second are 128 reads of 64 KiB", f"{large}")
    good, words = daemon.io("flush")
    points.point(good, "a flush goes by", words)
    shown = daemon.json("volume", "show", "old/one")
    points.point(shown["bandwidth_limit_bytes"] == 8 << 20 and shown["iops_limit"] == 0 and
                 shown["burst_ms"] == 100 and shown["delayed"] > 50,
                 "volume show tells the limits and what waited", shown)


def kept(points, daemon):
    daemon.stop()
    daemon.start()
    shown = daemon.json("volume", "show", "old/one")
    points.point(shown["bandwidth_limit_bytes"] == 8 << 20 and shown["burst_ms"] == 100,
                 "limits outlive a restart", shown)
    large = within(70, 200, daemon, 0, "--pattern", "read", "--block", "64K")
    points.point(70 < large < 200, "and are in force", f"{large}")
    for text, words in (("no burst of an hour", ["--burst", "1h"]),
                        ("no bandwidth of nothing", ["--bandwidth", "100"]),
                        ("no words for numbers", ["--iops", "many"]),
                        ("something has to be set", [])):
        points.point(daemon.run("volume", "set", "old/one", *words).returncode != 0, text)
    daemon.good("volume", "set", "old/one", "--bandwidth", "0")
    shown = daemon.json("volume", "show", "old/one")
    points.point(shown["bandwidth_limit_bytes"] == 0 and shown["burst_ms"] == 0, "taken away",
                 shown)


def shares(points, daemon):
    """A queue of one beside queues of 256."""
    for _ in range(4):  # where the machine does much else a queue of one waits for a processor, too
        crowd = load(daemon, 0, "--depth", "64", "--connections", "4", "--time", "4s", "--pattern",
                     "randwrite", "--block", "16K")
        one = result(load(daemon, 1, "--depth", "1", "--warmup", "500ms", "--time", "2s", "--pattern",
                          "randread"))["iops"]
        many = result(crowd)["iops"]
        if one > many / 100:
            break
    points.point(one > many / 100, "a deep queue leaves its neighbour more than its hundredth",
                 f"{one} beside {many}")


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-qos-",
                                     dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "old", os.path.join(folder, "old.pool") + ":256M")
            daemon.serve("old/one", "64M")
            daemon.serve("old/two", "64M", lun=1)
            limits(points, daemon)
            kept(points, daemon)
            shares(points, daemon)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


tap.run(test)
