#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""The proof of a pool's storage, and of a device or file that is to be one's: a sound pool passes and keeps nothing of it, flushes to memory
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


def device(points, daemon, folder):
    """A file that is no pool's: made and removed, or there, and zeros afterwards."""
    path = os.path.join(folder, "device")
    missing = daemon.run("pool", "prove", path)
    points.point(missing.returncode == 1 and "there is no file" in missing.stderr and
                 path in missing.stderr, "what is not there has to have a size", missing.stderr)
    told = daemon.json_of("pool", "prove", f"{path}:80M", "--seconds", "3")
    points.point(told["verdict"] in ("good", "suspicious") and told["mismatches"] == 0 and
                 told["errors"] == 0 and told["verified_blocks"] > 1024 and
                 told["tested_bytes"] == 80 * MIB and told["kind"] == "file",
                 "a sound file passes", told)
    points.point(told["crashes"]["states"] > 0 and told["crashes"]["failed"] == 0 and
                 told["crashes"]["writes_recorded"] > 100 and
                 told["crashes"]["flushes_recorded"] > 10, "so does a pool on it, crash by crash",
                 told["crashes"])
    points.point(told["flush"]["promise"] in ("kept", "doubtful", "broken") and
                 told["flush"]["why"] and told["fua"]["promise"] and
                 told["flush"]["after_32m_us"] > 0 and told["atomic_write"]["bytes"] >= 512 and
                 all(told[phase]["operations_per_second"] > 1 for phase in PHASES),
                 "with its flushes, its atomic write and rates", told)
    points.point(not os.path.exists(path), "the file that was made is gone")
    with open(path, "wb") as file:
        file.truncate(20 * MIB)
        file.seek(3 * MIB)
        file.write(b"what somebody needs")
    refused = daemon.run("pool", "prove", path, "--seconds", "1")
    with open(path, "rb") as file:
        file.seek(3 * MIB)
        kept = file.read(19)
    points.point(refused.returncode == 1 and "holds data" in refused.stderr and
                 kept == b"what somebody needs", "one that holds data is refused", refused.stderr)
    plan = daemon.good("pool", "prove", path, "--force", "--dry-run")
    points.point("proof of" in plan and path in plan, "a dry run says what would be", plan)
    words = daemon.good("pool", "prove", path, "--seconds", "1", "--force")
    points.point("keeps its flushes" in words and "writes whole" in words and
                 "needs 64 MiB" in words and "0 wrong" in words, "told in words", words)
    with open(path, "rb") as file:
        points.point(file.read() == bytes(20 * MIB), "it is zeros afterwards")
    own = daemon.run("pool", "prove", os.path.join(folder, "old.pool"), "--force")
    points.point(own.returncode == 1 and "in use" in own.stderr,
                 "a pool's own device is refused, whatever is asked", own.stderr)
    points.point(daemon.run("pool", "prove", "old", "--force").returncode == 1,
                 "a pool is never written over")


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
            device(points, daemon, folder)
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
