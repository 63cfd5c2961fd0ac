#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=120
"""A backup of the configuration, taken while the daemon serves, restored onto a fresh state directory:
the same pools, targets, volumes and accounts; a reset forgets all of it and leaves the pool's file."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

from server import BUILD, Server  # pylint: disable=wrong-import-position
import tap                        # pylint: disable=wrong-import-position


def granary(state, *words):
    return subprocess.run([os.path.join(BUILD, "granary"), "--state", state, *words],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)


def listed(server):
    return [server.granary(*words) for words in
            (("pool", "list"), ("volume", "list"), ("target", "list"), ("account", "list"))]


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state, other = os.path.join(folder, "one"), os.path.join(folder, "two")
        phrase, wrong = os.path.join(folder, "phrase"), os.path.join(folder, "wrong")
        backup = os.path.join(folder, "backup")
        for path, text in ((phrase, "correct horse\n"), (wrong, "another horse\n")):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        server = Server(state)
        try:
            server.granary("account", "create", "eve", "--role", "admin", "--password-file", phrase)
            server.granary("volume", "create", "tank/extra", "64M")
            done = granary(state, "config", "backup", backup, "--passphrase-file", phrase)
            points.point(done.returncode == 0, "a backup while the daemon serves", done.stderr)
            before = listed(server)
            done = granary(state, "config", "restore", backup, "--passphrase-file", phrase, "--yes")
            points.point(done.returncode == 1 and "stop it first" in done.stderr,
                         "no restore under a running daemon", done.stderr)
        finally:
            points.point(server.stop() == 0, "the daemon stops")
        with open(backup, "rb") as file:
            data = file.read()
        points.point(b"eve" not in data and os.stat(backup).st_mode & 0o777 == 0o600,
                     "the backup tells nothing")
        os.makedirs(other)
        done = granary(other, "config", "restore", backup, "--passphrase-file", wrong, "--yes")
        points.point(done.returncode == 1 and "passphrase" in done.stderr and
                     not os.listdir(other), "another passphrase opens nothing", done.stderr)
        done = granary(other, "config", "restore", backup, "--passphrase-file", phrase, "--yes")
        points.point(done.returncode == 0, "it is restored onto a fresh box", done.stderr)
        server = Server(other)
        try:
            after = listed(server)
            points.point(before == after, "and all is as it was", f"{before}\n{after}")
        finally:
            server.stop()
        pool = os.path.join(state, "tank.pool")
        done = granary(state, "config", "reset", "--yes")
        points.point(done.returncode == 0 and not os.path.exists(os.path.join(state, "config.db"))
                     and os.path.getsize(pool) > 0, "a reset forgets all but the pool", done.stderr)


if __name__ == "__main__":
    tap.run(test)
