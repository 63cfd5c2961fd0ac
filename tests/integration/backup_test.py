#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=120
"""A backup of the configuration, taken while the daemon serves, restored onto a fresh state directory:
the same pools, targets, volumes, accounts and paired nodes; a reset forgets all of it and leaves the
pool's file."""

import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

from server import BUILD, Server, free_port  # pylint: disable=wrong-import-position
import tap                        # pylint: disable=wrong-import-position


def granary(state, *words):
    return subprocess.run([os.path.join(BUILD, "granary"), "--state", state, *words],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)


def listed(server):
    return [server.granary(*words) for words in
            (("pool", "list"), ("volume", "list"), ("target", "list"), ("account", "list"),
             ("replica", "peers"))]


def start(state):
    return Server(state, more=("--repl-port", str(free_port())))


def pair(points, server, folder):
    """With a node that is away again afterwards."""
    port = free_port()
    partner = Server(os.path.join(folder, "partner"), more=("--repl-port", str(port)))
    try:
        code = json.loads(partner.granary("replica", "code", "-o", "json"))["code"]
        server.granary("replica", "pair", f"127.0.0.1:{port}", code)
        peers = json.loads(server.granary("replica", "peers", "-o", "json"))
        points.point(len(peers) == 1, "a node is paired", peers)
    finally:
        partner.stop()


def identity(state):
    with open(os.path.join(state, "nfs-identity"), "rb") as file:
        return file.read()


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state, other = os.path.join(folder, "one"), os.path.join(folder, "two")
        phrase, wrong = os.path.join(folder, "phrase"), os.path.join(folder, "wrong")
        backup = os.path.join(folder, "backup")
        for path, text in ((phrase, "correct horse\n"), (wrong, "another horse\n")):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        server = start(state)
        try:
            pair(points, server, folder)
            server.granary("account", "create", "evelyn-the-auditor", "--role", "admin", "--password-file", phrase)
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
        points.point(b"evelyn-the-auditor" not in data and os.stat(backup).st_mode & 0o777 == 0o600,
                     "the backup tells nothing")
        os.makedirs(other)
        done = granary(other, "config", "restore", backup, "--passphrase-file", wrong, "--yes")
        points.point(done.returncode == 1 and "passphrase" in done.stderr and
                     not os.listdir(other), "another passphrase opens nothing", done.stderr)
        done = granary(other, "config", "restore", backup, "--passphrase-file", phrase, "--yes")
        points.point(done.returncode == 0, "it is restored onto a fresh box", done.stderr)
        server = start(other)
        try:
            after = listed(server)
            points.point(before == after, "and all is as it was", f"{before}\n{after}")
            points.point(identity(state) == identity(other), "NFS clients know it again")
        finally:
            server.stop()
        pool = os.path.join(state, "tank.pool")
        done = granary(state, "config", "reset", "--yes")
        left = [name for name in os.listdir(state) if name.endswith((".db", ".key", "identity"))]
        points.point(done.returncode == 0 and not left and os.path.getsize(pool) > 0,
                     "a reset forgets all but the pool", f"{left} {done.stderr}")


if __name__ == "__main__":
    tap.run(test)
