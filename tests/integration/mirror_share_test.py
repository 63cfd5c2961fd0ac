#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=200 engines=one asan
"""A share with two copies: a device goes away under an NFS client that makes and writes files, the daemon
is killed and started without it, it comes back, and then the first one goes, which has the journal.
Each file that the client was told is written is there."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools                                             # pylint: disable=wrong-import-position
import tap                                               # pylint: disable=wrong-import-position
from mirror_away_test import Device, LONG, becomes, two_journals  # pylint: disable=wrong-import-position

SIZE = 300_000


def url(port, name):
    return f"nfs://127.0.0.1/files/{name}?version=3&nfsport={port}&mountport={port}"


class Client:
    """Makes files, one after the other; each has a name and contents of its own (nfs-cp makes none
    that are there)."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.made, self.trouble, self.ends = {}, "", False
        self.thread = None

    def put(self, name):
        data = os.urandom(SIZE)
        path = os.path.join(self.folder, "local")
        with open(path, "wb") as file:
            file.write(data)
        done = subprocess.run(["nfs-cp", path, url(self.port, name)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LONG)
        if done.returncode == 0:
            self.made[name] = hashlib.sha256(data).hexdigest()
        return done.returncode == 0, done.stderr

    def run(self):
        number = len(self.made)
        while not self.ends and not self.trouble:
            good, said = self.put(f"f{number}")
            self.trouble = "" if good else said
            number += 1

    def begin(self):
        self.ends = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def end(self):
        self.ends = True
        self.thread.join(LONG)

    def wrong(self):
        """Names of files that are not what was written."""
        found = []
        for name, digest in self.made.items():
            read = subprocess.run(["nfs-cat", url(self.port, name)], stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=LONG)
            if hashlib.sha256(read.stdout).hexdigest() != digest:
                found.append(name)
        return found


def play(points, daemon, device, client, which):
    client.begin()
    points.point(pools.wait_for(lambda: len(client.made) > 3 or client.trouble, LONG), "a client writes")
    device.pull()
    went = pools.wait_for(lambda: "goes on without" in daemon.log() or client.trouble, LONG)
    before = dict(client.made)
    more = pools.wait_for(lambda: client.trouble or
                          sum(before.get(name) != digest for name, digest in client.made.items()) > 3, LONG)
    client.end()
    points.point(went and more and not client.trouble, f"{which} device goes away, and it goes on",
                 client.trouble)
    points.point(client.wrong() == [], "every file is what was written", client.wrong())
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point(client.wrong() == [], "also after kill -9, without it", client.wrong())
    points.point(client.put("after")[0], "new files can be made")
    device.plug()
    daemon.good("pool", "online", "tank", device.path, "--wait")
    points.point(becomes(daemon, "online"), "it is back and good")
    check = daemon.run("share", "check", "tank/files")
    points.point(check.returncode == 0 and client.wrong() == [], "the share is whole",
                 check.stdout + check.stderr)
    scrub = daemon.run("pool", "scrub", "tank", "--rate", "1G", "--wait")
    points.point(scrub.returncode == 0 and daemon.json("pool", "show", "tank")["data_repairs"] == 0,
                 "and both copies are the same", scrub.stdout + scrub.stderr)


def run(points, which):
    with tempfile.TemporaryDirectory(prefix="granary-mirror-") as folder:
        device = Device(folder)
        port = pools.free_port()
        try:
            daemon = pools.Daemon(os.path.join(folder, "state"), "--nfs-port", str(port))
            try:
                other = os.path.join(folder, "a.pool")
                pair = [other + ":256M", device.path]
                daemon.good("pool", "create", "tank", *(pair if which == "the second" else pair[::-1]))
                daemon.good("share", "create", "tank/files", "--mirror")
                daemon.good("share", "allow", "tank/files", "--client", "127.0.0.1", "--insecure",
                            "--no-root-squash")
                client = Client(folder, port)
                points.point(client.put("first")[0], "a file is there")
                points.point(two_journals(daemon), "there are two journals")
                play(points, daemon, device, client, which)
            finally:
                points.point(daemon.stop() == 0, "clean stop")
        finally:
            device.end()


def test(points):
    for which in ("the second", "the first"):
        run(points, which)


if __name__ == "__main__":
    tap.run(test)
