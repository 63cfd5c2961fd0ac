#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""The proof of a pool's storage: a sound pool passes and keeps nothing of it, flushes to memory
are not believed, storage that changes data is found out, bad arguments are refused."""

import os
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

MIB = 1 << 20
PHASES = ("sequential_write", "random_write", "write_and_flush", "forced_write", "verify")


def sound(points, daemon):
    daemon.good("volume", "create", "old/one", "16M")
    before = daemon.json("pool", "show", "old")
    for seconds in ("4", "15", "60"):  # a disk that others use may be busy for a while
        told = daemon.json_of("pool", "prove", "old", "--seconds", seconds)
        if told["verified_blocks"] > 4096 and all(told[phase]["operations_per_second"] > 1
                                                  for phase in PHASES):
            break
    points.point(told["verdict"] in ("good", "suspicious") and told["mismatches"] == 0 and
                 told["errors"] == 0 and told["verified_blocks"] > 4096,
                 "a sound pool passes", told)
    points.point(all(told[phase]["operations_per_second"] > 1 and told[phase]["p50_us"] > 0 and
                     told[phase]["p99_us"] >= told[phase]["p50_us"] for phase in PHASES),
                 "with rates and latencies of every phase", told)
    points.point(told["write_and_flush"]["flush_p50_us"] > 0 and
                 (told["verdict"] == "suspicious") ==
                 (told["write_and_flush"]["flush_p50_us"] < 25),
                 "a flush that takes no time is not believed", told)
    after = daemon.json("pool", "show", "old")
    points.point([v["name"] for v in daemon.json("volume", "list")] == ["one"] and
                 after["state"] == "online" and after["volumes"] == before["volumes"],
                 "nothing of it is left", after)
    words = daemon.good("pool", "prove", "old", "--seconds", "1")
    points.point("a flush" in words and "blocks verified, 0 wrong" in words, "told in words",
                 words)


def scribble(path, stop):
    """What no storage should do: data changes under the pool."""
    with open(path, "r+b", buffering=0) as file:
        size = os.path.getsize(path)
        while not stop.is_set():
            for at in range(40 * MIB, size - 2 * MIB, MIB // 2):
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 0x10]))
            time.sleep(0.02)


def unsound(points, daemon, path):
    stop = threading.Event()
    worker = threading.Thread(target=scribble, args=(path, stop))
    worker.start()
    try:
        for seconds in ("3", "10", "40"):  # until enough of it is written and read
            result = daemon.run("pool", "prove", "old", "--seconds", seconds, "-o", "json")
            if result.returncode:
                break
    finally:
        stop.set()
        worker.join()
    points.point(result.returncode == 1 and '"verdict": "bad"' in result.stdout,
                 "storage that changes data is found out", result.stdout + result.stderr)


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-prove-") as folder:
        path = os.path.join(folder, "old.pool")
        daemon = pools.Daemon(os.path.join(folder, "state"))
        try:
            daemon.good("pool", "create", "old", f"{path}:256M")
            for seconds in ("0", "601", "many"):
                points.point(daemon.run("pool", "prove", "old", "--seconds",
                                        seconds).returncode == 1, f"not {seconds} seconds")
            points.point(daemon.run("pool", "prove", "none").returncode == 1, "no such pool")
            sound(points, daemon)
            unsound(points, daemon, path)
            running = threading.Thread(target=daemon.run,
                                       args=("pool", "prove", "old", "--seconds", "60"))
            running.start()
            time.sleep(1)
            begun = time.monotonic()
            daemon.stop()
            points.point(time.monotonic() - begun < 20, "a stop does not wait for a proof")
            running.join()
        finally:
            daemon.stop()


tap.run(test)
