#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The load generator against its own floor server, and against the NFS server: it verifies, it
notices, it says so."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "guest")]

import ports              # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position

LOAD = os.path.join(os.environ.get("BUILD", "build"), "bench", "granary-load")
SIZE = 16 << 20


def load(port, *arguments):
    return subprocess.run([LOAD, "--port", port, "--target", "iqn.2026-11.org.granary:floor",
                           *arguments], capture_output=True, text=True, timeout=120)


def serve(path, port):
    floor = subprocess.Popen([LOAD, "--serve-floor", path, "--port", port])
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 10).close()
            return floor
        except OSError:
            time.sleep(0.02)
    floor.kill()
    raise RuntimeError("the floor server does not listen")


def cases(port, path, pid):
    done = load(port, "--pattern", "write", "--block", "256K", "--depth", "3", "--once",
                "--verify")
    yield done.returncode == 0 and json.loads(done.stdout)["ios"] == SIZE >> 18, "fills the LUN once"
    for name, more in (("one connection", ["--depth", "32"]),
                       ("four connections", ["--depth", "8", "--connections", "4"]),
                       ("64K blocks", ["--depth", "4", "--block", "64K"])):
        done = load(port, "--pattern", "randrw", "--count", "3000", "--verify", *more)
        yield done.returncode == 0 and json.loads(done.stdout)["verified"] > 1000, \
            f"verifies mixed load, {name}"
    done = load(port, "--pattern", "randread", "--count", "1000", "--server-pid", str(pid))
    result = json.loads(done.stdout or "{}")
    yield done.returncode == 0 and result["p50_us"] > 0 and "server_cpu_us" in result, \
        "reports latency and the server's CPU"
    with open(path, "r+b") as file:
        file.seek(5 << 20)
        file.write(b"x")
    done = load(port, "--pattern", "read", "--once", "--verify")
    yield done.returncode == 1 and f"block {5 << 11} is damaged" in done.stderr, \
        "one wrong byte on the disk is found"
    done = load(port, "--offset", "1G")
    yield done.returncode == 1 and "behind the LUN" in done.stderr, "a span behind the end is refused"
    done = load(port, "--block", "1000")
    yield done.returncode == 2 and "multiple" in done.stderr, "a wrong block size is refused"
    pool = os.path.join(os.path.dirname(path), "pool")
    for seconds in ("600ms", "4s", "20s"):  # a disk that others use may be busy for a while
        done = subprocess.run([LOAD, "--engine", pool, "--pattern", "randwrite", "--span", "8M",
                               "--time", seconds, "--snapshots", "50ms"],
                              capture_output=True, text=True, timeout=120)
        result = json.loads(done.stdout or "{}")
        if done.returncode or result["snapshots"] > 1:
            break
    yield done.returncode == 0 and result["ios"] > 0 and result["snapshots"] > 1, \
        "the engine alone, with snapshots beside"


def nfs(port, what, *arguments):
    done = subprocess.run([LOAD, "--nfs", what, "--port", str(port), "--span", "4M", *arguments],
                          capture_output=True, text=True, timeout=120)
    return done, json.loads(done.stdout or "{}")


def nfs_cases(server):
    done, _ = nfs(server.port, "read", "--count", "10")
    yield done.returncode == 1 and "load" in done.stderr, "NFS: nothing is prepared, and it says so"
    done, _ = nfs(server.port, "prepare")
    yield done.returncode == 0, "NFS: a folder is prepared and proved"
    for version in ("3", "4"):
        for what, more in (("null", []), ("getattr", []), ("lookup", []), ("create", []),
                           ("read", []), ("write", []), ("write-sync", []),
                           ("read", ["--block", "1M"]), ("write-sync", ["--block", "1M"])):
            done, result = nfs(server.port, what, "--nfs-version", version, "--count", "300",
                               "--depth", "8", "--connections", "2", "--server-pid",
                               str(server.process.pid), *more)
            yield done.returncode == 0 and result["ios"] >= 300 and "server_cpu_us" in result, \
                f"NFS: version {version}, {what} {' '.join(more)}{done.stderr.strip()}"
    done, _ = nfs(server.port, "getattr", "--path", "/nothing", "--count", "1")
    yield done.returncode == 1, "NFS: an export that is not there is refused"
    done, _ = nfs(server.port, "mkdir", "--count", "1")
    yield done.returncode == 1 and "no operation" in done.stderr, "NFS: a wrong operation too"


def main():
    with tempfile.TemporaryDirectory() as directory:
        path, port, count = os.path.join(directory, "lun"), str(ports.free_port()), 0
        with open(path, "wb") as file:
            file.truncate(SIZE)
        floor = serve(path, port)
        try:
            for good, text in cases(port, path, floor.pid):
                count += 1
                print(f"{'ok' if good else 'not ok'} {count} - {text}", flush=True)
        finally:
            floor.kill()
            floor.wait()
        server = rpc.MemoryServer()
        try:
            for good, text in nfs_cases(server):
                count += 1
                print(f"{'ok' if good else 'not ok'} {count} - {text}", flush=True)
        finally:
            server.stop()
        print(f"1..{count}")


if __name__ == "__main__":
    sys.exit(main())
