# SPDX-License-Identifier: Apache-2.0
"""Two paired daemons, for the tests of replication."""

import json
import os
import signal
import sqlite3
import subprocess
import time

import server as daemon

IQN = "iqn.2026-11.org.example:cut"
LOAD = os.path.join(daemon.BUILD, "tests/integration/cut_load")


class Node:
    """A daemon that is killed or stopped, and started again on the same ports."""

    def __init__(self, state, address="127.0.0.1", inside=()):
        """@inside: words before the daemon's command, such as those that enter a namespace."""
        self.state, self.address, self.inside = state, address, inside
        self.port, self.repl, self.nfs = (daemon.free_port() for _ in range(3))
        self.server = None
        self.start()

    def start(self):
        self.server = daemon.Server(self.state, self.address, self.port, self.nfs,
                                    ("--repl-port", str(self.repl)), self.inside)

    def kill(self):
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()

    def granary(self, *words):
        return self.server.granary(*words)

    def ask(self, *words):
        return json.loads(self.granary(*words, "-o", "json"))

    def group(self, name="vms"):
        return self.ask("replica", "group", "status", name)

    def refused(self, *words):
        """What the CLI says when it fails; "" when it does not."""
        try:
            self.granary(*words)
        except RuntimeError as error:
            return str(error)
        return ""

    def portal(self):
        return f"127.0.0.1:{self.port}"

    def url(self, path):
        """Of a file, for libnfs."""
        return f"nfs://127.0.0.1{path}?nfsport={self.nfs}&mountport={self.nfs}"

    def verify(self, luns, *url):
        """(good, what it printed)"""
        result = subprocess.run([LOAD, "verify", self.portal(), IQN, str(luns), *url],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=120)
        return result.returncode == 0, (result.stdout + result.stderr).strip()

    def write(self, luns, first, log, *url):
        """Records from @first on, until the daemon goes away or the process is ended."""
        return subprocess.Popen([LOAD, "write", self.portal(), IQN, str(luns), str(first), log,
                                 *url],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def pair(one, two, address="127.0.0.1"):
    """@one calls @two, which is at @address; the UUID by which it knows it."""
    one.granary("replica", "pair", f"{address}:{two.repl}", two.ask("replica", "code")["code"])
    return next(peer["uuid"] for peer in one.ask("replica", "peers") if peer["port"] == two.repl)


def make_luns(node, *members, network="127.0.0.0/8"):
    """The volumes @members, of 16 MiB, as LUNs of IQN for all of @network."""
    node.granary("target", "create", IQN)
    node.granary("target", "allow", IQN, "--network", network)
    for member in members:
        node.granary("volume", "create", member, "16M")
        node.granary("lun", "map", IQN, member)


def wait(what, limit=90.0):
    """Waits until what() is true; its last value."""
    end = time.monotonic() + limit
    while not (value := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def stop_all(points, nodes):
    """The end of a test: every daemon ends well, or its last words are shown."""
    for node in nodes:
        status = node.server.stop()
        if status:
            points.note(node.server.log()[-4000:])
        points.point(status == 0, "stops cleanly")


def sealed(node, name="vms"):
    group = node.group(name)
    return group["state"] == "streaming" and group["sealed_epoch"] > 0


def told(primary, standby, name="vms"):
    """Until @standby has kept, durably, which exports, rules and reservations @primary had when this
    was called. A setting goes the same way: definition, then who is let in, one after the other; when
    the second one is there, so is what was told behind the first."""
    for limit in (1 << 40, 1 << 41, 0):
        primary.granary("replica", "group", "set", name, "--limit", str(limit))
        if not wait(lambda value=limit: standby.group(name)["limit_bytes"] == value):
            raise RuntimeError(f"the standby is told nothing: {primary.group(name)}")


def query(node, text, *values):
    """In what the node has saved of replication; the first row."""
    db = sqlite3.connect(os.path.join(node.state, "replication.db"), 10)
    with db:
        row = db.execute(text, values).fetchone()
    db.close()
    return row


def end(process):
    if process.poll() is None:
        process.kill()
    process.wait()
    process.stderr.close()
